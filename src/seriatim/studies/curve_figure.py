"""A learning curve over labelled patients, as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from seriatim.evaluation import Estimate

LINE, QUIET = "#3b5b92", "#8a8a8a"
CHANCE = {"auc": 0.5, "auc_macro": 0.5}


def draw_curve(
    path: Path, *, title: str, metric: str, labelled: Sequence[float], estimates: Sequence[Estimate],
    draws: Sequence[Sequence[float]],
) -> None:
    """The metric over the number of labelled patients: the mean with its interval, and every draw as a point."""
    figure = Figure(figsize=(5.6, 4.2), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    values = [np.nan if one.value is None else one.value for one in estimates]
    low = [np.nan if one.low is None else one.low for one in estimates]
    high = [np.nan if one.high is None else one.high for one in estimates]
    axes.fill_between(labelled, low, high, color=LINE, alpha=0.15, linewidth=0, label="95 % over patients tested")
    axes.vlines(labelled, low, high, color=LINE, linewidth=1)  # a single point has no band
    axes.plot(labelled, values, color=LINE, marker="o", markersize=5, label="mean of the draws")
    for place, own in zip(labelled, draws, strict=True):
        if len(own) > 1:
            axes.scatter([place] * len(own), own, s=12, color=QUIET, linewidths=0, zorder=3,
                         label="each draw" if place == labelled[0] else None)
    if metric in CHANCE:
        axes.axhline(CHANCE[metric], color=QUIET, linewidth=0.8, linestyle=":", label="chance")
    axes.set_xscale("log")
    axes.set_xticks(labelled, [f"{number:.3g}" for number in labelled])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("labelled patients (training and validation)")
    axes.set_ylabel(f"{metric.replace('_', ' ')} of the test series")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8)
    figure.suptitle(f"{title}: {estimates[0].n} test series", x=0.01, ha="left", fontsize=11)
    figure.savefig(path)
