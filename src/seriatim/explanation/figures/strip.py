"""The attention strip: one line of colour over the series, its curve above, the slices it leads to below."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from seriatim.explanation import style
from seriatim.explanation.curve import axis_limits, edges_of
from seriatim.explanation.explanation import Explanation
from seriatim.explanation.figures.paper import (
    MARGIN,
    ONE_COLUMN,
    SMALL,
    UNITS,
    add_axes,
    draw_slice,
    name_positions,
    save_figure,
    start_figure,
    tell_window,
    write,
)
from seriatim.explanation.methods import name_method

LEFT, TOP = 0.5, 0.3
CURVE, BAND, AXIS, WINDOW = 0.62, 0.16, 0.42, 0.15
MOST_SHOWN = 4


def draw_strip(explanation: Explanation, path: Path) -> Path:
    """Draw the attribution that is shown first over position, as a curve and a strip, with up to four slices below.

    The curve's scale is the key of the strip's colours.

    Raises:
        OutputError: the figure cannot be written.
    """
    shown = explanation.top[:MOST_SHOWN]
    width = ONE_COLUMN - LEFT - MARGIN
    side = (ONE_COLUMN - 2 * MARGIN - 0.05 * (MOST_SHOWN - 1)) / MOST_SHOWN
    tall = side * explanation.images.shape[1] / explanation.images.shape[2]
    band = TOP + CURVE + 0.06
    pictures = band + BAND + AXIS
    window = tell_window(explanation)
    figure = start_figure(ONE_COLUMN, pictures + tall + 0.24 + (WINDOW if window else 0))
    method = name_method(explanation.shown_attribution, noun=explanation.noun)
    write(figure, MARGIN, 0.08, f"{explanation.label}: {method.title} ({UNITS[method.unit]})")
    values = explanation.attribution()
    _draw_curve(add_axes(figure, LEFT, TOP, width, CURVE), explanation, values)
    _draw_band(add_axes(figure, LEFT, band, width, BAND), explanation, values)
    for number, index in enumerate(sorted(shown)):
        axes = add_axes(figure, MARGIN + number * (side + 0.05), pictures, side, tall)
        draw_slice(axes, explanation, explanation.top.index(index), size=(side, tall), letters=True)
        place = style.format_position(explanation.positions[index], explanation.unit)
        axes.set_xlabel(place or f"{explanation.noun} {index + 1}", fontsize=SMALL, color=style.PAPER.muted, labelpad=2)
    if window:
        write(figure, MARGIN, pictures + tall + 0.21, window, fontsize=SMALL, color=style.PAPER.muted)
    return save_figure(figure, path)


def _draw_curve(axes: Any, explanation: Explanation, values: NDArray[np.float64]) -> None:
    axes.axhline(0, color=style.PAPER.grid, linewidth=0.6)
    axes.fill_between(explanation.positions, values, color=style.PAPER.accent, alpha=0.15, linewidth=0)
    axes.plot(explanation.positions, values, color=style.PAPER.accent, linewidth=1.1)
    chosen = list(explanation.top[:MOST_SHOWN])
    axes.plot(explanation.positions[chosen], values[chosen], "o", color=style.PAPER.accent, markersize=2.6)
    axes.set(xlim=axis_limits(explanation.positions), xticks=[])
    axes.margins(y=0.08)
    axes.yaxis.set_major_locator(MaxNLocator(3))


def _draw_band(axes: Any, explanation: Explanation, values: NDArray[np.float64]) -> None:
    least = min(0.0, float(values.min()))
    reach = max(abs(least), float(values.max())) or 1.0
    colours, ends = (style.SIGNED_COLOURS, (-reach, reach)) if least < 0 else (style.HEAT_COLOURS, (0.0, reach))
    axes.pcolormesh(edges_of(explanation.positions), [0, 1], values[None], cmap=colours, vmin=ends[0], vmax=ends[1],
                    rasterized=True)
    axes.set(xlim=axis_limits(explanation.positions), yticks=[])
    axes.xaxis.set_major_locator(MaxNLocator(6, prune="both"))
    axes.set_xlabel(name_positions(explanation), fontsize=SMALL, color=style.PAPER.muted, labelpad=2)
