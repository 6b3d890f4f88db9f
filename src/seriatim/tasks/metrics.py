"""How well scores agree with labels: numpy only, so that training, validation and evaluation count alike.

A label is 0 or 1 and a decision is ``score >= threshold``. A metric that the data cannot answer is nan, never a guess:
an AUC without both classes, or any metric of scores that are not numbers.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array: TypeAlias = NDArray[Any]


def roc_auc(labels: ArrayLike, scores: ArrayLike) -> float:
    """Area under the ROC curve: the chance that a positive scores above a negative, a tie counting half.

    ``labels`` (N,) of 0 and 1, ``scores`` (N,). The Mann-Whitney statistic on mid-ranks (Hanley and McNeil 1982).
    nan when only one class is there.

    Raises:
        ValueError: the shapes differ, or a label is neither 0 nor 1.
    """
    positive, values = _check(labels, scores)
    positives = int(positive.sum())
    negatives = len(positive) - positives
    if not positives or not negatives or np.isnan(values).any():
        return float("nan")
    above = mid_ranks(values)[positive].sum() - positives * (positives + 1) / 2
    return float(above / (positives * negatives))


def average_precision(labels: ArrayLike, scores: ArrayLike) -> float:
    """Area under the precision-recall curve as a sum of steps, without interpolation (Davis and Goadrich 2006).

    ``labels`` (N,) of 0 and 1, ``scores`` (N,). Chance level is the share of positives. nan where a class is missing:
    of positives alone it would be 1 whatever the scores.

    Raises:
        ValueError: the shapes differ, or a label is neither 0 nor 1.
    """
    positive, values = _check(labels, scores)
    if not positive.any() or positive.all() or np.isnan(values).any():
        return float("nan")
    _, hits, false_alarms = _count_above(positive, values)
    precision = hits / (hits + false_alarms)
    recall_steps = np.diff(hits, prepend=0) / positive.sum()
    return float((precision * recall_steps).sum())


def log_loss(labels: ArrayLike, probabilities: ArrayLike) -> float:
    """The mean negative log-likelihood of the labels, natural logarithm; nan without a label.

    ``labels`` (N,) of 0 and 1, ``probabilities`` (N,) of the label 1. A probability of exactly 0 or 1 counts as the
    nearest that float64 can tell from it, so that one sure mistake costs 36 and not infinity.

    Raises:
        ValueError: the shapes differ, or a label is neither 0 nor 1.
    """
    positive, values = _check(labels, probabilities)
    if not len(positive):
        return float("nan")
    least = np.finfo(np.float64).eps
    sure = np.clip(np.where(positive, values, 1 - values), least, 1 - least)
    return float(-np.log(sure).mean())


def class_log_loss(labels: ArrayLike, probabilities: ArrayLike) -> float:
    """The mean negative log-likelihood of the true class, as ``log_loss`` counts it; nan without a label.

    ``labels`` (N,) class indices, ``probabilities`` (N,K).
    """
    true, given = np.asarray(labels, dtype=int), np.asarray(probabilities, dtype=float)
    return log_loss(np.ones(len(true)), given[np.arange(len(true)), true])


def class_brier_score(labels: ArrayLike, probabilities: ArrayLike) -> float:
    """The mean over series of the squared distances of all K probabilities, 0 to 2 (Brier 1950); nan without a label.

    ``labels`` (N,) class indices, ``probabilities`` (N,K).
    """
    given = np.asarray(probabilities, dtype=float)
    wanted = np.eye(given.shape[1])[np.asarray(labels, dtype=int)]
    return float(((given - wanted) ** 2).sum(axis=1).mean()) if len(given) else float("nan")


def brier_score(labels: ArrayLike, probabilities: ArrayLike) -> float:
    """The mean squared distance of probability and label (Brier 1950); nan without a label.

    Raises:
        ValueError: the shapes differ, or a label is neither 0 nor 1.
    """
    positive, values = _check(labels, probabilities)
    return float(((values - positive) ** 2).mean()) if len(positive) else float("nan")


def roc_curve(labels: ArrayLike, scores: ArrayLike) -> tuple[Array, Array, Array]:
    """The ROC curve as (false positive rate, sensitivity, threshold), each (M,), one point per distinct score.

    It starts at (0, 0) with threshold inf and ends at (1, 1) with the lowest score. A rate whose class is missing is
    nan throughout.

    Raises:
        ValueError: the shapes differ, or a label is neither 0 nor 1.
    """
    positive, values = _check(labels, scores)
    thresholds, hits, false_alarms = _count_above(positive, values)
    positives = int(positive.sum())
    negatives = len(positive) - positives
    sensitivity = hits / positives if positives else np.full(len(hits), np.nan)
    false_positive_rate = false_alarms / negatives if negatives else np.full(len(hits), np.nan)
    return (
        np.concatenate([[0.0 if negatives else np.nan], false_positive_rate]),
        np.concatenate([[0.0 if positives else np.nan], sensitivity]),
        np.concatenate([[np.inf], thresholds]),
    )


def youden_threshold(labels: ArrayLike, scores: ArrayLike) -> float:
    """The threshold with the largest sensitivity + specificity - 1 (Youden 1950), for the decision ``score >= t``.

    It lies midway between two neighbouring scores, so that a last-digit difference moves no decision; of equally good
    places the widest gap wins. 0.5 when a class is missing, or when no threshold does better than chance.

    Raises:
        ValueError: the shapes differ, or a label is neither 0 nor 1.
    """
    positive, values = _check(labels, scores)
    positives = int(positive.sum())
    negatives = len(positive) - positives
    if not positives or not negatives or np.isnan(values).any():
        return 0.5
    thresholds, hits, false_alarms = _count_above(positive, values)
    # In counts, so that equally good places compare equal; the last place calls everything positive.
    gain = (hits * negatives - false_alarms * positives)[:-1]
    if not len(gain) or gain.max() <= 0:
        return 0.5
    gaps = thresholds[:-1] - thresholds[1:]
    best = int(np.argmax(np.where(gain == gain.max(), gaps, -1.0)))
    upper, lower = float(thresholds[best]), float(thresholds[best + 1])
    midway = lower + (upper - lower) / 2
    return midway if midway > lower else upper


def sensitive_threshold(labels: ArrayLike, scores: ArrayLike, *, sensitivity: float) -> float:
    """The highest threshold, for the decision ``score >= t``, that calls at least this share of positives positive.

    It lies midway between that positive's score and the next lower score of any series. 0.5 without a positive.

    Raises:
        ValueError: the shapes differ, or a label is neither 0 nor 1.
    """
    positive, values = _check(labels, scores)
    if not positive.any() or np.isnan(values).any():
        return 0.5
    needed = int(np.ceil(sensitivity * positive.sum() - 1e-9))
    upper = float(np.sort(values[positive])[::-1][max(needed, 1) - 1])
    below = values[values < upper]
    midway = (float(below.max()) + upper) / 2 if len(below) else upper
    return midway if not len(below) or midway > below.max() else upper


def f1_score(labels: ArrayLike, decisions: ArrayLike) -> float:
    """The harmonic mean of precision and sensitivity; nan where nothing is positive and nothing is called so.

    ``labels`` and ``decisions`` (N,) of 0 and 1, or bool.

    Raises:
        ValueError: the shapes differ, or a label is neither 0 nor 1.
    """
    positive, values = _check(labels, decisions)
    called = values.astype(bool)
    told = positive.sum() + called.sum()
    return float(2 * (positive & called).sum() / told) if told else float("nan")


def sensitivity_specificity(labels: ArrayLike, decisions: ArrayLike) -> tuple[float, float]:
    """Share of positives called positive, and of negatives called negative; nan where that class is missing.

    ``labels`` and ``decisions`` (N,) of 0 and 1, or bool.

    Raises:
        ValueError: the shapes differ, or a label is neither 0 nor 1.
    """
    positive, values = _check(labels, decisions)
    called = values.astype(bool)
    sensitivity = float(called[positive].mean()) if positive.any() else float("nan")
    specificity = float((~called[~positive]).mean()) if not positive.all() else float("nan")
    return sensitivity, specificity


def confusion_matrix(labels: ArrayLike, predictions: ArrayLike, *, classes: int) -> Array:
    """Counts (K,K): row is the true class, column the predicted one; both (N,) of integers in [0, ``classes``).

    Raises:
        ValueError: the shapes differ, or a class is out of range.
    """
    true, predicted = np.asarray(labels, dtype=int), np.asarray(predictions, dtype=int)
    if true.shape != predicted.shape or true.ndim != 1:
        raise ValueError(f"labels {true.shape} and predictions {predicted.shape} must be two lists of one length.")
    both = np.concatenate([true, predicted])
    if len(both) and not 0 <= both.min() <= both.max() < classes:
        raise ValueError(f"classes must lie in 0..{classes - 1}, not {both.min()}..{both.max()}.")
    counts = np.zeros((classes, classes), dtype=int)
    np.add.at(counts, (true, predicted), 1)
    return counts


def balanced_accuracy(labels: ArrayLike, predictions: ArrayLike) -> float:
    """Mean over the classes found in ``labels`` of the share predicted right; (N,) each. nan of nothing."""
    true, predicted = np.asarray(labels), np.asarray(predictions)
    shares = [float((predicted[true == one] == one).mean()) for one in np.unique(true)]
    return float(np.mean(shares)) if shares else float("nan")


def mean_absolute_error(labels: ArrayLike, values: ArrayLike) -> float:
    """Mean of |value - label|, in the unit of the label; (N,) each. nan of nothing."""
    error = np.asarray(values, dtype=float) - np.asarray(labels, dtype=float)
    return float(np.abs(error).mean()) if error.size else float("nan")


def mean_error(labels: ArrayLike, values: ArrayLike) -> float:
    """Mean of value - label, in the unit of the label: above 0 where values are too high; (N,) each. nan of nothing."""
    error = np.asarray(values, dtype=float) - np.asarray(labels, dtype=float)
    return float(error.mean()) if error.size else float("nan")


def root_mean_squared_error(labels: ArrayLike, values: ArrayLike) -> float:
    """Square root of the mean squared error, in the unit of the label; (N,) each. nan of nothing."""
    error = np.asarray(values, dtype=float) - np.asarray(labels, dtype=float)
    return float(np.sqrt((error**2).mean())) if error.size else float("nan")


def r_squared(labels: ArrayLike, values: ArrayLike) -> float:
    """Share of the labels' variance explained; below 0 when worse than their mean. nan when labels are all equal."""
    true, predicted = np.asarray(labels, dtype=float), np.asarray(values, dtype=float)
    if true.size < 2 or np.ptp(true) == 0:
        return float("nan")
    return float(1 - ((true - predicted) ** 2).sum() / ((true - true.mean()) ** 2).sum())


def pearson(labels: ArrayLike, values: ArrayLike) -> float:
    """Linear correlation of labels and values, (N,) each; nan when either is constant."""
    true, predicted = np.asarray(labels, dtype=float), np.asarray(values, dtype=float)
    if true.size < 2 or np.ptp(true) == 0 or np.ptp(predicted) == 0:
        return float("nan")
    return float(np.corrcoef(true, predicted)[0, 1])


def mid_ranks(values: ArrayLike) -> Array:
    """Ranks from 1, ties sharing the mean of the ranks they cover; (N,) -> (N,)."""
    _, place, counts = np.unique(np.asarray(values, dtype=float), return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks: Array = (last - (counts - 1) / 2)[place.reshape(-1)]
    return ranks


def _check(labels: ArrayLike, scores: ArrayLike) -> tuple[Array, Array]:
    given, values = np.asarray(labels), np.asarray(scores, dtype=float)
    if given.shape != values.shape or given.ndim != 1:
        raise ValueError(f"labels {given.shape} and scores {values.shape} must be two lists of one length.")
    positive = given == 1
    if not np.all(positive | (given == 0)):
        raise ValueError("labels must be 0 or 1; leave out the series without a label first.")
    return positive, values


def _count_above(positive: Array, values: Array) -> tuple[Array, Array, Array]:
    """Per distinct score, highest first: the score, and how many positives and negatives score it or more; (M,)."""
    order = np.argsort(-values, kind="stable")
    ranked, hits = values[order], np.cumsum(positive[order])
    last_of_tie = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True)) if len(ranked) else np.zeros(0, dtype=int)
    hits = hits[last_of_tie]
    return ranked[last_of_tie], hits, last_of_tie + 1 - hits
