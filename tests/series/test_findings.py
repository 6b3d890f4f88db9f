"""The closed list of findings and its page say the same; actions that cannot be done are refused."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from seriatim.experiment import DataSettings
from seriatim.series.findings import DEFAULT_ACTIONS, KEEPABLE, REPAIRABLE, Code, check_actions, find

PAGE = (Path(__file__).parents[2] / "docs" / "findings.md").read_text("utf-8")
ROW = re.compile(r"^\| ([A-Z_]+) \| [^|]+ \| (refuse|keep|repair)\b", re.MULTILINE)


def test_the_page_has_each_code_once_with_its_default() -> None:
    rows = ROW.findall(PAGE)
    assert len(rows) == len(set(rows)) == len(Code)
    assert dict(rows) == {str(code): action for code, action in DEFAULT_ACTIONS.items()}


def test_the_page_names_what_can_be_kept_and_repaired() -> None:
    kept, repaired = re.search(r"Only (.*?) can be kept.*?only (.*?) is repaired", PAGE, re.DOTALL).groups()
    assert set(re.findall(r"`([A-Z_]+)`", kept)) == {str(code) for code in KEEPABLE}
    assert set(re.findall(r"`([A-Z_]+)`", repaired)) == {str(code) for code in REPAIRABLE}


@pytest.mark.parametrize("code", Code)
def test_each_default_can_be_done_and_each_code_refused(code: Code) -> None:
    check_actions({code: "refuse"})
    if find(code, "").action != "refuse":
        check_actions({code: DEFAULT_ACTIONS[code]})


def test_an_impossible_action_fails_when_the_configuration_is_read() -> None:
    with pytest.raises(ValueError, match="TRUNCATED=keep is not possible"):
        DataSettings(manifest=Path("a.csv"), findings={Code.TRUNCATED: "keep"})
    assert DataSettings(manifest=Path("a.csv"), findings={Code.GAP: "keep"}).findings == {Code.GAP: "keep"}
