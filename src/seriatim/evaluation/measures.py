"""The figures of an evaluation by name: of one label, of several, of classes that exclude each other, of numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from seriatim.evaluation.intervals import Clusters, Estimate, area, bootstrap, proportion
from seriatim.evaluation.recalibration import calibration_line
from seriatim.evaluation.reliability import calibration_error
from seriatim.evaluation.samples import Question, Samples
from seriatim.tasks import metrics

Array: TypeAlias = NDArray[Any]
Measures: TypeAlias = dict[str, Estimate]

ERRORS: dict[str, Callable[[ArrayLike, ArrayLike], float]] = {
    "mae": metrics.mean_absolute_error,
    "bias": metrics.mean_error,
    "rmse": metrics.root_mean_squared_error,
    "r2": metrics.r_squared,
    "pearson": metrics.pearson,
}
OF_PROBABILITIES = ("brier", "log_loss", "calibration_error", "calibration_slope", "calibration_intercept")
NO_PROBABILITY = "An anomaly score is no probability: it says how unlike normal, not how likely."
"""Why OF_PROBABILITIES are left out for scores of anomaly models."""


def measure(question: Question, samples: Samples) -> Measures:
    """Every figure the question allows. A class name is added to a figure's name where there are several classes."""
    if question.target == "multiclass":
        return _measure_classes(question, samples)
    measures: Measures = {}
    for column, name in enumerate(question.classes):
        known = samples.take(np.flatnonzero(~np.isnan(samples.labels[:, column])))
        found = _measure_numbers(known, column) if question.target == "regression" else _measure_label(known, column)
        if question.target != "regression" and not question.anomaly:
            found |= _measure_probabilities(known, column)
        suffix = f"_{name}" if len(question.classes) > 1 else ""
        measures |= {key + suffix: value for key, value in found.items()}
    if question.target == "multilabel" and len(question.classes) > 1:
        measures |= _measure_macro(samples)
        measures["balanced_accuracy_macro"] = _macro(balanced_decisions, samples.labels, samples.decisions, samples)
    return measures


def _measure_macro(samples: Samples) -> Measures:
    """Unweighted means over the classes."""
    return {
        "auc_macro": _macro(metrics.roc_auc, samples.labels, samples.scores, samples),
        "average_precision_macro": _macro(metrics.average_precision, samples.labels, samples.scores, samples),
        "f1_macro": _macro(metrics.f1_score, samples.labels, samples.decisions, samples),
    }


def mean_of_files(question: Question, samples: Samples) -> Measures:
    """The AUC within each scores.csv, averaged over the files: folds whose models score on different scales count."""
    measures: Measures = {}
    if question.target == "regression" or len(np.unique(samples.files)) < 2:
        return measures
    for column, name in enumerate(question.classes):
        known = samples.take(np.flatnonzero(~np.isnan(samples.labels[:, column])))
        suffix = f"_{name}" if len(question.classes) > 1 else ""
        measures[f"auc_mean_of_files{suffix}"] = bootstrap(_mean_area(known, column), known.clusters)
    return measures


def _measure_label(samples: Samples, column: int) -> Measures:
    """One yes-or-no label against its score, and against the decision at the threshold."""
    labels, scores = samples.labels[:, column], samples.scores[:, column]
    decisions, clusters = samples.decisions[:, column], samples.clusters
    return {
        "auc": area(labels, scores, clusters),
        "average_precision": bootstrap(lambda i: metrics.average_precision(labels[i], scores[i]), clusters),
        "accuracy": proportion(decisions == (labels == 1), clusters),
        "balanced_accuracy": bootstrap(lambda i: balanced_decisions(labels[i], decisions[i]), clusters),
        **_rates(labels, decisions, clusters),
        "f1": bootstrap(lambda i: metrics.f1_score(labels[i], decisions[i]), clusters),
    }


def _measure_probabilities(samples: Samples, column: int) -> Measures:
    """How far the probabilities of one yes-or-no label can be taken at their word."""
    labels, scores, clusters = samples.labels[:, column], samples.scores[:, column], samples.clusters
    return {
        "brier": bootstrap(lambda i: metrics.brier_score(labels[i], scores[i]), clusters),
        "log_loss": bootstrap(lambda i: metrics.log_loss(labels[i], scores[i]), clusters),
        "calibration_error": _error_of_calibration(labels, scores),
        **calibration_line(labels, scores, clusters),
    }


def balanced_decisions(labels: Array, decisions: Array) -> float:
    """The mean of sensitivity and specificity; nan where a class is missing."""
    return float(np.mean(metrics.sensitivity_specificity(labels, decisions)))


def _error_of_calibration(labels: Array, scores: Array) -> Estimate:
    value = calibration_error(labels, scores)
    reason = "the data do not define it" if np.isnan(value) else "resampling only makes it larger, so nothing bounds it"
    return Estimate(value=None if np.isnan(value) else value, n=len(labels), reason=reason)


def _measure_classes(question: Question, samples: Samples) -> Measures:
    """Classes that exclude each other: each against the rest, and the predicted class against the true one."""
    clusters = samples.clusters
    true, predicted = samples.labels.argmax(axis=1), samples.decisions.argmax(axis=1)
    sure = samples.scores[np.arange(len(true)), predicted]
    measures: Measures = {
        **_measure_macro(samples),
        "accuracy": proportion(true == predicted, clusters),
        "balanced_accuracy": bootstrap(_balanced(true, predicted), clusters),
        "brier": bootstrap(lambda i: metrics.class_brier_score(true[i], samples.scores[i]), clusters),
        "log_loss": bootstrap(lambda i: metrics.class_log_loss(true[i], samples.scores[i]), clusters),
        "calibration_error": _error_of_calibration((true == predicted).astype(float), sure),
    }
    for column, name in enumerate(question.classes):
        found = _measure_label(samples, column) | _measure_probabilities(samples, column)
        for misleading in ("accuracy", "balanced_accuracy", "calibration_slope", "calibration_intercept"):
            del found[misleading]  # calling nothing a rare class is right often; shares of a softmax are no odds
        measures |= {f"{key}_{name}": value for key, value in found.items()}
    return measures


def _measure_numbers(samples: Samples, column: int) -> Measures:
    labels, values = samples.labels[:, column], samples.scores[:, column]
    return {name: bootstrap(_of_index(error, labels, values), samples.clusters) for name, error in ERRORS.items()}


def _rates(labels: Array, decisions: Array, clusters: Clusters) -> Measures:
    positive, negative = np.flatnonzero(labels == 1), np.flatnonzero(labels == 0)
    called, left = np.flatnonzero(decisions), np.flatnonzero(~decisions)
    rates = {
        "sensitivity": proportion(decisions[positive], clusters.take(positive)),
        "specificity": proportion(~decisions[negative], clusters.take(negative)),
        "ppv": proportion(labels[called] == 1, clusters.take(called)),
        "npv": proportion(labels[left] == 0, clusters.take(left)),
    }
    kinds = {"sensitivity": "positive", "specificity": "negative", "ppv": "called positive", "npv": "called negative"}
    return {
        name: rate if rate.n else replace(rate, reason=f"no series {kinds[name]}") for name, rate in rates.items()
    }


def _macro(metric: Callable[[Array, Array], float], labels: Array, scores: Array, samples: Samples) -> Estimate:
    """The unweighted mean over the columns of (N,K); no value where one of them has none."""

    def mean(index: Array) -> float:
        values = [_known(metric, labels[index, one], scores[index, one]) for one in range(labels.shape[1])]
        return float(np.mean(values))

    return bootstrap(mean, samples.clusters)


def _known(metric: Callable[[Array, Array], float], labels: Array, scores: Array) -> float:
    known = ~np.isnan(labels)
    return metric(labels[known], scores[known])


def _mean_area(samples: Samples, column: int) -> Callable[[Array], float]:
    labels, scores, files = samples.labels[:, column], samples.scores[:, column], samples.files
    every = np.unique(files)

    def mean(index: Array) -> float:
        inside = [index[files[index] == one] for one in every]
        return float(np.mean([metrics.roc_auc(labels[one], scores[one]) for one in inside]))

    return mean


def _balanced(true: Array, predicted: Array) -> Callable[[Array], float]:
    classes = np.unique(true)

    def mean(index: Array) -> float:
        if len(np.unique(true[index])) < len(classes):
            return float("nan")
        return metrics.balanced_accuracy(true[index], predicted[index])

    return mean


def _of_index(error: Callable[[ArrayLike, ArrayLike], float], labels: Array, values: Array) -> Callable[[Array], float]:
    return lambda index: error(labels[index], values[index])
