"""The attention strip: one line of colour over the series, its curve above, the slices it leads to below."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.ticker import MaxNLocator

from seriatim.explanation import style
from seriatim.explanation.curve import axis_limits, edges_of, name_ends
from seriatim.explanation.explanation import Explanation
from seriatim.explanation.figures.paper import ONE_COLUMN, SMALL, add_axes, save_figure, start_figure, write
from seriatim.explanation.methods import SLICE_METHODS

LEFT, RIGHT, TOP = 0.08, 0.08, 0.3
CURVE, BAND = 0.62, 0.2
MOST_SHOWN = 4


def draw_strip(explanation: Explanation, path: Path) -> Path:
    """Draw the attribution that is shown first over position, as a curve and a strip, with up to four slices below.

    Raises:
        OutputError: the figure cannot be written.
    """
    shown = explanation.top[:MOST_SHOWN]
    width = ONE_COLUMN - LEFT - RIGHT
    side = (width - 0.05 * (MOST_SHOWN - 1)) / MOST_SHOWN
    tall = side * explanation.images.shape[1] / explanation.images.shape[2]
    figure = start_figure(ONE_COLUMN, TOP + CURVE + 0.06 + BAND + 0.42 + tall + 0.22)
    name = SLICE_METHODS[explanation.shown_attribution].title
    write(figure, LEFT, 0.08, f"{explanation.label}: {name}")
    values, limits = explanation.attribution(), axis_limits(explanation.positions)
    _draw_curve(add_axes(figure, LEFT, TOP, width, CURVE), explanation, values)
    below = TOP + CURVE + 0.06
    band = add_axes(figure, LEFT, below, width, BAND)
    least = min(0.0, float(values.min()))
    reach = max(abs(least), float(values.max())) or 1.0
    colours, ends = (style.SIGNED_COLOURS, (-reach, reach)) if least < 0 else (style.HEAT_COLOURS, (0.0, reach))
    band.pcolormesh(edges_of(explanation.positions), [0, 1], values[None], cmap=colours, vmin=ends[0], vmax=ends[1],
                    rasterized=True)
    band.set(xlim=limits, yticks=[])
    _name_axis(band, explanation)
    for number, index in enumerate(sorted(shown)):
        axes = add_axes(figure, LEFT + number * (side + 0.05), below + BAND + 0.42, side, tall)
        place = explanation.top.index(index)
        grey = {"cmap": "gray", "vmin": 0, "vmax": 255} if explanation.images.ndim == 3 else {}
        axes.imshow(explanation.images[place], aspect="auto", **grey)
        axes.set(xticks=[], yticks=[])
        axes.set_xlabel(style.format_position(explanation.positions[index], explanation.unit) or f"index {index}",
                        fontsize=SMALL, color=style.PAPER.muted, labelpad=2)
    return save_figure(figure, path)


def _draw_curve(axes: Any, explanation: Explanation, values: np.ndarray[Any, np.dtype[np.float64]]) -> None:
    axes.fill_between(explanation.positions, values, color=style.PAPER.accent, alpha=0.15, linewidth=0)
    axes.plot(explanation.positions, values, color=style.PAPER.accent, linewidth=1.1)
    chosen = list(explanation.top[:MOST_SHOWN])
    axes.plot(explanation.positions[chosen], values[chosen], "o", color=style.PAPER.accent, markersize=2.6)
    axes.set(xlim=axis_limits(explanation.positions), xticks=[], yticks=[])
    axes.margins(y=0.08)


def _name_axis(axes: Any, explanation: Explanation) -> None:
    """What the position axis counts, and the patient directions at its ends."""
    ends = name_ends(explanation.letters)
    first, last = (f"{ends[0]}  ", f"  {ends[1]}") if ends else ("", "")
    axes.xaxis.set_major_locator(MaxNLocator(6, prune="both"))
    unit = {"mm": "position (mm)", "s": "time (s)", "index": f"{explanation.noun} index"}[explanation.unit]
    axes.set_xlabel(f"{first}{unit}{last}", fontsize=SMALL, color=style.PAPER.muted, labelpad=2)
