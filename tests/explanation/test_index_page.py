"""The page over a folder: a row for every series, sorted and filtered; no path and no name; it holds thousands."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from page_samples import HOSTILE

from browser import Tab
from seriatim.errors import InputError
from seriatim.explanation.index_page import collect_rows, group_reason, write_index
from seriatim.io.pictures.encode import encode_thumbnail
from tiny_runs import write_rows


def scored(number: int, **changes: object) -> dict[str, object]:
    row = {"study_uid": "1", "series_uid": f"1.{number}", "path": f"doe_john/{number}", "modality": "CT", "slices": 30,
           "status": "scored", "reason": "", "probability_bleed": round(0.9 - 0.001 * number, 4), "prediction": 1,
           "seconds": 1, "volume": "", "findings": "LOSSY;GAP"}
    return {**row, **changes}


def explained(number: int, **changes: object) -> dict[str, object]:
    row = {"series_uid": f"1.{number}", "volume": "", "path": f"doe_john/{number}", "status": "explained", "reason": "",
           "picture": f"1.{number}.png", "page": f"1.{number}.html", "thumbnail": f"1.{number}.webp", "label": "bleed",
           "score": round(0.9 - 0.001 * number, 4), "prediction": "bleed"}
    return {**row, **changes}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four scored series, one refused and one failed; of the first three two are explained, one is not."""
    write_rows(tmp_path / "scores.csv", [
        scored(2), scored(0), scored(1), scored(3, prediction=0, probability_bleed=0.1),
        scored(4, status="refused", reason="GAP: slices are missing", probability_bleed="", prediction=""),
        scored(5, status="failed", reason="TypeError: it cannot be read", probability_bleed="", prediction=""),
    ])
    write_rows(tmp_path / "explanations.csv", [
        explained(0), explained(1), explained(2, status="failed", reason="no memory", picture="", page="", score="")])
    (tmp_path / "thumbnails").mkdir()
    for number in (0, 1):
        (tmp_path / f"1.{number}.html").write_text("")
        (tmp_path / f"1.{number}.png").write_text("")
        image = np.full((300, 200), 100, dtype=np.uint8)
        (tmp_path / "thumbnails" / f"1.{number}.webp").write_bytes(encode_thumbnail(image))
    return tmp_path


def test_both_tables_make_one_row_per_series_the_highest_first(folder: Path) -> None:
    rows = collect_rows(folder)
    assert [row["series"] for row in rows] == ["1.0", "1.1", "1.2", "1.3", "1.4", "1.5"]
    assert [row["status"] for row in rows] == ["explained", "explained", "scored", "scored", "refused", "failed"]
    assert [row["page"] for row in rows[:3]] == ["1.0.html", "1.1.html", ""]
    assert rows[0]["prediction"] == "bleed"
    assert rows[2]["prediction"] == "1"
    assert rows[2]["score"] == 0.898
    assert rows[2]["reason"] == "no memory"
    assert rows[0]["thumbnail"]
    assert rows[0]["findings"] == "LOSSY GAP"
    assert rows[4]["score"] is None


def test_one_table_is_enough_and_none_is_an_error(folder: Path) -> None:
    (folder / "scores.csv").unlink()
    assert [row["status"] for row in collect_rows(folder)] == ["explained", "explained", "failed"]
    (folder / "explanations.csv").unlink()
    with pytest.raises(InputError, match=r"no scores\.csv and no explanations\.csv"):
        collect_rows(folder)


def test_a_table_without_rows_is_no_error(folder: Path) -> None:
    header = (folder / "scores.csv").read_text().partition("\n")[0]
    (folder / "scores.csv").write_text(header + "\n")
    assert len(collect_rows(folder)) == 3
    (folder / "explanations.csv").unlink()
    assert "0 series" in write_index(folder).read_text()


def test_copies_of_a_series_stay_rows_of_their_own(tmp_path: Path) -> None:
    write_rows(tmp_path / "scores.csv", [scored(1, path="a/x"), scored(1, path="b/x"), scored(1, path="b/y")])
    assert len(collect_rows(tmp_path)) == 3


def test_the_likeliest_class_stands_for_the_series(tmp_path: Path) -> None:
    row = scored(1, probability_none=0.02, probability_low=0.7, probability_bleed=0.28, prediction="low")
    write_rows(tmp_path / "scores.csv", [row])
    assert (collect_rows(tmp_path)[0]["score"], collect_rows(tmp_path)[0]["label"]) == (0.7, "low")


def test_no_path_is_told_unless_asked_for(folder: Path) -> None:
    assert "doe_john" not in write_index(folder).read_text()
    assert "doe_john/4" in write_index(folder, paths=True).read_text()


def test_hostile_tables_are_escaped_and_lead_nowhere(folder: Path) -> None:
    (folder.parent / "secret.html").write_text("")
    write_rows(folder / "explanations.csv", [
        explained(0, page="../secret.html", picture="javascript:alert(1)", thumbnail="../x", label=HOSTILE,
                  prediction=HOSTILE, reason=HOSTILE)])
    page = write_index(folder).read_text()
    assert page.count("<script") == page.count("</script>") == 2
    assert "<img src=x" not in page.lower()
    assert "\u202e" not in page
    row = json.loads(page.partition('id="data">')[2].partition("</script>")[0])["rows"][0]
    assert row["page"] == row["picture"] == row["thumbnail"] == ""


def test_reasons_are_grouped_by_their_code() -> None:
    assert group_reason("GAP: slices 1 to 2 are missing") == "GAP"
    assert group_reason("TypeError: it cannot be read") == "TypeError: it cannot be read"
    assert len(group_reason("x" * 100)) == 61


def rows_of(tab: Tab) -> list[str]:
    return list(tab.ask("[...document.querySelectorAll('#table tbody tr')].map((one) => one.textContent)"))


def set_filter(tab: Tab, name: str, value: str) -> None:
    tab.ask(f"(() => {{ const one = document.getElementById('{name}'); one.value = '{value}'; "
            "one.dispatchEvent(new Event('input', {bubbles: true})); })()")


def test_the_page_sorts_and_filters_in_a_browser(tab: Tab, folder: Path) -> None:
    tab.open(write_index(folder), width=390)
    assert tab.ask("document.documentElement.scrollWidth") <= 390
    assert len(rows_of(tab)) == 6
    assert "0.900" in rows_of(tab)[0]
    assert tab.ask("document.querySelector('a').getAttribute('href')") == "1.0.html"
    tab.click("#table th[data-key=score] button")
    assert "0.100" in rows_of(tab)[0]
    assert tab.ask("document.querySelector('[aria-sort]').getAttribute('aria-sort')") == "ascending"
    for name, value, left in (("status", "refused", 1), ("status", "", 6), ("text", "gap missing", 1), ("text", "", 6),
                              ("low", "0.5", 3), ("high", "0.899", 2), ("prediction", "1", 1)):
        set_filter(tab, name, value)
        assert len(rows_of(tab)) == left, (name, value)
        assert tab.ask("document.getElementById('found').textContent") == f"{left} of 6 series"
    tab.click("[type=reset]")
    tab.ask("new Promise((done) => setTimeout(done, 30))")
    assert len(rows_of(tab)) == 6
    tab.ask("document.querySelector('details').open = true")
    tab.click("[data-reason=GAP]")
    assert len(rows_of(tab)) == 1
    assert tab.errors == []
    assert len(tab.requests) == 1


def test_five_thousand_series(tab: Tab, tmp_path: Path) -> None:
    write_rows(tmp_path / "scores.csv", [scored(number, probability_bleed=number / 5000) for number in range(5000)])
    (tmp_path / "thumbnails").mkdir()
    image = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
    for number in range(0, 5000, 10):
        (tmp_path / "thumbnails" / f"{number}.webp").write_bytes(encode_thumbnail(image))
    write_rows(tmp_path / "explanations.csv",
               [explained(number, score=number / 5000, thumbnail=f"{number}.webp") for number in range(0, 5000, 10)])
    tab.open(write_index(tmp_path))
    assert tab.ask("document.getElementById('found').textContent") == "5000 of 5000 series"
    assert 100 <= len(rows_of(tab)) < 1000  # more as one scrolls
    before = tab.ask("performance.now()")
    set_filter(tab, "text", "1.4999")
    assert len(rows_of(tab)) == 1
    assert tab.ask("performance.now()") - before < 2000
    set_filter(tab, "text", "")
    tab.ask("window.scrollTo(0, document.body.scrollHeight)")
    tab.ask("new Promise((done) => setTimeout(done, 200))")
    assert len(rows_of(tab)) >= 200
    assert tab.errors == []
