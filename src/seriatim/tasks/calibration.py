"""Calibration: bend probabilities, by what validation says, so that of the series given 30 % about 30 % are positive.

It never reorders (isotonic may make ties), so AUCs stay and thresholds move along.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]
CalibrationKind = Literal["none", "temperature", "platt", "isotonic"]

SUREST_LOGIT = 36.0
"""float64 cannot tell the probability of a larger logit from 1."""
LEAST_SLOPE, MOST_SLOPE = 0.05, 20.0
STEPS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Bend:
    """One output's map: ``sigmoid(slope * logit(p) + offset)``, or through ``knots`` (p, calibrated) where it has them.

    Between knots it is linear, beyond them constant.
    """

    slope: float = 1.0
    offset: float = 0.0
    knots: tuple[tuple[float, float], ...] = ()

    def apply(self, probabilities: Array) -> Array:
        """(N,) probabilities -> (N,) calibrated ones."""
        if self.knots:
            given, wanted = zip(*self.knots, strict=True)
            return np.asarray(np.interp(probabilities, given, wanted))
        return sigmoid(self.slope * logit(probabilities) + self.offset)


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """A fitted calibration: a bend for each output, or one temperature for classes that exclude each other."""

    kind: CalibrationKind
    bends: tuple[Bend, ...]
    exclusive: bool

    def apply(self, probabilities: Array) -> Array:
        """(..., K) probabilities -> (..., K) calibrated ones; of exclusive classes they sum to 1."""
        if self.exclusive:
            return _soften(probabilities, self.bends[0].slope)
        columns = [bend.apply(probabilities[..., index]) for index, bend in enumerate(self.bends)]
        return np.stack(columns, axis=-1)

    def as_dict(self) -> dict[str, Any]:
        """The calibration as plain data, for ``from_dict``."""
        bends = [{"slope": one.slope, "offset": one.offset, "knots": [list(knot) for knot in one.knots]}
                 for one in self.bends]
        return {"kind": self.kind, "exclusive": self.exclusive, "bends": bends}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Calibration:
        """What ``as_dict`` wrote. Raises LookupError, TypeError or ValueError where it is something else."""
        bends = tuple(
            Bend(slope=float(one["slope"]), offset=float(one["offset"]),
                 knots=tuple((float(given), float(wanted)) for given, wanted in one["knots"]))
            for one in content["bends"]
        )
        return cls(kind=content["kind"], bends=bends, exclusive=bool(content["exclusive"]))


def fit_columns(kind: CalibrationKind, columns: Sequence[tuple[Array, Array]]) -> Calibration | None:
    """Calibrate outputs one by one from (labels of 0 and 1, probabilities), (N,) each; None for kind ``none``.

    - ``temperature``: the logit divided by one number (Guo et al. 2017);
    - ``platt``: slope and offset on the logit (Platt 1999; by Newton's method as in Lin, Lin and Weng 2007);
    - ``isotonic``: any rising map, by pooling adjacent violators (Zadrozny and Elkan 2002); needs hundreds of series.

    Labels are drawn in a little, as Platt's are, so that a perfect validation does not make a model infinitely sure;
    not for ``isotonic``, which can say 0 and 1. An output whose labels are all alike, or whose scores run against them,
    stays as it is.
    """
    if kind == "none":
        return None
    return Calibration(kind=kind, bends=tuple(_fit(kind, *column) for column in columns), exclusive=False)


def fit_classes(kind: CalibrationKind, labels: Array, probabilities: Array) -> Calibration | None:
    """One temperature for classes that exclude each other: ``labels`` (N,) class indices, ``probabilities`` (N,K)."""
    if kind == "none":
        return None
    rows = np.arange(len(labels))

    def surprise(slope: float) -> float:
        return float(-np.log(np.maximum(_soften(probabilities, slope)[rows, labels], 1e-300)).mean())

    slope = _lowest(surprise) if len(np.unique(labels)) > 1 else 1.0
    return Calibration(kind=kind, bends=(Bend(slope=slope),), exclusive=True)


def _fit(kind: CalibrationKind, labels: Array, probabilities: Array) -> Bend:
    positives, negatives = int((labels == 1).sum()), int((labels == 0).sum())
    if not positives or not negatives:
        return Bend()
    if kind == "isotonic":
        return Bend(knots=_pool(labels.astype(float), probabilities))
    wanted = np.where(labels == 1, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    logits = logit(probabilities)
    if kind == "temperature":
        return Bend(slope=_lowest(lambda slope: _cross_entropy(wanted, slope * logits)))
    slope, offset = fit_line(wanted, logits)
    return Bend(slope=slope, offset=offset) if slope > 0 else Bend()


def fit_line(wanted: Array, logits: Array) -> tuple[float, float]:
    """Slope and offset of the least cross-entropy, by Newton's method; a step that does not lower it is halved."""
    place = np.array([1.0, 0.0])
    design = np.stack([logits, np.ones_like(logits)], axis=1)
    loss = _cross_entropy(wanted, design @ place)
    for _ in range(STEPS):
        shown = sigmoid(design @ place)
        gradient = design.T @ (shown - wanted) / len(wanted)
        curvature = (design * (shown * (1 - shown))[:, None]).T @ design / len(wanted) + 1e-10 * np.eye(2)
        step = np.linalg.solve(curvature, gradient)
        while (lower := _cross_entropy(wanted, design @ (place - step))) > loss and np.abs(step).max() > 1e-12:
            step = step / 2
        place, before, loss = place - step, loss, min(lower, loss)
        if before - loss < 1e-12:
            break
    return float(place[0]), float(place[1])


def _pool(labels: Array, probabilities: Array) -> tuple[tuple[float, float], ...]:
    """The ends of the blocks of the rising step function nearest to the labels (pool adjacent violators)."""
    given, place = np.unique(probabilities, return_inverse=True)
    weights = np.bincount(place).astype(float)
    values = np.bincount(place, weights=labels) / weights
    blocks: list[list[float]] = []  # value, weight, first, last
    for index, (value, weight) in enumerate(zip(values, weights, strict=True)):
        blocks.append([value, weight, index, index])
        while len(blocks) > 1 and blocks[-2][0] >= blocks[-1][0]:
            upper, lower = blocks.pop(), blocks.pop()
            total = lower[1] + upper[1]
            blocks.append([(lower[0] * lower[1] + upper[0] * upper[1]) / total, total, lower[2], upper[3]])
    ends = [(float(given[int(edge)]), value) for value, _, first, last in blocks for edge in sorted({first, last})]
    return tuple(ends)


def _lowest(loss: Any) -> float:
    """The slope of the least loss, by golden sections on its logarithm; the loss has one minimum there."""
    low, high = np.log(LEAST_SLOPE), np.log(MOST_SLOPE)
    part = (np.sqrt(5) - 1) / 2
    for _ in range(STEPS):
        left, right = high - part * (high - low), low + part * (high - low)
        low, high = (low, right) if loss(np.exp(left)) <= loss(np.exp(right)) else (left, high)
    return float(np.exp((low + high) / 2))


def _soften(probabilities: Array, slope: float) -> Array:
    logs = slope * np.log(np.maximum(probabilities, 1e-300))
    powers = np.exp(logs - logs.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))


def _cross_entropy(wanted: Array, logits: Array) -> float:
    return float((np.logaddexp(0, logits) - wanted * logits).mean())


def logit(probabilities: Array) -> Array:
    """The log odds, at most ``SUREST_LOGIT`` from 0."""
    values = np.asarray(probabilities, dtype=np.float64)
    with np.errstate(divide="ignore"):
        return np.asarray(np.clip(np.log(values) - np.log1p(-values), -SUREST_LOGIT, SUREST_LOGIT))


def sigmoid(logits: Array) -> Array:
    """The probabilities of log odds."""
    return np.asarray(np.exp(-np.logaddexp(0, -logits)))
