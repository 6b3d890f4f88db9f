"""docs/config.md is made from the settings, and every setting says what it does."""

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from seriatim.experiment import Experiment
from seriatim.settings import Settings, legal_keys

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def reference():
    spec = importlib.util.spec_from_file_location("config_reference", ROOT / "tools" / "config_reference.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def paths_of(node: object, path: str = "") -> Iterator[str]:
    if not isinstance(node, dict):
        yield path
        return
    for key, value in node.items():
        yield from paths_of(value, f"{path}.{key}" if path else key)


def test_the_page_is_up_to_date(reference) -> None:
    page = (ROOT / "docs" / "config.md").read_text(encoding="utf-8")

    assert page == reference.describe(), "run: python tools/config_reference.py"


def test_every_setting_says_what_it_does(reference) -> None:
    rows = [line for line in reference.describe().splitlines() if line.startswith("| `")]

    empty = [row for row in rows if not row.rstrip(" |").endswith((".", "."))]

    assert len(rows) > 50
    assert not empty


def test_every_setting_of_the_committed_configs_is_on_the_page(reference) -> None:
    page = reference.describe()

    for config in sorted((ROOT / "configs").glob("*.yaml")):
        used = [path for path in paths_of(yaml.safe_load(config.read_text())) if not path.endswith(".kind")]
        free = ("data.findings", "tune.search")  # their keys are codes, and other settings
        missing = [path for path in used if f"`{path}`" not in page and not path.startswith(free)]
        assert not missing, config.name


def test_a_setting_added_to_the_code_reaches_the_page(reference) -> None:
    class Wider(Experiment):
        zeal: float = 0.5
        """How eagerly."""

    page = "\n".join(reference._section(Wider, path="", title="The run"))

    assert "| `zeal` | number | `0.5` | How eagerly. |" in page
    assert issubclass(Wider, Settings)
    assert "zeal" in legal_keys(Wider, ())
