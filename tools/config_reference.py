"""Write docs/config.md: every setting of a YAML, from the settings classes themselves. A test holds the page to them.

``python tools/config_reference.py`` writes the page; with ``--check`` it fails where the page is not up to date.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types
from pydantic.fields import FieldInfo

from seriatim.experiment import Experiment
from seriatim.experiment.anomaly import DetectorTrainingSettings
from seriatim.series import Code
from seriatim.settings import Settings
from seriatim.tasks.anomaly import AnomalySettings

PAGE = Path(__file__).parents[1] / "docs" / "config.md"
INTRODUCTION = """# Settings

Every setting of the YAML that `seriatim train` reads. This page is made from the code by `tools/config_reference.py`;
do not edit it.

An unknown setting is refused, and the message names the legal ones. `--set training.epochs=5` changes a setting for one
run; the value is YAML. A `kind` chooses between several groups of settings. Where a group has kinds, it must be given,
and only the settings of that kind are legal beside it. The run folder keeps the resolved settings in `config.yaml`. A
config is data: it holds no code and no import paths, and it may be 1 MiB at most, without aliases (`*name`).

Paths (manifest, slice labels, encoder weights) are relative to the YAML's folder, or else to the folder you are in.
"""
ANOMALY = """# An anomaly run

With `task.kind: anomaly` normal sequences are learnt, and every frame is scored by how unlike them it is
([anomaly.md](anomaly.md)). Such a run has `name`, `seed`, `data`, `preprocessing` and `network.encoder` as above, and:
"""
WORDS = {int: "whole number", float: "number", bool: "true or false", str: "text", Path: "path", object: "anything"}
OR_NULL = " or null"
BOUNDS = (
    (annotated_types.Ge, "ge", "≥"),
    (annotated_types.Gt, "gt", ">"),
    (annotated_types.Le, "le", "≤"),
    (annotated_types.Lt, "lt", "<"),
)


def main() -> None:
    """Write or check the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing; fail where the page is out of date")
    page = describe()
    if not parser.parse_args().check:
        PAGE.write_text(page, encoding="utf-8")
    elif not PAGE.exists() or PAGE.read_text(encoding="utf-8") != page:
        sys.exit(f"{PAGE} is out of date. Run python tools/config_reference.py")


def describe() -> str:
    """The whole page."""
    task = _section(AnomalySettings, path="task.", title="`task`, `kind: anomaly`")
    training = _section(DetectorTrainingSettings, path="training.", title="`training` of an anomaly run")
    diagnosis = _section(Experiment, path="", title="The run")
    return "\n".join([INTRODUCTION, *diagnosis, ANOMALY, *task, *training]).rstrip() + "\n"


def _section(kind: type[Settings], *, path: str, title: str) -> Iterator[str]:
    """A heading, the settings of one class as a table, then the groups below it."""
    yield f"## {title}\n"
    if path:
        yield f"{_prose(kind.__doc__)}\n"
    plain = {name: field for name, field in kind.model_fields.items() if not _groups(field) and name != "kind"}
    groups = {name: field for name, field in kind.model_fields.items() if _groups(field)}
    if plain:
        yield "| setting | value | default | what it does |\n|---|---|---|---|"
        yield from (_row(f"{path}{name}", field) for name, field in plain.items())
    else:
        yield "It has no settings."
    yield ""
    for name, field in groups.items():
        members = _groups(field)
        for member in members:
            kinds = f", {_kind_words(member)}" if "kind" in member.model_fields else ""
            default = " (the default)" if len(members) > 1 and field.default == member() else ""
            yield from _section(member, path=f"{path}{name}.", title=f"`{path}{name}`{kinds}{default}")


def _row(name: str, field: FieldInfo) -> str:
    cells = (f"`{name}`", _value(field), _default(field), _prose(field.description))
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _prose(text: str | None) -> str:
    """A docstring on one line."""
    return " ".join((text or "").replace("``", "`").split())


def _kind_words(kind: type[Settings]) -> str:
    return " or ".join(f"`kind: {word}`" for word in get_args(kind.model_fields["kind"].annotation))


def _groups(field: FieldInfo) -> list[type[Settings]]:
    """The settings classes that a field holds one of; none where it holds a plain value."""
    return [part for part in _alternatives(field.annotation) if isinstance(part, type) and issubclass(part, Settings)]


def _alternatives(annotation: Any) -> list[Any]:
    origin = get_origin(annotation)
    if origin is Annotated or (origin is tuple and get_args(annotation)[-1] is Ellipsis):
        return _alternatives(get_args(annotation)[0])
    return list(get_args(annotation)) if origin in (Union, UnionType) else [annotation]


def _value(field: FieldInfo) -> str:
    """What may stand there, in words, with its limits."""
    limits = [
        f"{sign} {getattr(bound, name):g}"
        for bound in field.metadata
        for kind, name, sign in BOUNDS
        if isinstance(bound, kind)
    ]
    words = _words(field.annotation)
    optional = words.endswith(OR_NULL)
    return " ".join([words.removesuffix(OR_NULL), ", ".join(limits)]).strip() + (OR_NULL if optional else "")


def _words(annotation: Any) -> str:
    if annotation in WORDS:
        return WORDS[annotation]
    if annotation is NoneType:
        return "null"
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return " or ".join(f"`{word}`" for word in inner)
    if origin is Annotated:
        return _words(inner[0])
    if origin is tuple:
        if inner[-1] is Ellipsis:
            return f"list of {_words(inner[0])}"
        return f"[{', '.join(_words(part) for part in inner)}]"
    if origin is dict:
        return f"mapping of {_words(inner[0])} to {_words(inner[1])}"
    if annotation is Code:
        return "finding"
    if isinstance(annotation, type) and issubclass(annotation, Settings):
        return f"{{{', '.join(annotation.model_fields)}}}"
    return " or ".join(_words(part) for part in _alternatives(annotation))


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "**needed**"
    return f"`{_as_yaml(field.get_default(call_default_factory=True))}`"


def _as_yaml(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, tuple | list):
        return f"[{', '.join(_as_yaml(part) for part in value)}]"
    return f"{value:g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
