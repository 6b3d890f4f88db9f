"""The slices that count most, plain above and with their overlay below, for a page's width."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from seriatim.explanation import style
from seriatim.explanation.explanation import Explanation
from seriatim.explanation.figures.paper import (
    MARGIN,
    SMALL,
    TWO_COLUMNS,
    add_axes,
    draw_slice,
    save_figure,
    start_figure,
    tell_window,
    write,
)
from seriatim.explanation.methods import name_method
from seriatim.explanation.montage import blend_heat, fill_ramp, name_map
from seriatim.explanation.words import tell_number

TOP, GAP = 0.3, 0.05
CAPTION, KEY = 0.22, 0.24
WIDEST = 1.75
RAMP, WINDOW = 1.1, 2.0


def draw_paper_montage(explanation: Explanation, path: Path) -> Path:
    """Draw the slices shown, in their order along the series, and the same with heat over them where there is any.

    Raises:
        OutputError: the figure cannot be written.
    """
    order = sorted(range(len(explanation.top)), key=lambda place: explanation.top[place])
    side = min(WIDEST, (TWO_COLUMNS - 2 * MARGIN - GAP * (len(order) - 1)) / len(order))
    tall = side * explanation.images.shape[1] / explanation.images.shape[2]
    rows = 1 if explanation.heat is None else 2
    below = TOP + rows * tall + (rows - 1) * GAP + CAPTION
    window = tell_window(explanation)
    figure = start_figure(TWO_COLUMNS, below + (KEY if explanation.heat is not None or window else 0) + MARGIN)
    method = name_method(explanation.shown_attribution, noun=explanation.noun).title
    write(figure, MARGIN, 0.08, f"{explanation.label} {tell_number(explanation.probability)}: the first "
                                f"{len(order)} {explanation.noun}s by {method}")
    for column, place in enumerate(order):
        left = MARGIN + column * (side + GAP)
        for row in range(rows):
            axes = add_axes(figure, left, TOP + row * (tall + GAP), side, tall)
            draw_slice(axes, explanation, place, size=(side, tall), letters=row == 0)
            if row == 1 and explanation.heat is not None:
                axes.imshow(blend_heat(explanation.heat[place]), aspect="auto", interpolation="bilinear")
        _tell(axes, explanation, place)
    if explanation.heat is not None:
        _draw_key(figure, explanation, top=below)
    if window:
        quiet = {"fontsize": SMALL, "color": style.PAPER.muted, "ha": "right"}
        write(figure, TWO_COLUMNS - MARGIN, below, window, width=WINDOW, **quiet)
    return save_figure(figure, path)


def _tell(axes: Any, explanation: Explanation, place: int) -> None:
    """Where the slice is, and its rank."""
    index = explanation.top[place]
    where = style.format_position(explanation.positions[index], explanation.unit) or f"{explanation.noun} {index + 1}"
    axes.set_xlabel(f"{where}  (rank {place + 1})", fontsize=SMALL, color=style.PAPER.muted, labelpad=2)


def _draw_key(figure: Figure, explanation: Explanation, *, top: float) -> None:
    """What the heat is, and which colour is how much of it."""
    quiet: dict[str, Any] = {"fontsize": SMALL, "color": style.PAPER.muted}
    left = MARGIN + write(figure, MARGIN, top, f"{name_map(explanation)} (lower row): 0", **quiet) + 0.06
    fill_ramp(add_axes(figure, left, top + 0.005, RAMP, 0.1))
    write(figure, left + RAMP + 0.06, top, f"1, the strongest of these {explanation.noun}s", **quiet)
