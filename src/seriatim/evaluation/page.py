"""The evaluation as one HTML page without a network: figures, metrics, classes, subgroups, and what was left out."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment

from seriatim import __version__
from seriatim.evaluation.events import OVERLAP
from seriatim.evaluation.frames import FrameMeasures
from seriatim.evaluation.intervals import RESAMPLES, Estimate
from seriatim.evaluation.known_patients import KNOWN_PATIENTS
from seriatim.evaluation.measures import NO_PROBABILITY, Measures

if TYPE_CHECKING:
    from seriatim.evaluation.report import Evaluation

WORDS = {
    "auc": "AUC",
    "auc_macro": "AUC, mean of classes",
    "auc_mean_of_files": "AUC, mean of the tables",
    "average_precision": "Average precision",
    "average_precision_macro": "Average precision, mean of classes",
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced accuracy",
    "balanced_accuracy_macro": "Balanced accuracy, mean of classes",
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    "ppv": "PPV",
    "npv": "NPV",
    "f1": "F1",
    "f1_macro": "F1, mean of classes",
    "brier": "Brier score",
    "log_loss": "Log loss",
    "calibration_error": "Calibration error",
    "calibration_slope": "Calibration slope",
    "calibration_intercept": "Calibration intercept",
    "set_coverage": "Coverage of prediction sets",
    "set_size": "Answers in a prediction set",
    "frame_auc": "AUC of frames",
    "frame_average_precision": "Average precision of frames",
    "frame_sensitivity": "Abnormal frames found",
    "frame_false_alarm_rate": "Normal frames called abnormal",
    "event_precision": "Found events that are true",
    "event_recall": "True events found",
    "event_delay_frames": "Frames to detection, median",
    "event_delay_s": "Seconds to detection, median",
    "false_alarms_per_minute": "False alarms per minute",
    "mae": "Mean absolute error",
    "bias": "Mean error",
    "rmse": "Root mean squared error",
    "r2": "R²",
    "pearson": "Correlation",
}
NAMES = {"delong": "DeLong", "wilson": "Wilson", "wald": "Wald", "newcombe": "Newcombe"}
"""Whose methods begin so."""
OF_NUMBERS = ("mae", "bias", "r2")
OF_A_CLASS = ("auc", "average_precision", "sensitivity", "specificity", "ppv", "npv", "f1", "brier", *OF_NUMBERS)
OF_A_GROUP = ("auc", "auc_macro", "sensitivity", "specificity", "accuracy", "balanced_accuracy", "brier", *OF_NUMBERS)


def write_page(evaluation: Evaluation, content: Mapping[str, Any], figures: Sequence[Path], *, path: Path) -> None:
    """Write the page of an evaluation and what ``describe`` made of it.

    Everything from tables is escaped, the figures are inside.
    """
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(files("seriatim.evaluation").joinpath("page.html").read_text(encoding="utf-8"))
    path.write_text(template.render(_describe(evaluation, content, figures)), encoding="utf-8")


def _describe(evaluation: Evaluation, content: Mapping[str, Any], figures: Sequence[Path]) -> dict[str, Any]:
    labels, measures = evaluation.question.labels, evaluation.all_measures
    per_class = _split_classes(evaluation)
    apart = {name for own in per_class.values() for name in own.values()}
    key = next((name for name in ("auc", "auc_macro", "mae") if name in measures), "")
    return {
        "title": f"Evaluation of {', '.join(labels) if len(labels) < 4 else f'{len(labels)} labels'}",
        "subtitle": _count(evaluation),
        "headline": f"{WORDS[key]} {tell(measures[key])}" if key else "",
        "decisions": _tell_decisions(content),
        "notes": _warn(evaluation),
        "figures": [(one.stem, base64.b64encode(one.read_bytes()).decode("ascii")) for one in figures],
        "metrics": [_row(name, one) for name, one in measures.items() if name not in apart],
        "classes": _tabulate({label: {base: measures[name] for base, name in own.items()}
                              for label, own in per_class.items()}, OF_A_CLASS),
        "confusion": (evaluation.question.classes, content["confusion"]["counts"]) if "confusion" in content else None,
        "by_label": _list_decisions(content),
        "subgroups": [(column, _tabulate(groups, OF_A_GROUP)) for column, groups in evaluation.subgroups.items()],
        "not_evaluated": list(evaluation.missing_counts.items()),
        "made": f"seriatim {__version__}. Intervals are 95 %: Wilson's for shares, DeLong's for AUCs, else {RESAMPLES} "
                "resamples of whole patients. Where patients have several series, all of them count patients. "
                "PPV and NPV hold for this share of positive series only. Research use only; not a medical device.",
    }


def tell(estimate: Estimate) -> str:
    """A value with its interval in a few words."""
    if estimate.value is None:
        return f"not defined ({estimate.reason})"
    return f"{_number(estimate.value)} ({_interval(estimate, before='95 % interval ')})"


def _count(evaluation: Evaluation) -> str:
    samples, tables = evaluation.samples, len(evaluation.scores)
    count, clusters = len(samples.labels), samples.clusters.count
    whose = {"patient": f" of {clusters} patients", "study": f" of {clusters} studies"}.get(samples.clustered_by, "")
    positive = ""
    if evaluation.question.target == "binary":
        positive = f", {int(samples.labels.sum())} positive"
    if evaluation.question.target == "multiclass":
        known = zip(evaluation.question.classes, samples.labels.sum(axis=0), strict=True)
        positive = f": {', '.join(f'{int(count)} {name}' for name, count in known)}"
    return f"{count} series{whose}{positive}; scores from {tables} {'table' if tables == 1 else 'tables'}"


def _tell_decisions(content: Mapping[str, Any]) -> str:
    """At which threshold was decided, and for one label what came of it."""
    thresholds, counts = content["thresholds"], content.get("decisions", {})
    if thresholds is None or len(counts) != 1:
        return ""
    name, own = next(iter(counts.items()))
    told = _tell_threshold(thresholds, name)
    chosen = "given by the user" if "given" in thresholds else "chosen on validation"
    positive, negative = (own[f"true_{a}"] + own[f"false_{b}"] for a, b in (("positive", "negative"),
                                                                          ("negative", "positive")))
    return (f"Decided at {told} ({chosen}): {own['true_positive']} of {positive} positive series found, "
            f"{own['false_positive']} of {negative} negative ones called positive.")


def _list_decisions(content: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Of several labels, the threshold of each and what came of it."""
    thresholds, counts = content["thresholds"], content.get("decisions", {})
    if thresholds is None or len(counts) < 2:
        return []
    kinds = ("true_positive", "false_negative", "false_positive", "true_negative")
    return [(name, _tell_threshold(thresholds, name), *(str(own[kind]) for kind in kinds))
            for name, own in counts.items()]


def _tell_threshold(thresholds: Any, name: str) -> str:
    """The threshold of a class; of several tables each that is another."""
    values = [thresholds["given"]] if "given" in thresholds else [one[name] for one in thresholds]
    return ", ".join(f"{value:.3f}" for value in dict.fromkeys(values))


def _warn(evaluation: Evaluation) -> list[str]:
    joined, notes = evaluation.joined, []
    if evaluation.question.anomaly:
        notes.append(f"{NO_PROBABILITY} Brier score, log loss, calibration and decision curve are left out.")
    if isinstance(evaluation.slices, FrameMeasures):
        notes.append(_tell_truth(evaluation.slices))
    if joined.left_out:
        notes.append(f"{joined.left_out} series were left out because the model was trained or tuned on them.")
    if joined.trained_on:
        notes.append(f"{joined.trained_on} series were counted although the model was trained or tuned on them: "
                     "too good for new series.")
    if evaluation.of_known_patients:
        notes.append(f"{evaluation.of_known_patients} series {KNOWN_PATIENTS}.")
    return notes


def _tell_truth(found: FrameMeasures) -> str:
    """What the figures of frames and events rest on."""
    counts = found.series["frames"]
    none = " None has times: nothing is per minute."
    timed = f" {counts['with_times']} have times." if counts["with_times"] else none
    return (f"Of {counts['sequences']} sequences {counts['with_truth_of_frames']} have labelled frames; all frames of "
            f"others labelled normal are taken as normal. Events are counted in the "
            f"{counts['with_truth_of_every_frame']} whose every frame is known, and a found one meets a true one from "
            f"an overlap of {OVERLAP:g} on.{timed}")


def _split_classes(evaluation: Evaluation) -> dict[str, dict[str, str]]:
    """By class, by metric: the name under which the figures of that class stand; nothing where there is one class."""
    classes = evaluation.question.classes
    if len(classes) < 2:
        return {}
    return {label: {base: f"{base}_{label}" for base in WORDS if f"{base}_{label}" in evaluation.measures}
            for label in classes}


def _row(name: str, one: Estimate) -> dict[str, str]:
    value = "-" if one.value is None else _number(one.value)
    method = one.method or one.reason
    method = f"{NAMES.get(first := method.split(',')[0].split(' ')[0], first)}{method[len(first):]}"
    return {"name": _spell(name), "value": value, "interval": _interval(one), "n": str(one.n), "method": method}


def _spell(name: str) -> str:
    """A metric in words; what has none, as it stands in the table."""
    base, _, part = name.partition("frame_auc_")
    return f"{WORDS['frame_auc']}, {part.replace('_', ' ')}" if part and not base else (
        WORDS.get(name, name.replace("_", " ")))


def _interval(one: Estimate, *, before: str = "") -> str:
    if one.low is None or one.high is None:
        return "no interval"
    return f"{before}{_number(one.low)} to {_number(one.high)}"


def _number(value: float, digits: int = 3) -> str:
    return f"{value:.{digits}f}".replace("-", "−")


def _tabulate(rows: Mapping[str, Measures], wanted: Sequence[str]) -> dict[str, Any]:
    """One line per class or group, one column per metric that any of them has."""
    names = [name for name in wanted if any(name in measures for measures in rows.values())]
    lines = [
        {"name": row, "n": max((one.n for one in measures.values()), default=0),
         "positive": measures["sensitivity"].n if "sensitivity" in measures else "",
         "cells": [_cell(measures.get(name)) for name in names]}
        for row, measures in rows.items()
    ]
    return {"names": [_spell(name) for name in names], "rows": lines, "positive": "sensitivity" in names}


def _cell(one: Estimate | None) -> tuple[str, str]:
    """The value, and its interval for the line below."""
    if one is None or one.value is None:
        return "-", ""
    if one.low is None or one.high is None:
        return _number(one.value), "no interval"
    return _number(one.value), f"{_number(one.low, 2)} to {_number(one.high, 2)}"
