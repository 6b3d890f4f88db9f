"""Figures for papers: written as PNG and SVG, the same every time, without identifiers, and of what they say."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from page_samples import HOSTILE, UID, explanation_of
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
    "signed": explanation_of(attributions={"leave_out": np.linspace(-1, 1, 12)}, shown_attribution="leave_out",
                             window_text="L 40 W 80 HU"),
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


def texts_of(path: Path) -> list[str]:
    """The texts of an SVG, which hold type as text; a file that is no XML fails."""
    return ["".join(one.itertext()) for one in ET.parse(path).iter("{http://www.w3.org/2000/svg}text")]


def test_a_figure_says_what_its_colours_and_scales_are(tmp_path: Path) -> None:
    told = {}
    for name, draw in {"strip": draw_strip, "montage": draw_paper_montage, "curves": draw_class_curves}.items():
        draw(CASES["signed"], tmp_path / "a.svg")
        told[name] = texts_of(tmp_path / "a.svg")
    assert "bleed: leave one out (logits)" in told["strip"]
    assert "slice score (probability)" in told["curves"]
    assert "Grad-CAM (lower row): 0" in told["montage"]
    assert "1, the strongest of these slices" in told["montage"]
    assert "window L 40 W 80 HU" in told["strip"]
    assert "window L 40 W 80 HU" in told["montage"]
    assert "0.0" in told["strip"]  # a scale beside the curve
    assert {"0.0", "0.8"} <= set(told["curves"])


@pytest.mark.parametrize("draw", [draw_strip, draw_paper_montage])
def test_the_directions_of_the_patient_are_on_the_slices(tmp_path: Path, draw) -> None:
    plain = {"images": np.zeros((4, 30, 30), np.uint8), "heat": None}
    for letters, count in ((("A", "P", "S", "I"), 4), (None, 0)):
        draw(explanation_of(**plain, letters=letters), tmp_path / "a.svg")
        assert [texts_of(tmp_path / "a.svg").count(one) for one in "APSI"] == [count] * 4


@pytest.mark.parametrize("draw", [draw_strip, draw_paper_montage, draw_class_curves])
def test_hostile_names_are_drawn_and_obeyed_by_nobody(tmp_path: Path, draw) -> None:
    label = f"{HOSTILE}$\\frac{{1}}$'; DROP TABLE x;--" + 60 * " very long"
    draw(explanation_of(label=label, slice_scores={label: np.ones(12)}), tmp_path / "a.svg")
    raw, texts = (tmp_path / "a.svg").read_text(), " ".join(texts_of(tmp_path / "a.svg"))
    assert "<img" not in raw
    assert "</script" in texts  # escaped, and there
    assert not {"\u202e", "\x1b"} & set(raw)
    draw(explanation_of(label=label, slice_scores={label: np.ones(12)}), tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as picture:
        assert np.asarray(picture.convert("L"))[:, -3:].min() > 200  # cut, not over the edge


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
    assert "first slice to last" in (tmp_path / "a.svg").read_text()
    draw_cohort(rows[:1], tmp_path / "one.svg", noun="frame")
    assert "first frame to last" in (tmp_path / "one.svg").read_text()
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
    write_rows(tmp_path / "explanations.csv", [
        {"series_uid": str(number), "status": "explained", "picture": f"{number}.png", "score": 0.3, "label": label}
        for number, label in enumerate(["a", "b"])])
    cells = [{"position": at, "leave_in_a": 1, "leave_in_b": 2, "score_a": 3} for at in range(4)]
    for number in range(2):
        write_rows(tmp_path / f"{number}.csv", cells)
    assert [row.values[0] for row in read_cohort(tmp_path, column="leave_in")] == [1, 2]  # of the class explained
    assert [row.values[0] for row in read_cohort(tmp_path, column="slice_scores")] == [3]
    with pytest.raises(InputError, match="has the column leave_out"):
        read_cohort(tmp_path, column="leave_out")


def test_each_class_has_its_curve() -> None:
    scores = {"a": np.zeros(12), "b": np.ones(12)}
    assert curves_of(explanation_of(slice_scores=scores)) == ("slice score", "probability", scores)
    by_class = explanation_of(slice_scores={}, classes=("bleed", "none"), shown_attribution="leave_out",
                              attributions={"leave_out": np.ones((12, 2))})
    name, unit, curves = curves_of(by_class)
    assert (name, unit) == ("leave one out", "logit")
    assert list(curves) == ["bleed", "none"]


def test_mistakes_are_told(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"\.png or a \.svg"):
        draw_strip(CASES["plain"], tmp_path / "a.gif")
    with pytest.raises(OutputError, match="cannot be written"):
        draw_strip(CASES["plain"], tmp_path / "none" / "a.png")
    with pytest.raises(ValueError, match="at least one"):
        draw_cohort([], tmp_path / "a.png")
