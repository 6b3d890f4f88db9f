"""Curves of every class over the series, one panel below the other, each named beside its line."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from seriatim.explanation import style
from seriatim.explanation.curve import axis_limits
from seriatim.explanation.explanation import Explanation
from seriatim.explanation.figures.paper import ONE_COLUMN, SMALL, add_axes, save_figure, start_figure, write
from seriatim.explanation.methods import SLICE_METHODS

LEFT, RIGHT, TOP, BOTTOM, GAP = 0.42, 0.1, 0.3, 0.4, 0.2
PANEL = 0.55


def draw_class_curves(explanation: Explanation, path: Path) -> Path:
    """Draw for each class its slice scores, else its attention, else the attribution that is shown first.

    Raises:
        OutputError: the figure cannot be written.
    """
    name, curves = curves_of(explanation)
    figure = start_figure(ONE_COLUMN, TOP + len(curves) * (PANEL + GAP) - GAP + BOTTOM)
    write(figure, LEFT, 0.08, name)
    low = min(0.0, *(float(values.min()) for values in curves.values()))
    high = max(float(values.max()) for values in curves.values())
    for number, (label, values) in enumerate(curves.items()):
        colour = style.CLASS_COLOURS[number % len(style.CLASS_COLOURS)]
        axes = add_axes(figure, LEFT, TOP + number * (PANEL + GAP), ONE_COLUMN - LEFT - RIGHT, PANEL)
        axes.axhline(0, color=style.PAPER.grid, linewidth=0.6)
        axes.fill_between(explanation.positions, values, color=colour, alpha=0.15, linewidth=0)
        axes.plot(explanation.positions, values, color=colour, linewidth=1.1)
        axes.set(xlim=axis_limits(explanation.positions), ylim=(1.08 * low, 1.08 * high or 1))
        axes.annotate(label, (0, 1), (2, 1), xycoords="axes fraction", textcoords="offset points", fontsize=SMALL,
                      color=colour, weight="bold", va="bottom")
        axes.locator_params(axis="y", nbins=3)
        axes.xaxis.set_major_locator(MaxNLocator(6, prune="both"))
        if number < len(curves) - 1:
            axes.tick_params(labelbottom=False)
    unit = {"mm": "position (mm)", "s": "time (s)", "index": f"{explanation.noun} index"}[explanation.unit]
    axes.set_xlabel(unit, fontsize=SMALL, color=style.PAPER.muted, labelpad=2)
    return save_figure(figure, path)


def curves_of(explanation: Explanation) -> tuple[str, Mapping[str, NDArray[np.float64]]]:
    """What is drawn for each class, and what it is called."""
    if explanation.slice_scores:
        return f"{explanation.noun} score", explanation.slice_scores
    if explanation.class_attention:
        return "attention by class", explanation.class_attention
    shown = explanation.shown_attribution
    values = explanation.attributions.get(shown, explanation.attention)
    if values.ndim == 1:
        return SLICE_METHODS[shown].title, {explanation.label: values}
    return SLICE_METHODS[shown].title, dict(zip(explanation.classes, values.T, strict=True))
