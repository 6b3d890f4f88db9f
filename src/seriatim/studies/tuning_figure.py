"""A study as a picture: how the best came about, and what each setting had to do with it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator

from seriatim.experiment import RangeSettings

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

    from seriatim.studies.trial import Plan

FINISHED, STOPPED, CHOSEN, QUIET = "#3b5b92", "#b8b8b8", "#c8553d", "#8a8a8a"
COLUMNS = 3


def draw_trials(trials: Sequence[FrozenTrial], plan: Plan, path: Path, *, best: int) -> None:
    """Validation over the trials in their order with the best so far, then over each setting of the search."""
    names = list(plan.space.search)
    rows = -(-(1 + len(names)) // COLUMNS)
    figure = Figure(figsize=(3.6 * COLUMNS, 0.5 + 2.9 * rows), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(rows, COLUMNS, squeeze=False, sharey=True).ravel()
    shown = [trial for trial in trials if trial.value is not None]
    _draw_history(panels[0], shown, best=best, minimise=plan.space.experiment.task.build().monitor[1] == "min")
    for panel, name in zip(panels[1:], names, strict=False):
        values = plan.space.search[name]
        numbers = values if isinstance(values, RangeSettings) else None
        _draw_setting(panel, shown, name, best=best, numbers=numbers)
    for panel in panels[1 + len(names) :]:
        panel.set_visible(False)
    for place, panel in enumerate(panels):
        panel.spines[["top", "right"]].set_visible(False)
        if place % COLUMNS == 0:
            panel.set_ylabel(f"validation {plan.monitor.replace('_', ' ')}")
    title = f"{plan.space.experiment.name}: trial {best} is the best of {len(trials)} on validation, which is no test"
    figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    figure.savefig(path)


def _draw_history(panel: Any, trials: Sequence[FrozenTrial], *, best: int, minimise: bool) -> None:
    _scatter(panel, trials, [trial.number for trial in trials], best=best)
    done = [trial for trial in trials if trial.state.name == "COMPLETE"]
    reached = (np.minimum if minimise else np.maximum).accumulate(np.array([trial.value for trial in done], float))
    numbers = [trial.number for trial in done]
    panel.step(numbers, reached, where="post", color=FINISHED, linewidth=1, label="best so far")
    panel.set_xlabel("trial")
    panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    panel.legend(frameon=False, fontsize=7.5)


def _draw_setting(
    panel: Any, trials: Sequence[FrozenTrial], name: str, *, best: int, numbers: RangeSettings | None
) -> None:
    with_value = [trial for trial in trials if name in trial.params]
    places = [trial.params[name] for trial in with_value]
    if numbers is None:
        texts = sorted(set(places), key=_order)
        places = [texts.index(text) for text in places]
        panel.set_xticks(range(len(texts)), [_shorten(text) for text in texts], fontsize=8)
        panel.set_xlim(-0.5, len(texts) - 0.5)
    elif numbers.log:
        panel.set_xscale("log")
        ticks = np.geomspace(numbers.low, numbers.high, 3)
        panel.set_xticks(ticks, [f"{tick:.2g}" for tick in ticks])
        panel.xaxis.set_minor_locator(NullLocator())
    _scatter(panel, with_value, places, best=best)
    panel.set_xlabel(name)


def _scatter(panel: Any, trials: Sequence[FrozenTrial], places: Sequence[float], *, best: int) -> None:
    for state, colour, label in (("PRUNED", STOPPED, "stopped early"), ("COMPLETE", FINISHED, "finished")):
        chosen = [
            (place, trial.value) for place, trial in zip(places, trials, strict=True) if trial.state.name == state
        ]
        if chosen:
            panel.scatter(*zip(*chosen, strict=True), s=18, color=colour, label=label, linewidths=0)
    for place, trial in zip(places, trials, strict=True):
        if trial.number == best:
            panel.scatter([place], [trial.value], s=70, facecolors="none", edgecolors=CHOSEN, linewidths=1.5,
                          label="best", zorder=4)


def _order(text: str) -> tuple[int, float, str]:
    """Numbers by size, then all else by name."""
    value = json.loads(text)
    return (0, float(value), "") if isinstance(value, int | float) else (1, 0.0, text)


def _shorten(text: str) -> str:
    value = json.loads(text)
    plain = " ".join(str(part) for part in value.values()) if isinstance(value, dict) else str(value)
    return plain if len(plain) < 16 else f"{plain[:14]}.."
