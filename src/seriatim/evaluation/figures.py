"""The pictures of an evaluation: ROC curves, reliability, and for numbers the agreement of value and label."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from seriatim.evaluation.decision_curve import THRESHOLDS, net_benefit, net_benefit_of_all
from seriatim.evaluation.drawing import COLOURS, FAINT, QUIET, STYLES, open_figure, place_axes, write_title
from seriatim.evaluation.intervals import Estimate, proportion
from seriatim.evaluation.reliability import place_in_bins
from seriatim.evaluation.samples import Question, Samples
from seriatim.tasks import metrics

Array: TypeAlias = NDArray[Any]
LEGEND_LINE = 0.19
"""Inches."""


def draw_figures(question: Question, samples: Samples, measures: Mapping[str, Estimate], *, folder: Path) -> list[Path]:
    """Write roc.png, reliability.png and decision.png into ``folder``; the paths.

    For regression it is agreement.png alone, and roc.png alone for anomaly scores, which are no probabilities.
    """
    if question.target == "regression":
        return [_draw_agreement(question, samples, measures, path=folder / "agreement.png")]
    if question.anomaly:
        return [_draw_roc(question, samples, measures, path=folder / "roc.png")]
    return [
        _draw_roc(question, samples, measures, path=folder / "roc.png"),
        _draw_reliability(question, samples, measures, path=folder / "reliability.png"),
        _draw_decision(question, samples, path=folder / "decision.png"),
    ]


def _draw_roc(question: Question, samples: Samples, measures: Mapping[str, Estimate], *, path: Path) -> Path:
    room = _room_below(question)
    with open_figure(path, size=(4.9, 5.7 + room)) as figure:
        axes = place_axes(figure, 0.637, 0.513 + room, 4.067, 4.07)
        axes.plot([0, 1], [0, 1], color=FAINT, linewidth=1, zorder=1)
        for column, name in enumerate(question.classes):
            labels, scores = _column(samples, column)
            if len(np.unique(labels)) < 2:
                continue
            colour, style = _look(column)
            _draw_files(axes, samples, column, colour=colour)
            rate, sensitivity, _ = metrics.roc_curve(labels, scores)
            shown = f"{name} {_told(measures[_named('auc', name, question)], short=True)}"
            look = {"color": colour, "linestyle": style, "linewidth": 2, "clip_on": False}
            axes.plot(rate, sensitivity, label=shown, zorder=3, **look)
            rates = [measures[_named(key, name, question)] for key in ("sensitivity", "specificity")]
            _draw_operating_point(axes, *rates, colour=colour)
        axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
        axes.set(xlabel="1 − specificity (negative series called positive)", ylabel="Sensitivity")
        _finish_roc(figure, axes, question, samples, measures)
    return path


def _finish_roc(figure: Any, axes: Any, question: Question, samples: Samples, measures: Mapping[str, Estimate]) -> None:
    several = "Thin: each file of scores\n" if len(np.unique(samples.files)) > 1 else ""
    if not axes.get_legend_handles_labels()[0]:
        axes.text(0.5, 0.55, "A ROC curve needs\npositive and negative series.", ha="center", color=QUIET)
    elif len(question.classes) > 1:
        _add_legend(figure, axes, title="AUC (95 % interval), each against the rest")
    else:
        note = f"{several}Point: at the threshold, with 95 % intervals"
        axes.text(0.98, 0.03, note, ha="right", color=QUIET, fontsize=8.5)
    single = len(question.classes) == 1
    key = "auc" if single else "auc_macro"
    headline = f"{'AUC' if single else 'Mean AUC'} {_told(measures[key])}"
    write_title(figure, f"ROC of {_subject(question)}", headline, _counted(question, samples))


def _draw_files(axes: Any, samples: Samples, column: int, *, colour: str) -> None:
    """One thin curve per scores.csv, so that the spread of folds shows."""
    every = np.unique(samples.files)
    for file in every if len(every) > 1 else ():
        labels, scores = _column(samples.take(np.flatnonzero(samples.files == file)), column)
        if len(np.unique(labels)) == 2:
            rate, sensitivity, _ = metrics.roc_curve(labels, scores)
            axes.plot(rate, sensitivity, color=colour, linewidth=0.8, alpha=0.35, zorder=2, clip_on=False)


def _draw_operating_point(axes: Any, sensitivity: Estimate, specificity: Estimate, *, colour: str) -> None:
    """The decisions of the table of figures, with its intervals."""
    if sensitivity.value is None or specificity.value is None:
        return
    (below, above), (right, left) = _reach(sensitivity), _reach(specificity)
    axes.errorbar(
        1 - specificity.value,
        sensitivity.value,
        xerr=[[left], [right]],
        yerr=[[below], [above]],
        fmt="o",
        markersize=7,
        color=colour,
        markeredgecolor="white",
        markeredgewidth=1.2,
        elinewidth=1,
        zorder=5,
        clip_on=False,
    )


def _draw_reliability(question: Question, samples: Samples, measures: Mapping[str, Estimate], *, path: Path) -> Path:
    room = _room_below(question)
    with open_figure(path, size=(4.9, 6.75 + room)) as figure:
        axes = place_axes(figure, 0.637, 1.654 + room, 4.067, 4.07)
        below = place_axes(figure, 0.637, 0.54 + room, 4.067, 0.844, sharex=axes)
        axes.plot([0, 1], [0, 1], color=FAINT, linewidth=1, zorder=1)
        for column, name in enumerate(question.classes):
            labels, probabilities = _column(samples, column)
            if len(labels):
                brier = _told(measures[_named("brier", name, question)], short=True)
                _draw_bins(axes, samples, column=column, name=f"{name} {brier}")
                _draw_spread(below, labels, probabilities, column=column, single=len(question.classes) == 1)
        axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", ylabel="Share truly positive")
        axes.tick_params(labelbottom=False)
        below.set(xlabel="Probability given", yticks=[])
        below.spines["left"].set_visible(False)
        axes.text(0.98, 0.03, "Bars: 95 % intervals", ha="right", color=QUIET, fontsize=8.5)
        if len(question.classes) > 1:
            _add_legend(figure, axes, title="Brier score (95 % interval)")
            below.set_ylabel("Series")
            shown = "Probability given and share truly positive, by class"
        else:
            _name_sides(below)
            shown = f"Brier score {_told(measures['brier'])}"
        write_title(figure, f"Reliability of {_subject(question)}", shown, _counted(question, samples))
    return path


def _draw_bins(axes: Any, samples: Samples, *, column: int, name: str) -> None:
    known = samples.take(np.flatnonzero(~np.isnan(samples.labels[:, column])))
    labels, probabilities = _column(known, column)
    bins = place_in_bins(probabilities)
    given = np.array([probabilities[index].mean() for index in bins])
    shares = [proportion(labels[index] == 1, known.clusters.take(index)) for index in bins]
    share = np.array([one.value for one in shares], dtype=float)
    colour, style = _look(column)
    spread = np.array([_reach(one) for one in shares]).T
    bars = {"fmt": "none", "color": colour, "elinewidth": 1, "alpha": 0.35, "clip_on": False}
    axes.errorbar(given, share, yerr=spread, zorder=2, **bars)
    look = {"color": colour, "linestyle": style, "markeredgecolor": "white", "markersize": 6.5, "clip_on": False}
    axes.plot(given, share, marker="o", linewidth=1.6, label=name, zorder=3, **look)


def _draw_spread(axes: Any, labels: Array, probabilities: Array, *, column: int, single: bool) -> None:
    """How the probabilities lie: of one label, positives up and negatives down; of several, an outline each."""
    edges = np.linspace(0, 1, 26)
    if not single:
        counts, _ = np.histogram(probabilities, edges)
        colour, style = _look(column)
        axes.stairs(counts, edges, color=colour, linestyle=style, linewidth=1.2)
        return
    for one, sign, colour in ((1, 1, COLOURS[0]), (0, -1, QUIET)):
        counts, _ = np.histogram(probabilities[labels == one], edges)
        axes.bar(edges[:-1], sign * counts, width=0.04, align="edge", color=colour, edgecolor="white", linewidth=0.5)
    axes.axhline(0, color=QUIET, linewidth=0.6)


def _name_sides(below: Any) -> None:
    """Beside the bars, where no bar can lie under the words."""
    look = {"transform": below.transAxes, "ha": "right", "fontsize": 8.5}
    below.text(-0.015, 0.98, "positive", va="top", color=COLOURS[0], **look)
    below.text(-0.015, 0.02, "negative", va="bottom", color=QUIET, **look)


def _draw_decision(question: Question, samples: Samples, *, path: Path) -> Path:
    """Net benefit over the threshold, beside acting on everyone and on no one."""
    single = len(question.classes) == 1
    room = LEGEND_LINE if single else _room_below(question)
    with open_figure(path, size=(4.9, 5.2 + room)) as figure:
        axes = place_axes(figure, 0.735, 0.52 + room, 3.969, 3.588)
        axes.axhline(0, color=QUIET, linewidth=1, label="act on no one" if single else None)
        highest = 0.0
        for column, name in enumerate(question.classes):
            labels, probabilities = _column(samples, column)
            if not len(labels):
                continue
            colour, style = _look(column)
            axes.plot(THRESHOLDS, net_benefit_of_all(labels), color=QUIET if single else colour, linestyle=":",
                      linewidth=1.2, label="act on everyone" if single else None)
            axes.plot(THRESHOLDS, net_benefit(labels, probabilities), color=colour, linestyle=style, linewidth=2,
                      label="act on the model" if single else name)
            highest = max(highest, float(labels.mean()))
        axes.set(xlim=(0, 1), ylim=(-0.25 * highest - 0.01, 1.05 * highest + 0.01))
        axes.set(xlabel="Threshold: the probability from which one acts")
        axes.set_ylabel("Net benefit (true positives per series)")
        _add_legend(figure, axes, title="" if single else "Act on the model (dotted: on everyone), by class",
                    columns=3 if single else 1)
        caution = "Higher is better. It takes probabilities at their word: see reliability"
        write_title(figure, f"Decision curve of {_subject(question)}", caution, _counted(question, samples))
    return path


def _draw_agreement(question: Question, samples: Samples, measures: Mapping[str, Estimate], *, path: Path) -> Path:
    count = len(question.classes)
    with open_figure(path, size=(4.9 * count, 5.9)) as figure:
        for column, name in enumerate(question.classes):
            axes = figure.add_axes(((column + 0.13) / count, 0.09, 0.83 / count, 0.689))
            labels, values = _column(samples, column)
            both = np.concatenate([labels, values, np.zeros(0 if len(labels) else 2)])
            margin = 0.04 * (float(np.ptp(both)) or 1.0)
            limits = (float(both.min()) - margin, float(both.max()) + margin)
            axes.plot(limits, limits, color=FAINT, linewidth=1, zorder=1)
            axes.scatter(labels, values, s=22, color=COLOURS[0], alpha=0.6, linewidths=0, zorder=2)
            axes.set(xlim=limits, ylim=limits, aspect="equal", xlabel=f"{question.labels[column]}, label")
            axes.set_ylabel(f"{name}, model")
            mae, r2 = (measures[_named(key, name, question)] for key in ("mae", "r2"))
            axes.set_title(f"MAE {_told(mae)}\nR² {_told(r2)}", loc="left", fontsize=9, color=QUIET)
        write_title(figure, f"Agreement of {_subject(question)}", "", _counted(question, samples))
    return path


def _column(samples: Samples, column: int) -> tuple[Array, Array]:
    known = ~np.isnan(samples.labels[:, column])
    return samples.labels[known, column], samples.scores[known, column]


def _reach(estimate: Estimate) -> tuple[float, float]:
    """How far the interval goes below and above the value; 0 where there is none."""
    if estimate.value is None or estimate.low is None or estimate.high is None:
        return 0.0, 0.0
    return max(0.0, estimate.value - estimate.low), max(0.0, estimate.high - estimate.value)


def _look(column: int) -> tuple[str, str]:
    return COLOURS[column % len(COLOURS)], STYLES[column // len(COLOURS) % len(STYLES)]


def _named(metric: str, name: str, question: Question) -> str:
    return f"{metric}_{name}" if len(question.classes) > 1 else metric


def _subject(question: Question) -> str:
    return ", ".join(question.labels) if len(question.labels) < 4 else f"{len(question.labels)} labels"


def _room_below(question: Question) -> float:
    """Inches for the legend of several classes and its title: below the axes it hides no curve."""
    return LEGEND_LINE * (len(question.classes) + 1) + 0.06 if len(question.classes) > 1 else 0.0


def _add_legend(figure: Any, axes: Any, *, title: str, columns: int = 1) -> None:
    """A legend in the lower left corner of the figure, below the axes."""
    handles, names = axes.get_legend_handles_labels()
    if handles:
        corner = (axes.get_position().x0, 0.04 / figure.get_size_inches()[1])
        figure.legend(handles, names, loc="lower left", bbox_to_anchor=corner, ncols=columns, handlelength=1.6,
                      title=title or None, alignment="left", fontsize=8.5, title_fontsize=8.5, borderaxespad=0,
                      borderpad=0, labelspacing=0.35)


def _told(estimate: Estimate, *, short: bool = False) -> str:
    if estimate.value is None:
        return "not defined"
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:#.3g} (no interval)"
    if short:
        return f"{estimate.value:.3f} ({estimate.low:.3f} to {estimate.high:.3f})"
    return f"{estimate.value:#.3g} (95 % interval {estimate.low:#.3g} to {estimate.high:#.3g})"


def _counted(question: Question, samples: Samples) -> str:
    patients = f" of {samples.clusters.count} patients" if samples.clustered_by == "patient" else ""
    positives = f", {int(np.nansum(samples.labels))} positive" if question.target == "binary" else ""
    return f"{len(samples.labels)} series{patients}{positives}"
