"""95 % intervals: Wilson for shares, DeLong for the AUC, and the bootstrap over patients for everything else.

A number that the data cannot bound has no interval but a reason; nothing here returns nan.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from seriatim.tasks import metrics

Array: TypeAlias = NDArray[Any]
Statistic: TypeAlias = Callable[[Array], float]

Z_95 = 1.959963984540054
RESAMPLES = 2000
FEWEST_RESAMPLES = 100
SEED = 20261120


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A value and its 95 % interval, how the interval was found, and from how many series (or slices) ``n``.

    ``value``, ``low`` and ``high`` are None where the data cannot say; ``reason`` then says why.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    method: str = ""
    n: int = 0
    reason: str = ""

    def as_dict(self) -> dict[str, Any]:
        """The estimate as plain data; ``reason`` only where there is one."""
        content = {"value": self.value, "low": self.low, "high": self.high, "method": self.method, "n": self.n}
        return {**content, "reason": self.reason} if self.reason else content


@dataclass(frozen=True, slots=True)
class Clusters:
    """Whose each of N series is: ``number`` (N,) integers from 0, equal for two series of one patient."""

    number: Array

    @property
    def count(self) -> int:
        return int(self.number.max()) + 1 if len(self.number) else 0

    @property
    def clustered(self) -> bool:
        """True where some patient has more than one series, so that the series are not independent."""
        return self.count < len(self.number)

    def take(self, index: Array) -> Clusters:
        """The clusters of a selection of the series, numbered anew."""
        return Clusters(np.unique(self.number[index], return_inverse=True)[1].reshape(-1))


def proportion(hits: Array, clusters: Clusters) -> Estimate:
    """The share of true in ``hits`` (N,) bool: Wilson's interval, or the bootstrap where patients have several series.

    At 0 or 1 no resample differs, so there the interval is Wilson's with the patients counted, not the series.
    """
    if not len(hits):
        return Estimate(value=None, reason="no series to count")
    value = float(hits.mean())
    if not clusters.clustered:
        low, high = wilson(float(hits.sum()), len(hits))
        return Estimate(value=value, low=low, high=high, method="wilson", n=len(hits))
    if value in (0.0, 1.0):
        low, high = wilson(value * clusters.count, clusters.count)
        return Estimate(value=value, low=low, high=high, method="wilson on patients", n=len(hits))
    return bootstrap(lambda index: float(hits[index].mean()), clusters)


def area(labels: Array, scores: Array, clusters: Clusters) -> Estimate:
    """The AUC: DeLong's interval, or the bootstrap where patients have several series, or Newcombe's at 0 and 1."""
    value = metrics.roc_auc(labels, scores)
    if math.isnan(value):
        return Estimate(value=None, n=len(labels), reason="needs a positive and a negative series")
    positives, negatives = (clusters.take(np.flatnonzero(labels == one)).count for one in (1, 0))
    if value in (0.0, 1.0):
        low, high = newcombe_area(value, positives=positives, negatives=negatives)
        return Estimate(value=value, low=low, high=high, method="newcombe", n=len(labels))
    if positives < 2 or negatives < 2:
        return Estimate(value=value, n=len(labels), reason="an interval needs two patients of each class")
    if clusters.clustered:
        return bootstrap(lambda index: metrics.roc_auc(labels[index], scores[index]), clusters)
    variance = delong_variance(labels, scores)
    if variance == 0:
        return Estimate(value=value, n=len(labels), reason="all series of a class score alike, so nothing varies")
    low, high = logit_interval(value, variance)
    return Estimate(value=value, low=low, high=high, method="delong, logit", n=len(labels))


def bootstrap(statistic: Statistic, clusters: Clusters) -> Estimate:
    """The percentile interval of ``statistic(index)`` over 2000 draws of whole patients with replacement, seeded.

    A draw in which the statistic has no value (one class only) is left out. Efron and Tibshirani 1993, chapter 13;
    Field and Welsh 2007 for whole clusters.
    """
    size = len(clusters.number)
    value = statistic(np.arange(size)) if size else float("nan")
    if math.isnan(value):
        return Estimate(value=None, n=size, reason="the data do not define it, for example with one class only")
    plain = Estimate(value=value, n=size)
    if clusters.count < 2:
        return replace(plain, reason="an interval needs two patients")
    drawn = _resample(statistic, clusters)
    if len(drawn) < FEWEST_RESAMPLES:
        return replace(plain, reason="too few resamples hold both classes")
    if np.ptp(drawn) == 0:
        return replace(plain, reason="every resample gives the same value, so the bootstrap cannot bound it")
    low, high = np.percentile(drawn, [2.5, 97.5])
    unit = "patients" if clusters.clustered else "series"
    return replace(plain, low=float(low), high=float(high), method=f"bootstrap over {unit}")


def wilson(hits: float, count: int) -> tuple[float, float]:
    """Wilson's (1927) score interval of ``hits`` out of ``count``, without continuity correction."""
    share, square = hits / count, Z_95**2
    centre = (share + square / (2 * count)) / (1 + square / count)
    half = Z_95 * math.sqrt(share * (1 - share) / count + square / (4 * count**2)) / (1 + square / count)
    return (0.0 if hits == 0 else max(0.0, centre - half), 1.0 if hits == count else min(1.0, centre + half))


def delong_variance(labels: Array, scores: Array) -> float:
    """The variance of the AUC (DeLong, DeLong and Clarke-Pearson 1988). Needs two of each class."""
    above, below = structural_components(labels, scores)
    return float(above.var(ddof=1) / len(above) + below.var(ddof=1) / len(below))


def structural_components(labels: Array, scores: Array) -> tuple[Array, Array]:
    """For each positive the share of negatives below it, for each negative the share of positives above it.

    By mid-ranks, which gives the same components in N log N (Sun and Xu 2014).
    """
    positive, negative = scores[labels == 1], scores[labels == 0]
    ranks = metrics.mid_ranks(np.concatenate([positive, negative]))
    above = (ranks[: len(positive)] - metrics.mid_ranks(positive)) / len(negative)
    below = 1 - (ranks[len(positive) :] - metrics.mid_ranks(negative)) / len(positive)
    return above, below


def logit_interval(value: float, variance: float) -> tuple[float, float]:
    """The interval on the logit scale, which keeps it inside (0, 1); for a value strictly between."""
    centre = math.log(value / (1 - value))
    half = Z_95 * math.sqrt(variance) / (value * (1 - value))
    return 1 / (1 + math.exp(half - centre)), 1 / (1 + math.exp(-half - centre))


def newcombe_area(value: float, *, positives: int, negatives: int) -> tuple[float, float]:
    """The interval of an AUC of exactly 0 or 1, where its estimated variance is 0 (Newcombe 2006, method 5).

    It holds every true AUC from which the observed one is at most 1.96 standard errors away, with Hanley and McNeil's
    standard error at the true AUC.
    """
    middle = (positives + negatives) / 2 - 1

    def excess(distance: float) -> float:
        """How far an AUC ``distance`` below 1 is from 1, beyond what the standard error there explains."""
        true = 1 - distance
        spread = 1 + middle * distance / (2 - true) + middle * true / (1 + true)
        return distance**2 - Z_95**2 * true * distance * spread / (positives * negatives)

    inside, outside = 0.0, 1.0
    for _ in range(60):
        half = (inside + outside) / 2
        inside, outside = (inside, half) if excess(half) > 0 else (half, outside)
    return (1 - outside, 1.0) if value == 1.0 else (0.0, outside)


def _resample(statistic: Statistic, clusters: Clusters) -> Array:
    order = np.argsort(clusters.number, kind="stable")
    members = np.split(order, np.cumsum(np.bincount(clusters.number))[:-1])
    generator = np.random.default_rng(SEED)
    draws = generator.integers(clusters.count, size=(RESAMPLES, clusters.count))
    if clusters.clustered:
        values = [statistic(np.concatenate([members[one] for one in draw])) for draw in draws]
    else:
        values = [statistic(order[draw]) for draw in draws]
    drawn = np.asarray(values)
    defined: Array = drawn[~np.isnan(drawn)]
    return defined
