"""Two models on the same series: the difference of each figure, its 95 % interval, and a test where one is standard.

What the two models share (hard patients, odd scanners) cancels in a paired difference, so it can be told apart from 0
where the two intervals of the models overlap.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from seriatim.evaluation.intervals import (
    NO_VARIANCE,
    Z_95,
    Clusters,
    Estimate,
    bootstrap,
    component_variance,
    structural_components,
)
from seriatim.evaluation.measures import OF_PROBABILITIES, balanced_decisions
from seriatim.evaluation.samples import Question, Samples
from seriatim.tasks import metrics
from seriatim.tasks.student import quantile, two_sided

Array: TypeAlias = NDArray[Any]
Metric: TypeAlias = Callable[[Array, Array], float]

OF_SCORES: dict[str, Metric] = {
    "auc": metrics.roc_auc,
    "average_precision": metrics.average_precision,
    "log_loss": metrics.log_loss,
    "brier": metrics.brier_score,
}
OF_DECISIONS: dict[str, Metric] = {"balanced_accuracy": balanced_decisions, "f1": metrics.f1_score}
OF_NUMBERS: dict[str, Metric] = {
    "mae": metrics.mean_absolute_error,
    "bias": metrics.mean_error,
    "rmse": metrics.root_mean_squared_error,
    "r2": metrics.r_squared,
    "pearson": metrics.pearson,
}
LESS_IS_BETTER = frozenset({"log_loss", "brier", "mae", "rmse"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """The second model's figure minus the first's, with its interval.

    ``p`` is that of a two-sided test of no difference, None where no test is standard; ``test`` names it.
    """

    estimate: Estimate
    p: float | None = None
    test: str = ""

    def as_dict(self) -> dict[str, Any]:
        """The difference as plain data; ``p`` and ``test`` only where there is one."""
        return self.estimate.as_dict() | ({} if self.p is None else {"p": self.p, "test": self.test})


def compare_samples(question: Question, first: Samples, second: Samples) -> dict[str, Difference]:
    """Every difference that the question allows, by the names that ``measure`` gives the figures.

    ``first`` and ``second`` hold the same series in the same order, with the same labels.

    Raises:
        ValueError: they do not.
    """
    if not np.array_equal(first.labels, second.labels, equal_nan=True):
        raise ValueError("The two models were not asked about the same series in the same order.")
    if question.target == "regression":
        return _compare_columns(question, first, second, _compare_numbers)
    differences = _compare_columns(question, first, second, _compare_label)
    if len(question.classes) > 1:
        for name in ("auc", "average_precision"):
            differences[f"{name}_macro"] = _macro(OF_SCORES[name], first, second)
    if question.target == "multiclass":
        differences |= _compare_winners(first, second)
    return differences


def _compare_columns(question: Question, first: Samples, second: Samples,
                     compare: Callable[[Samples, Samples, int], dict[str, Difference]]) -> dict[str, Difference]:
    differences: dict[str, Difference] = {}
    for column, name in enumerate(question.classes):
        known = np.flatnonzero(~np.isnan(first.labels[:, column]))
        suffix = f"_{name}" if len(question.classes) > 1 else ""
        found = compare(first.take(known), second.take(known), column)
        if question.target == "multiclass":
            for flattering in ("accuracy", "balanced_accuracy"):  # as in measures.py
                found.pop(flattering, None)
        if question.anomaly:
            found = {key: one for key, one in found.items() if key not in OF_PROBABILITIES}
        differences |= {key + suffix: value for key, value in found.items()}
    return differences


def _compare_label(first: Samples, second: Samples, column: int) -> dict[str, Difference]:
    labels, scores = first.labels[:, column], (first.scores[:, column], second.scores[:, column])
    decided = (first.decisions[:, column], second.decisions[:, column])
    differences = {name: _resampled(metric, labels, scores, first.clusters) for name, metric in OF_SCORES.items()}
    if exact := delong_difference(labels, *scores, first.clusters):
        differences["auc"] = exact
    for name, metric in OF_DECISIONS.items():
        differences[name] = _resampled(metric, labels, decided, first.clusters)
    everyone = np.arange(len(labels))
    for name, index in (("accuracy", everyone), ("sensitivity", np.flatnonzero(labels == 1)),
                        ("specificity", np.flatnonzero(labels == 0))):
        hits = (decided[0][index] == (labels[index] == 1), decided[1][index] == (labels[index] == 1))
        differences[name] = _shares(*hits, first.clusters.take(index))
    return differences


def _compare_numbers(first: Samples, second: Samples, column: int) -> dict[str, Difference]:
    labels, values = first.labels[:, column], (first.scores[:, column], second.scores[:, column])
    return {name: _resampled(metric, labels, values, first.clusters) for name, metric in OF_NUMBERS.items()}


def _compare_winners(first: Samples, second: Samples) -> dict[str, Difference]:
    true = first.labels.argmax(axis=1)
    winners = (first.decisions.argmax(axis=1), second.decisions.argmax(axis=1))
    scores, classes = (first.scores, second.scores), len(np.unique(true))

    def balanced(labels: Array, winner: Array) -> float:
        whole = len(np.unique(labels)) == classes
        return metrics.balanced_accuracy(labels, winner) if whole else math.nan

    return {"accuracy": _shares(winners[0] == true, winners[1] == true, first.clusters),
            "balanced_accuracy": _resampled(balanced, true, winners, first.clusters),
            "brier": _resampled(metrics.class_brier_score, true, scores, first.clusters),
            "log_loss": _resampled(metrics.class_log_loss, true, scores, first.clusters)}


def _macro(metric: Metric, first: Samples, second: Samples) -> Difference:
    def mean(samples: Samples, index: Array) -> float:
        values = []
        for column in range(samples.labels.shape[1]):
            labels = samples.labels[index, column]
            known = ~np.isnan(labels)
            values.append(metric(labels[known], samples.scores[index, column][known]))
        return float(np.mean(values))

    return Difference(estimate=bootstrap(lambda index: mean(second, index) - mean(first, index), first.clusters))


def _resampled(metric: Metric, labels: Array, scores: tuple[Array, Array], clusters: Clusters) -> Difference:
    """A difference and its interval over resamples of patients, both models on the same draw."""
    def difference(index: Array) -> float:
        return metric(labels[index], scores[1][index]) - metric(labels[index], scores[0][index])

    return Difference(estimate=bootstrap(difference, clusters))


def _shares(first: Array, second: Array, clusters: Clusters) -> Difference:
    """The difference of two shares of the same series; McNemar's exact test where series are independent (1947)."""
    if not len(first):
        return Difference(estimate=Estimate(value=None, reason="no series to count"))
    estimate = bootstrap(lambda index: float(second[index].mean() - first[index].mean()), clusters)
    if clusters.clustered:
        return Difference(estimate=estimate)
    won, lost = int((second & ~first).sum()), int((first & ~second).sum())
    return Difference(estimate=estimate, p=sign_test(won, lost), test="McNemar, exact")


def sign_test(won: int, lost: int) -> float:
    """The two-sided p of so many wins and losses where both are as likely: twice the binomial tail, at most 1."""
    tail = sum(math.comb(won + lost, k) for k in range(min(won, lost) + 1))
    return float(min(1.0, 2 * tail / 2 ** (won + lost)))


def delong_difference(labels: Array, first: Array, second: Array, clusters: Clusters) -> Difference | None:
    """The difference of two AUCs on the same series, with interval and p.

    From the paired structural components (DeLong, DeLong and Clarke-Pearson 1988); where patients have several series,
    these are added up by patient (Obuchowski 1997) and held against Student's t. None where they do not vary or where a
    class has fewer than two patients.
    """
    if min(clusters.take(np.flatnonzero(labels == one)).count for one in (0, 1)) < 2:
        return None
    components = [structural_components(labels, scores) for scores in (first, second)]
    above, below = (components[1][part] - components[0][part] for part in (0, 1))
    value = metrics.roc_auc(labels, second) - metrics.roc_auc(labels, first)
    variance = component_variance(labels, above - value, below - value, clusters)
    if variance <= NO_VARIANCE:
        return None
    spread, freedom = math.sqrt(variance), clusters.count - 1
    half = spread * (quantile(0.975, freedom) if clusters.clustered else Z_95)
    p = two_sided(value / spread, freedom) if clusters.clustered else math.erfc(abs(value) / spread / math.sqrt(2))
    kind = ", clustered" if clusters.clustered else ""
    estimate = Estimate(value=value, low=max(-1.0, value - half), high=min(1.0, value + half),
                        method=f"delong, paired{kind}", n=len(labels))
    return Difference(estimate=estimate, p=p, test=f"DeLong{kind}")
