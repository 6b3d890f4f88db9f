"""Learning curves as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

SCORES = ("val_auc", "val_balanced_accuracy", "val_average_precision", "val_mae")
TRAIN, VALIDATION, QUIET = "#3b5b92", "#c8553d", "#8a8a8a"


def draw_curves(lines: Sequence[Mapping[str, Any]], path: Path, *, title: str, best_epoch: int) -> None:
    """Loss (training and validation) beside the validation metrics, over epochs; the kept epoch is marked."""
    figure = Figure(figsize=(9, 3.6), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    loss, score = figure.subplots(1, 2)
    epochs = [line["epoch"] for line in lines]
    for key, label, colour in (("volume_loss", "training", TRAIN), ("val_log_loss", "validation", VALIDATION)):
        _plot(loss, epochs, lines, key=key, label=label, colour=colour)
    names = [key for key in SCORES if any(key in line for line in lines)]
    for key, colour in zip(names, (VALIDATION, "#4d9078", "#b497d6", QUIET), strict=False):
        _plot(score, epochs, lines, key=key, label=key.removeprefix("val_").replace("_", " "), colour=colour)
    for axes, label in ((loss, "loss"), (score, "validation score")):
        axes.axvline(best_epoch, color=QUIET, linewidth=0.8, linestyle=":")
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_title(label, loc="left", fontsize=10)
        axes.spines[["top", "right"]].set_visible(False)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(frameon=False, fontsize=8)
    figure.suptitle(f"{title}: weights kept from epoch {best_epoch}", x=0.01, ha="left", fontsize=11)
    figure.savefig(path)


def _plot(
    axes: Any, epochs: Sequence[int], lines: Sequence[Mapping[str, Any]], *, key: str, label: str, colour: str
) -> None:
    known = [(epoch, line[key]) for epoch, line in zip(epochs, lines, strict=True) if key in line]
    if known:
        axes.plot(*zip(*known, strict=True), label=label, color=colour, marker="o", markersize=2.5, linewidth=1.4)
