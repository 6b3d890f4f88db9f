"""The cohort heat map: all series below each other, over relative position, ordered by their score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from seriatim.errors import InputError
from seriatim.explanation import style
from seriatim.explanation.figures.paper import ONE_COLUMN, SMALL, add_axes, save_figure, start_figure, write
from seriatim.io.tables.manifest import read_table

BINS = 100
"""Steps of relative position, from the first slice to the last."""
LEFT, TOP, BOTTOM, MAP, GAP, SCORES = 0.3, 0.3, 0.62, 2.45, 0.08, 0.55
LOWEST, HIGHEST, ROW = 1.2, 6.5, 0.028
"""Inches of the map: so much per series, within bounds."""
FULL_COLOUR = 99.0
"""The percentile of the values that has the full colour, so that one sharp peak does not darken all others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CohortRow:
    """One series: its ``score`` and (S,) ``values`` at (S,) ``positions``, ascending."""

    score: float
    positions: NDArray[np.float64]
    values: NDArray[np.float64]


def draw_cohort(
    rows: Sequence[CohortRow], path: Path, *, name: str = "attention", unit: str = "", noun: str = "slice"
) -> Path:
    """Draw the map, the highest score on top. Shares that sum to 1 are drawn as multiples of the even share.

    ``name`` is what the values are called in the title, ``unit`` beside the colours, ``noun`` what one step of a
    series is.

    Raises:
        OutputError: the figure cannot be written.
        ValueError: there are no rows.
    """
    if not rows:
        raise ValueError("A cohort has at least one series.")
    ordered = sorted(rows, key=lambda row: -row.score)
    grid = np.stack([resample(row) for row in ordered])
    tall = min(HIGHEST, max(LOWEST, ROW * len(rows)))
    figure = start_figure(ONE_COLUMN, TOP + tall + BOTTOM)
    write(figure, LEFT, 0.08, f"{name} in {len(rows)} series")
    key = "× even" if is_share(rows) else unit or name
    axes = add_axes(figure, LEFT, TOP, MAP, tall)
    reach = float(np.percentile(np.abs(grid), FULL_COLOUR)) or 1.0
    signed = bool(grid.min() < 0)
    colours, low = (style.SIGNED_COLOURS, -reach) if signed else (style.HEAT_COLOURS, 0.0)
    image = axes.imshow(grid, aspect="auto", cmap=colours, vmin=low, vmax=reach, interpolation="nearest",
                        extent=(0, 1, len(rows), 0))
    axes.set(xticks=[0, 0.5, 1], xticklabels=["0", "½", "1"], yticks=[])
    axes.set_xlabel(f"relative position, first {noun} to last", fontsize=SMALL, color=style.PAPER.muted, labelpad=2)
    axes.set_ylabel("series, by score", fontsize=SMALL, color=style.PAPER.muted, labelpad=3)
    _draw_scores(add_axes(figure, LEFT + MAP + GAP, TOP, SCORES, tall), [row.score for row in ordered])
    bar = figure.colorbar(image, cax=add_axes(figure, LEFT, TOP + tall + 0.4, MAP, 0.06), orientation="horizontal")
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=SMALL, colors=style.PAPER.muted, length=2, width=0.6, pad=2)
    write(figure, LEFT + MAP + GAP, TOP + tall + 0.36, key, fontsize=SMALL, color=style.PAPER.muted)
    return save_figure(figure, path)


def resample(row: CohortRow) -> NDArray[np.float64]:
    """(BINS,) of a series from its first slice to its last, linear between slices; shares times their number."""
    positions = row.positions - row.positions[0]
    relative = positions / (positions[-1] or 1.0)
    values = row.values * len(row.values) if is_share([row]) else row.values
    return np.asarray(np.interp((np.arange(BINS) + 0.5) / BINS, relative, values))


def is_share(rows: Sequence[CohortRow]) -> bool:
    """Whether the values of every series are shares of it."""
    return all((row.values >= 0).all() and abs(row.values.sum() - 1) < 1e-3 for row in rows)


def read_cohort(folder: Path, *, column: str = "attention") -> list[CohortRow]:
    """The rows of a folder that ``seriatim explain`` wrote: a column of each series' table, and the series' score.

    Where a table has the column for each class (``leave_out_<class>``), it is that of the class explained.

    Raises:
        InputError: no explained series there has the column.
        ConfigError: a table cannot be read.
    """
    rows = []
    for explained in read_table(folder / "explanations.csv"):
        table = folder / explained["picture"].replace(".png", ".csv")
        if explained["status"] != "explained" or not table.is_file():
            continue
        slices = read_table(table)
        found = _find_column(list(slices[0]), column, label=explained.get("label", ""))
        if found is None:
            continue
        values, positions = (np.array([float(one[key]) for one in slices]) for key in (found, "position"))
        rows.append(CohortRow(score=float(explained["score"]), positions=positions, values=values))
    if not rows:
        raise InputError(f"No explained series in {folder} has the column {column}. Explain some first.")
    return rows


def _find_column(header: Sequence[str], column: str, *, label: str) -> str | None:
    """The column of a method for a class: its own where there is one, else that of all classes."""
    own = {"slice_scores": "score"}.get(column, column)
    return next((name for name in (f"{own}_{label}", own) if name in header), None)


def _draw_scores(axes: Any, scores: Sequence[float]) -> None:
    """The scores as bars beside the rows."""
    axes.barh(np.arange(len(scores)) + 0.5, scores, height=1.0, color=style.PAPER.score, linewidth=0)
    axes.set(ylim=(len(scores), 0), yticks=[])
    axes.set_xlim(min(0.0, *scores), max(1.0, *scores) if len(scores) > 1 else max(1.0, scores[0]))
    axes.set_xlabel("score", fontsize=SMALL, color=style.PAPER.muted, labelpad=2)
    axes.xaxis.set_major_locator(MaxNLocator(2, prune="lower"))
