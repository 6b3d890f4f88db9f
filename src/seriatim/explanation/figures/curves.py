"""Curves of every class over the series, one panel below the other on one scale, each under its name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from seriatim.explanation import style
from seriatim.explanation.curve import axis_limits
from seriatim.explanation.explanation import Explanation
from seriatim.explanation.figures.paper import (
    MARGIN,
    ONE_COLUMN,
    SMALL,
    UNITS,
    add_axes,
    name_positions,
    save_figure,
    start_figure,
    write,
)
from seriatim.explanation.methods import SLICE_METHODS, AttributionUnit

LEFT, RIGHT, TOP, BOTTOM, GAP = 0.5, 0.1, 0.46, 0.4, 0.24
PANEL = 0.55


def draw_class_curves(explanation: Explanation, path: Path) -> Path:
    """Draw for each class its slice scores, else its attention, else the attribution that is shown first.

    Raises:
        OutputError: the figure cannot be written.
    """
    name, unit, curves = curves_of(explanation)
    figure = start_figure(ONE_COLUMN, TOP + len(curves) * (PANEL + GAP) - GAP + BOTTOM)
    write(figure, MARGIN, 0.08, f"{name} ({UNITS[unit]})")
    low = min(0.0, *(float(values.min()) for values in curves.values()))
    high = max(float(values.max()) for values in curves.values())
    for number, (label, values) in enumerate(curves.items()):
        colour = style.CLASS_COLOURS[number % len(style.CLASS_COLOURS)]
        axes = add_axes(figure, LEFT, TOP + number * (PANEL + GAP), ONE_COLUMN - LEFT - RIGHT, PANEL)
        axes.axhline(0, color=style.PAPER.grid, linewidth=0.6)
        axes.fill_between(explanation.positions, values, color=colour, alpha=0.15, linewidth=0)
        axes.plot(explanation.positions, values, color=colour, linewidth=1.1)
        axes.set(xlim=axis_limits(explanation.positions), ylim=(1.08 * low, 1.08 * high or 1))
        write(figure, LEFT, TOP + number * (PANEL + GAP) - 0.13, label, fontsize=SMALL, color=colour, weight="bold")
        axes.yaxis.set_major_locator(MaxNLocator(3))
        axes.xaxis.set_major_locator(MaxNLocator(6, prune="both"))
        if number < len(curves) - 1:
            axes.tick_params(labelbottom=False)
    axes.set_xlabel(name_positions(explanation), fontsize=SMALL, color=style.PAPER.muted, labelpad=2)
    return save_figure(figure, path)


def curves_of(explanation: Explanation) -> tuple[str, AttributionUnit, Mapping[str, NDArray[np.float64]]]:
    """What is drawn for each class: its name, the unit, and the curves."""
    if explanation.slice_scores:
        return f"{explanation.noun} score", "probability", explanation.slice_scores
    if explanation.class_attention:
        return "attention by class", "share", explanation.class_attention
    method = SLICE_METHODS[explanation.shown_attribution]
    values = explanation.attributions.get(explanation.shown_attribution, explanation.attention)
    if values.ndim == 1:
        return method.title, method.unit, {explanation.label: values}
    return method.title, method.unit, dict(zip(explanation.classes, values.T, strict=True))
