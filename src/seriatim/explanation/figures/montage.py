"""The slices that count most, plain above and with their overlay below, for a page's width."""

from __future__ import annotations

from pathlib import Path

from seriatim.explanation import style
from seriatim.explanation.explanation import Explanation
from seriatim.explanation.figures.paper import SMALL, TWO_COLUMNS, add_axes, save_figure, start_figure, write
from seriatim.explanation.methods import PIXEL_METHODS, SLICE_METHODS
from seriatim.explanation.montage import blend_heat

LEFT, TOP, GAP = 0.08, 0.3, 0.05
CAPTION = 0.32
WIDEST = 1.75


def draw_paper_montage(explanation: Explanation, path: Path) -> Path:
    """Draw the slices shown, in their order along the series, and the same with heat over them where there is any.

    Raises:
        OutputError: the figure cannot be written.
    """
    order = sorted(range(len(explanation.top)), key=lambda place: explanation.top[place])
    side = min(WIDEST, (TWO_COLUMNS - 2 * LEFT - GAP * (len(order) - 1)) / len(order))
    tall = side * explanation.images.shape[1] / explanation.images.shape[2]
    rows = 1 if explanation.heat is None else 2
    figure = start_figure(TWO_COLUMNS, TOP + rows * tall + (rows - 1) * GAP + CAPTION)
    method = SLICE_METHODS[explanation.shown_attribution].title
    overlay = f"; below with {PIXEL_METHODS[explanation.shown_map].title}" if explanation.heat is not None else ""
    write(figure, LEFT, 0.08, f"{explanation.label} {explanation.probability:.2f}: the first "
                              f"{len(order)} {explanation.noun}s by {method}{overlay}")
    for column, place in enumerate(order):
        left = LEFT + column * (side + GAP)
        for row in range(rows):
            axes = add_axes(figure, left, TOP + row * (tall + GAP), side, tall)
            grey = {"cmap": "gray", "vmin": 0, "vmax": 255} if explanation.images.ndim == 3 else {}
            axes.imshow(explanation.images[place], aspect="auto", **grey)
            if row == 1 and explanation.heat is not None:
                axes.imshow(blend_heat(explanation.heat[place]), aspect="auto", interpolation="bilinear")
            axes.set(xticks=[], yticks=[])
        _tell(axes, explanation, place)
    return save_figure(figure, path)


def _tell(axes: object, explanation: Explanation, place: int) -> None:
    """Where the slice is, and its rank."""
    index = explanation.top[place]
    where = style.format_position(explanation.positions[index], explanation.unit) or f"index {index}"
    axes.set_xlabel(f"{where}  (rank {place + 1})", fontsize=SMALL, color=style.PAPER.muted, labelpad=2)  # type: ignore[attr-defined]
