"""95 % intervals: Wilson for shares, DeLong for the AUC, and the bootstrap over patients for everything else.

Where patients have several series, Wilson's counts as many series as their agreement leaves, and DeLong's components
are added up by patient; tests hold them to their coverage by simulation. A number that the data cannot bound has no
interval but a reason; nothing here returns nan.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from seriatim.tasks import metrics
from seriatim.tasks.student import quantile

Array: TypeAlias = NDArray[Any]
Statistic: TypeAlias = Callable[[Array], float]

Z_95 = 1.959963984540054
RESAMPLES = 2000
FEWEST_RESAMPLES = 100
SEED = 20261120
NO_VARIANCE = 1e-18
"""What rounding leaves of components that are all alike."""


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
    """The share of true in ``hits`` (N,) bool, or shares of hits between, with Wilson's interval.

    Where patients have several series, N is divided by the design effect, the variance between patients over that of
    independent series (at least 1), and Student's t stands in for the normal distribution (Rao and Scott 1992, their
    effective sample size in Wilson's interval). At 0 or 1, where nothing varies, the patients are counted.
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
    if clusters.count < 2:
        return Estimate(value=value, n=len(hits), reason="an interval needs two patients")
    sums = np.bincount(clusters.number, weights=hits - value)
    variance = float((sums**2).sum()) * clusters.count / (clusters.count - 1) / len(hits) ** 2
    effect = max(1.0, variance * len(hits) / (value * (1 - value)))
    size, distance = len(hits) / effect, quantile(0.975, clusters.count - 1)
    low, high = wilson(value * size, size, distance=distance)
    return Estimate(value=value, low=low, high=high, method="wilson, clustered", n=len(hits))


def area(labels: Array, scores: Array, clusters: Clusters) -> Estimate:
    """The AUC with DeLong's interval on the logit scale, or Newcombe's at 0 and 1.

    Where patients have several series, components are added up by patient and Student's t stands in for the normal
    distribution.
    """
    value = metrics.roc_auc(labels, scores)
    if math.isnan(value):
        return Estimate(value=None, n=len(labels), reason="needs a positive and a negative series")
    positives, negatives = (clusters.take(np.flatnonzero(labels == one)).count for one in (1, 0))
    if value in (0.0, 1.0):
        low, high = newcombe_area(value, positives=positives, negatives=negatives)
        return Estimate(value=value, low=low, high=high, method="newcombe", n=len(labels))
    if positives < 2 or negatives < 2:
        return Estimate(value=value, n=len(labels), reason="an interval needs two patients of each class")
    above, below = structural_components(labels, scores)
    variance = component_variance(labels, above - value, below - value, clusters)
    if variance <= NO_VARIANCE:
        return Estimate(value=value, n=len(labels), reason="all series of a class score alike, so nothing varies")
    distance = quantile(0.975, clusters.count - 1) if clusters.clustered else Z_95
    low, high = logit_interval(value, variance, distance=distance)
    method = "delong, clustered, logit" if clusters.clustered else "delong, logit"
    return Estimate(value=value, low=low, high=high, method=method, n=len(labels))


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


def wilson(hits: float, count: float, *, distance: float = Z_95) -> tuple[float, float]:
    """Wilson's (1927) score interval of ``hits`` out of ``count``, without continuity correction."""
    share, square = hits / count, distance**2
    centre = (share + square / (2 * count)) / (1 + square / count)
    half = distance * math.sqrt(share * (1 - share) / count + square / (4 * count**2)) / (1 + square / count)
    return (0.0 if hits == 0 else max(0.0, centre - half), 1.0 if hits == count else min(1.0, centre + half))


def component_variance(labels: Array, above: Array, below: Array, clusters: Clusters) -> float:
    """The variance of an AUC, or of a difference of two, from structural components less their mean.

    ``above`` of the positives and ``below`` of the negatives, in the order of ``labels``. DeLong, DeLong and
    Clarke-Pearson 1988; where patients have several series, Obuchowski 1997, which adds up the components of a patient
    and counts that one patient's positives and negatives go together. Needs two patients of each class.
    """
    if not clusters.clustered:
        parts = ((one**2).sum() / (len(one) - 1) / len(one) for one in (above, below))
        return float(sum(parts))
    whose = [clusters.number[labels == one] for one in (1, 0)]
    sums = [
        np.bincount(numbers, weights=values, minlength=clusters.count) / len(values)
        for numbers, values in zip(whose, (above, below), strict=True)
    ]
    counts = [len(np.unique(numbers)) for numbers in whose]
    own = sum(count / (count - 1) * (one**2).sum() for one, count in zip(sums, counts, strict=True))
    together = 2 * clusters.count / (clusters.count - 1) * (sums[0] * sums[1]).sum()
    return max(0.0, float(own + together))


def structural_components(labels: Array, scores: Array) -> tuple[Array, Array]:
    """For each positive the share of negatives below it, for each negative the share of positives above it.

    By mid-ranks, which gives the same components in N log N (Sun and Xu 2014).
    """
    positive, negative = scores[labels == 1], scores[labels == 0]
    ranks = metrics.mid_ranks(np.concatenate([positive, negative]))
    above = (ranks[: len(positive)] - metrics.mid_ranks(positive)) / len(negative)
    below = 1 - (ranks[len(positive) :] - metrics.mid_ranks(negative)) / len(positive)
    return above, below


def logit_interval(value: float, variance: float, *, distance: float = Z_95) -> tuple[float, float]:
    """The interval on the logit scale, which keeps it inside (0, 1); for a value strictly between."""
    centre = math.log(value / (1 - value))
    half = distance * math.sqrt(variance) / (value * (1 - value))
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
