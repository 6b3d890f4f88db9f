"""Figures for papers: written as PNG and SVG, the same every time, without identifiers, and of what they say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from page_samples import UID, explanation_of
from PIL import Image

from seriatim.errors import InputError, OutputError
from seriatim.explanation.figures import (
    CohortRow,
    draw_class_curves,
    draw_cohort,
    draw_paper_montage,
    draw_strip,
    read_cohort,
)
from seriatim.explanation.figures.cohort import BINS, resample
from seriatim.explanation.figures.curves import curves_of
from seriatim.explanation.figures.paper import DPI, ONE_COLUMN, TWO_COLUMNS
from tiny_runs import write_rows

CASES = {
    "plain": explanation_of(images=np.full((4, 30, 24), 90, dtype=np.uint8), heat=np.ones((4, 30, 24), np.float32)),
    "one slice": explanation_of(1, 1),
    "clip in colour": explanation_of(9, 8, images=np.zeros((8, 8, 12, 3), np.uint8), heat=None, axis="time", unit="s",
                                     letters=None, slice_scores={}),
    "signed": explanation_of(attributions={"leave_out": np.linspace(-1, 1, 12)}, shown_attribution="leave_out"),
}  # fmt: skip


@pytest.mark.parametrize("draw", [draw_strip, draw_paper_montage, draw_class_curves])
@pytest.mark.parametrize("name", CASES)
def test_figures_are_written_at_their_width(tmp_path: Path, draw, name: str) -> None:
    draw(CASES[name], tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.width == round((TWO_COLUMNS if draw is draw_paper_montage else ONE_COLUMN) * DPI)
        pixels = np.asarray(picture.convert("L"))
    assert pixels[0].min() == 255  # nothing is cut off at the edges
    assert pixels[:, -3:].min() > 200
    assert pixels.min() < 100


@pytest.mark.parametrize("draw", [draw_strip, draw_paper_montage, draw_class_curves])
def test_vectors_are_the_same_every_time_and_name_nobody(tmp_path: Path, draw) -> None:
    for file in ("a.svg", "b.svg"):
        draw(CASES["plain"], tmp_path / file)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    assert UID not in (tmp_path / "a.svg").read_text()


def test_a_cohort_is_ordered_by_score_and_each_series_fills_the_width(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = []
    for number in range(40):
        count = int(rng.integers(5, 60))
        values = np.exp(-0.5 * ((np.linspace(0, 1, count) - 0.7) / 0.1) ** 2) + 0.01
        rows.append(CohortRow(score=number / 40, positions=np.arange(count) * 2.5, values=values / values.sum()))
    draw_cohort(rows, tmp_path / "a.png")
    draw_cohort(rows, tmp_path / "a.svg")
    grid = np.stack([resample(row) for row in rows])
    assert grid.shape == (40, BINS)
    assert (np.abs(grid.argmax(axis=1) - 70) <= 12).all()
    np.testing.assert_allclose(grid.mean(axis=1), 1, atol=0.35)  # multiples of the even share
    draw_cohort(rows[:1], tmp_path / "one.png")
    signed = CohortRow(score=-3.0, positions=np.arange(4.0), values=np.array([1.0, -1, 0, 2]))
    draw_cohort([signed], tmp_path / "signed.png", name="leave one out")
    np.testing.assert_allclose(resample(signed)[[0, -1]], [1, 2], atol=0.1)


def test_a_cohort_is_read_from_a_folder_of_explanations(tmp_path: Path) -> None:
    write_rows(tmp_path / "explanations.csv", [
        {"series_uid": "1", "status": "explained", "picture": "1.png", "score": 0.3},
        {"series_uid": "2", "status": "failed", "picture": "", "score": ""}])
    write_rows(tmp_path / "1.csv", [{"position": 1.5 * at, "attention": 0.25} for at in range(4)])
    (row,) = read_cohort(tmp_path)
    assert row.score == 0.3
    assert row.positions.tolist() == [0, 1.5, 3, 4.5]
    with pytest.raises(InputError, match="has the column leave_out"):
        read_cohort(tmp_path, column="leave_out")


def test_each_class_has_its_curve() -> None:
    scores = {"a": np.zeros(12), "b": np.ones(12)}
    assert curves_of(explanation_of(slice_scores=scores)) == ("slice score", scores)
    by_class = explanation_of(slice_scores={}, classes=("bleed", "none"), shown_attribution="leave_out",
                              attributions={"leave_out": np.ones((12, 2))})
    name, curves = curves_of(by_class)
    assert name == "leave one out"
    assert list(curves) == ["bleed", "none"]


def test_mistakes_are_told(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"\.png or a \.svg"):
        draw_strip(CASES["plain"], tmp_path / "a.gif")
    with pytest.raises(OutputError, match="cannot be written"):
        draw_strip(CASES["plain"], tmp_path / "none" / "a.png")
    with pytest.raises(ValueError, match="at least one"):
        draw_cohort([], tmp_path / "a.png")
