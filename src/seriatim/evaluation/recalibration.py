"""Calibration slope and intercept: which line on the log odds would set a model's probabilities right."""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from seriatim.evaluation.intervals import Z_95, Clusters, Estimate
from seriatim.tasks.calibration import fit_line, logit, sigmoid
from seriatim.tasks.student import quantile

Array: TypeAlias = NDArray[Any]
FURTHEST = 100.0
"""Beyond all log odds and what may be added to them."""


def calibration_line(labels: Array, probabilities: Array, clusters: Clusters) -> dict[str, Estimate]:
    """``calibration_slope`` and ``calibration_intercept`` of (N,) labels of 0 and 1 and (N,) probabilities.

    By logistic regression of the labels on the log odds (Cox 1958): a slope below 1 tells probabilities that are too
    extreme. The intercept is that at slope 1, calibration in the large: above 0 they are too low (Van Calster et al.
    2016). Wald's intervals; where patients have several series, from the sandwich variance by patient.
    """
    odds = logit(probabilities)
    names = ("calibration_slope", "calibration_intercept")
    if len(np.unique(labels)) < 2 or clusters.count < 3 or np.ptp(odds) == 0:
        reason = "needs both classes, three patients, and probabilities that differ"
        return dict.fromkeys(names, Estimate(value=None, n=len(labels), reason=reason))
    intercept, ones = _shift(labels, odds), np.ones_like(odds)
    moved = _spread(ones[:, None], labels, sigmoid(odds + intercept), clusters)
    return dict(zip(names, (_slope(labels, odds, clusters), _bound(intercept, moved, clusters)), strict=True))


def _slope(labels: Array, odds: Array, clusters: Clusters) -> Estimate:
    positive, negative = odds[labels == 1], odds[labels == 0]
    if positive.min() >= negative.max() or positive.max() <= negative.min():
        reason = "the probabilities part the classes without a fault, which the steepest line fits best"
        return Estimate(value=None, n=len(labels), reason=reason)
    slope, offset = fit_line(labels.astype(float), odds)
    design = np.stack([odds, np.ones_like(odds)], axis=1)
    return _bound(slope, _spread(design, labels, sigmoid(slope * odds + offset), clusters), clusters)


def _shift(labels: Array, odds: Array) -> float:
    """What must be added to all log odds so that as many positives are expected as there are; by halving."""
    low, high = -FURTHEST, FURTHEST
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if sigmoid(odds + middle).sum() < labels.sum() else (low, middle)
    return (low + high) / 2


def _spread(design: Array, labels: Array, line: Array, clusters: Clusters) -> float:
    """The standard error of the first coefficient, nan where nothing varies."""
    information = (design * (line * (1 - line))[:, None]).T @ design
    if np.linalg.cond(information) > 1e12:
        return math.nan
    variance = np.linalg.inv(information)
    if clusters.clustered:
        pulls = design * (labels - line)[:, None]
        sums = np.stack([np.bincount(clusters.number, weights=column) for column in pulls.T])
        variance = variance @ (sums @ sums.T) @ variance * clusters.count / (clusters.count - 1)
    return math.sqrt(max(0.0, float(variance[0, 0])))


def _bound(value: float, spread: float, clusters: Clusters) -> Estimate:
    count = len(clusters.number)
    if not spread > 0:
        return Estimate(value=value, n=count, reason="nothing varies")
    half = spread * (quantile(0.975, clusters.count - 1) if clusters.clustered else Z_95)
    method = "wald, clustered" if clusters.clustered else "wald"
    return Estimate(value=value, low=value - half, high=value + half, method=method, n=count)
