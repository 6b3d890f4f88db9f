"""Conformal prediction sets: of new series like those of validation, a stated share has its true answer in the set.

Split conformal prediction (Vovk, Gammerman and Shafer 2005; Sadinle, Lei and Wasserman 2019), class by class, so that
the promise holds for the rare class too; for numbers, intervals of one width (Lei et al. 2018). It rests on series that
could be exchanged with those of validation: another scanner or hospital breaks it, and so does, a little, that
validation chose the kept epoch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]
ALL = -math.inf
"""The bound of an answer that too few series speak for: it is in every set."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Conformal:
    """``bounds`` (K,) is the least probability with which each answer is in the set; for numbers, half widths."""

    coverage: float
    bounds: tuple[float, ...]

    def choose(self, probabilities: Sequence[float] | Array) -> tuple[bool, ...]:
        """(K,) probabilities of K answers -> which of them are in the set."""
        return tuple(bool(value >= bound) for value, bound in zip(probabilities, self.bounds, strict=True))

    def as_dict(self) -> dict[str, Any]:
        """Plain data for ``from_dict``; a bound that includes everything is None, as JSON has no infinity."""
        return {"coverage": self.coverage, "bounds": [one if math.isfinite(one) else None for one in self.bounds]}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any], *, unbounded: float = ALL) -> Conformal:
        """What ``as_dict`` wrote. Raises LookupError, TypeError or ValueError where it is something else."""
        bounds = tuple(unbounded if one is None else float(one) for one in content["bounds"])
        return cls(coverage=float(content["coverage"]), bounds=bounds)


def fit_answers(coverage: float, labels: Array, probabilities: Array) -> Conformal:
    """Bounds for K answers that exclude each other: ``labels`` (N,) answer indices, ``probabilities`` (N,K)."""
    bounds = [
        least_probability(coverage, probabilities[labels == answer, answer]) for answer in range(probabilities.shape[1])
    ]
    return Conformal(coverage=coverage, bounds=tuple(bounds))


def fit_numbers(coverage: float, errors: Array) -> Conformal:
    """Half widths for K numbers from errors (N,K), nan where a label is not known; infinite where too few are."""
    widths = [-least_probability(coverage, -np.abs(column[np.isfinite(column)])) for column in errors.T]
    return Conformal(coverage=coverage, bounds=tuple(widths))


def least_probability(coverage: float, of_truth: Array) -> float:
    """The bound that the next series like these (N,) clears with at least ``coverage``; -inf where N is too small."""
    rank = math.floor((1 - coverage) * (len(of_truth) + 1) + 1e-9)
    return float(np.sort(of_truth)[rank - 1]) if rank >= 1 else ALL
