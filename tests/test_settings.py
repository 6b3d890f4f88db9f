"""Settings: frozen, closed, and helpful about mistakes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, ValidationError

from seriatim.errors import ConfigError
from seriatim.settings import MAX_YAML_BYTES, Settings, apply_overrides, build_settings, parse_yaml, read_yaml


class Round(Settings):
    kind: Literal["round", "disc"] = "round"
    radius_mm: float = Field(default=1.0, gt=0)


class Square(Settings):
    kind: Literal["square"] = "square"
    side_mm: float = 1.0


class Whole(Settings):
    name: str
    shape: Annotated[Round | Square, Field(discriminator="kind")] = Round()
    parts: tuple[Square, ...] = ()


def build(content: dict) -> Whole:
    return build_settings(Whole, content, where="here.yaml")


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        build({"name": "a"}).name = "b"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"nam": "a"}, "nam is not a setting. Did you mean name? Legal here: name, parts, shape."),
        ({}, "name: Field required"),
        ({"name": "a", "shape": {"kind": "round", "radius": 2}},
         "Did you mean radius_mm? Legal here: kind, radius_mm."),
        ({"name": "a", "shape": {"kind": "disc", "radius": 2}}, "Did you mean radius_mm? Legal here: kind, radius_mm."),
        ({"name": "a", "shape": {"kind": "oval"}}, "'round', 'disc', 'square'"),
        ({"name": "a", "shape": {"radius_mm": 2}}, "shape needs a kind. Legal kinds: disc, round, square."),
        ({"name": "a", "shape": {"kind": "round", "radius_mm": -1}}, "greater than 0 (given: -1)"),
        ({"name": "a", "parts": [{"side_m": 1}]}, "Did you mean side_mm?"),
        ({"name": "a", "zzz": 1}, "zzz is not a setting. Legal here: name, parts, shape."),
    ],
)
def test_a_mistake_names_where_what_and_the_repair(content: dict, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build(content)
    assert str(caught.value).startswith("here.yaml: ")
    assert said in str(caught.value)


def test_all_mistakes_are_told_at_once() -> None:
    with pytest.raises(ConfigError, match=r"radius_mm: .*nmae is not a setting"):
        build({"name": "a", "nmae": "b", "shape": {"kind": "round", "radius_mm": 0}})


def test_overrides_are_yaml_and_leave_the_original_alone() -> None:
    content = {"name": "a", "shape": {"kind": "round"}, "parts": [{"side_mm": 1}]}
    changed = apply_overrides(content, ["shape.radius_mm=2.5", "name=null", "parts=[{side_mm: 3}]", "new.deep.key=[1]"])
    assert changed["shape"] == {"kind": "round", "radius_mm": 2.5}
    assert changed["name"] is None
    assert changed["parts"] == [{"side_mm": 3}]
    assert changed["new"] == {"deep": {"key": [1]}}
    assert content == {"name": "a", "shape": {"kind": "round"}, "parts": [{"side_mm": 1}]}


def test_a_value_may_hold_an_equals_sign() -> None:
    assert apply_overrides({}, ["name=a=b"]) == {"name": "a=b"}


@given(
    st.dictionaries(st.sampled_from("abc"), st.dictionaries(st.sampled_from("xyz"), st.integers())),
    st.sampled_from("abc"), st.sampled_from("xyz"), st.integers(),
)  # fmt: skip
def test_the_last_override_wins_and_nothing_else_changes(content: dict, group: str, key: str, value: int) -> None:
    changed = apply_overrides(content, [f"{group}.{key}=0", f"{group}.{key}={value}"])
    assert changed[group][key] == value
    assert {name: rest for name, rest in changed.items() if name != group} == {
        name: rest for name, rest in content.items() if name != group
    }


@pytest.mark.parametrize("override", ["epochs", "=3", "a..b=3", ".a=3", "name.b=1", "a=[1", "a=!!python/name:os.x"])
def test_a_wrong_override_is_told(override: str) -> None:
    with pytest.raises(ConfigError, match="--set"):
        apply_overrides({"name": "a"}, [override])


@pytest.mark.parametrize(
    "text",
    [
        "a: [", "- a", "just words", "", "a: &b 1\nc: *b", "a: !!python/object/apply:os.system ['true']", "\tq: 1",
        "[" * 2000,
    ],
)  # fmt: skip
def test_what_is_no_plain_mapping_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="here") as caught:
        parse_yaml(text, where="here")
    assert "\n" not in str(caught.value)


def test_files_that_cannot_be_configs(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read_yaml(tmp_path / "absent.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_yaml(tmp_path / "binary.yaml")
    (tmp_path / "huge.yaml").write_text("#" * (MAX_YAML_BYTES + 1))
    with pytest.raises(ConfigError, match="too large"):
        read_yaml(tmp_path / "huge.yaml")
    (tmp_path / "good.yaml").write_text("name: größe\n", encoding="utf-8")
    assert read_yaml(tmp_path / "good.yaml") == {"name": "größe"}
