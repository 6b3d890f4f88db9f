"""Are slices evenly spaced, and is one missing? Told from positions along the normal alone (docs/findings.md).

A missing slice leaves one step much larger than the regular steps beside it. A protocol with two slice distances
(2.5 mm in the posterior fossa, then 5 mm) changes its step once and keeps
the new one: that is uneven, but nothing is missing.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import compress

import numpy as np
from numpy.typing import ArrayLike, NDArray

from seriatim.series.findings import Code, Finding, find

GAP_FACTOR = 1.5
"""A step is a gap where it is at least so many times the regular step beside it."""
REGULAR_TOLERANCE = 0.1
"""Steps are alike where they differ by less than this part; slices are even where they lie this near their grid."""
ROUNDING_MM = 2e-2
"""Positions written with few digits differ by this much at a regular step."""
MIN_RUN = 3
"""So many like steps in a row are a regular run, whose step is meant."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """A hole after slice ``index`` (0-based): the step found and the step expected, mm."""

    index: int
    step_mm: float
    expected_mm: float


def find_gaps(positions: ArrayLike) -> list[Gap]:
    """The holes in strictly ascending positions (S,)."""
    steps = np.diff(np.asarray(positions, dtype=np.float64))
    if len(steps) < 2:
        return []
    runs = find_runs(steps)
    is_regular = [stop - start >= MIN_RUN for start, stop in runs]
    expected = _expect_steps(steps, list(compress(runs, is_regular)))
    gaps = []
    before = 0  # regular runs
    for (start, stop), regular in zip(runs, is_regular, strict=True):
        before += regular
        gaps += [
            Gap(index=index, step_mm=float(steps[index]), expected_mm=expected[before])
            for index in range(start, stop) if not regular and steps[index] >= GAP_FACTOR * expected[before]
        ]
    return gaps


def find_runs(steps: NDArray[np.float64]) -> list[tuple[int, int]]:
    """Half-open index ranges of consecutive steps that are alike."""
    runs, start = [], 0
    run: list[float] = []  # the steps of the run, sorted
    for index, step in enumerate(steps.tolist()):
        if run and not _alike(step, _median(run)):
            runs.append((start, index))
            start, run = index, []
        insort(run, step)
    return [*runs, (start, len(steps))] if run else runs


def _median(ordered: list[float]) -> float:
    """The median of a sorted list."""
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def is_even(positions: ArrayLike) -> bool:
    """True where every position lies within a tenth of a step of a regular grid."""
    values = np.asarray(positions, dtype=np.float64)
    if len(values) < 3:
        return True
    grid = np.linspace(values[0], values[-1], len(values))
    step = (values[-1] - values[0]) / (len(values) - 1)
    return bool(np.abs(values - grid).max() <= REGULAR_TOLERANCE * step + ROUNDING_MM / 2)


def check_spacing(positions: ArrayLike) -> list[Finding]:
    """GAP where slices are missing, UNEVEN_SPACING where the step varies without one."""
    values = np.asarray(positions, dtype=np.float64)
    gaps = find_gaps(values)
    if gaps:
        first = gaps[0]
        more = f" ({len(gaps)} gaps in all)" if len(gaps) > 1 else ""
        message = (f"Slices {first.index + 1}-{first.index + 2} are {first.step_mm:.4g} mm apart, expected "
                   f"{first.expected_mm:.4g} mm{more}. Export the series again, or keep it: --on GAP=keep.")
        return [find(Code.GAP, message, gaps=len(gaps), slice=first.index + 1, step_mm=first.step_mm,
                     expected_mm=first.expected_mm)]
    if is_even(values):
        return []
    steps = np.diff(values)
    message = (f"The distance of slices varies from {steps.min():.4g} to {steps.max():.4g} mm; positions are true, the "
               "affine holds the mean step.")
    return [find(Code.UNEVEN_SPACING, message, smallest_mm=float(steps.min()), largest_mm=float(steps.max()),
                 mean_mm=float(steps.mean()))]


def _alike(step: float, other: float) -> bool:
    smaller = min(step, other)
    return abs(step - other) <= REGULAR_TOLERANCE * smaller + min(ROUNDING_MM, 2 * REGULAR_TOLERANCE * smaller)


def _expect_steps(steps: NDArray[np.float64], regular: Sequence[tuple[int, int]]) -> list[float]:
    """The step expected after none, one, two ... of the regular runs: the larger of the steps of the run before and of
    the one after, else the lower median step.
    """
    if not regular:
        return [float(np.sort(steps)[(len(steps) - 1) // 2])]
    medians = [float(np.median(steps[start:stop])) for start, stop in regular]
    return [max(beside) for beside in zip([medians[0], *medians], [*medians, medians[-1]], strict=True)]
