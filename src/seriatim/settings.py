"""Settings: frozen, checked at construction, read from YAML. Configs are data, never code."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from seriatim.errors import ConfigError

MAX_YAML_BYTES = 1 << 20


class Settings(BaseModel):
    """Base of all settings: immutable, and an unknown key is an error that names the legal ones."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


AnySettings = TypeVar("AnySettings", bound=Settings)


def read_yaml(path: Path) -> dict[str, Any]:
    """Read one YAML mapping with ``safe_load``.

    Raises:
        ConfigError: the file is missing, too large, not YAML, or not a mapping.
    """
    try:
        if path.stat().st_size > MAX_YAML_BYTES:
            raise ConfigError(f"{path} is larger than {MAX_YAML_BYTES} bytes, too large for a config.")
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"The config {path} cannot be read: {error}. Give the path of a YAML file.") from error
    return parse_yaml(text, where=str(path))


def parse_yaml(text: str, *, where: str) -> dict[str, Any]:
    """Parse a YAML mapping without anchors, which could expand to more than memory holds."""
    try:
        if any(isinstance(token, yaml.AliasToken) for token in yaml.scan(text, Loader=yaml.SafeLoader)):
            raise ConfigError(f"{where} uses a YAML alias (*name). Write the value out.")
        content = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError) as error:
        raise ConfigError(f"{where} is not valid YAML: {_describe(error)}.") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{where} must hold a mapping of keys to values, not {type(content).__name__}.")
    return content


def apply_overrides(content: Mapping[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
    """Return a copy of ``content`` with every ``key.sub=value`` applied; values are YAML.

    Raises:
        ConfigError: an override has no ``=``, or its path runs through something that is not a mapping.
    """
    result: dict[str, Any] = _copy(content)
    for override in overrides:
        path, separator, text = override.partition("=")
        keys = path.strip().split(".")
        if not separator or not all(keys):
            raise ConfigError(f"--set {override!r} is not KEY=VALUE, for example training.epochs=20.")
        node = result
        for key in keys[:-1]:
            node = node.setdefault(key, {})
            if not isinstance(node, dict):
                raise ConfigError(f"--set {override!r}: {key!r} holds a value, not a group of settings.")
        try:
            node[keys[-1]] = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ConfigError(f"--set {override!r}: the value is not valid YAML: {_describe(error)}.") from error
    return result


def build_settings(kind: type[AnySettings], content: Mapping[str, Any], *, where: str) -> AnySettings:
    """Validate ``content`` as ``kind``; a mistake becomes one ConfigError that names every wrong key and its repair."""
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        raise ConfigError(f"{where}: " + "; ".join(_explain(kind, problem) for problem in error.errors())) from error


def _describe(error: Exception) -> str:
    """A parser's error on one line, with its place."""
    mark = getattr(error, "problem_mark", None)
    place = f" (line {mark.line + 1}, column {mark.column + 1})" if mark is not None else ""
    return " ".join(str(getattr(error, "problem", None) or error).split()) + place


def _copy(node: Any) -> Any:
    if isinstance(node, Mapping):
        return {key: _copy(value) for key, value in node.items()}
    return [_copy(value) for value in node] if isinstance(node, list) else node


def _explain(kind: type[Settings], problem: Any) -> str:
    path = ".".join(str(part) for part in problem["loc"] if part != "[key]") or "the file"
    if problem["type"] == "extra_forbidden":
        return f"{path} is not a setting.{_suggest(kind, problem['loc'])}"
    if problem["type"] == "union_tag_not_found":
        return f"{path} needs a kind. Legal kinds: {', '.join(_legal_kinds(kind, problem['loc']))}."
    if problem["type"] in ("model_type", "dict_type"):
        return f"{path} holds a value; it needs a group of settings (key: value)."
    message = problem["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    given = problem.get("input")
    shown = "" if isinstance(given, Mapping) or problem["type"] == "missing" else f" (given: {given!r})"
    return f"{path}: {message}{shown}"


def _suggest(kind: type[Settings], location: tuple[Any, ...]) -> str:
    """Name the legal keys beside a wrong one, the nearest first when there is a near one."""
    legal = legal_keys(kind, location[:-1])
    near = difflib.get_close_matches(str(location[-1]), legal, n=1)
    hint = f" Did you mean {near[0]}?" if near else ""
    return f"{hint} Legal here: {', '.join(legal)}." if legal else hint


def legal_keys(kind: type[Settings], location: tuple[Any, ...]) -> list[str]:
    """The keys allowed at ``location`` (setting names and union tags, as in a pydantic error)."""
    return sorted({name for model in _models_at(kind, location) for name in model.model_fields})


def _legal_kinds(kind: type[Settings], location: tuple[Any, ...]) -> list[str]:
    return sorted({tag for model in _models_at(kind, location) for tag in _tags(model)})


def _models_at(kind: type[Settings], location: tuple[Any, ...]) -> list[type[Settings]]:
    candidates: list[type[Settings]] = [kind]
    for part in location:
        following = [model for one in candidates for model in _children(one, str(part))]
        tagged = [model for model in candidates if part in _tags(model)]
        candidates = following or tagged or candidates
    return candidates


def _children(model: type[Settings], name: str) -> list[type[Settings]]:
    field = model.model_fields.get(name)
    return _settings_in(field.annotation) if field else []


def _settings_in(annotation: Any) -> list[type[Settings]]:
    if isinstance(annotation, type) and issubclass(annotation, Settings):
        return [annotation]
    return [found for part in getattr(annotation, "__args__", ()) for found in _settings_in(part)]


def _tags(model: type[Settings]) -> tuple[str, ...]:
    """The values of ``kind`` that choose a model of a union."""
    field = model.model_fields.get("kind")
    return get_args(field.annotation) if field else ()
