"""Is a volume whole? What headers tell beside the positions: counts, instance numbers, other volumes of the series."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from seriatim.io.dicom.plane import Plane, Trait
from seriatim.series.findings import Code, Finding, find
from seriatim.series.series import Series

GAP_PART = 0.7
"""A step over n instance numbers is a gap where it is at least 1 + (n - 1) times this part of the step beside it."""
SAME_PLACE_PART = 0.1
SPACING_TOLERANCE = 0.02
MAX_MISSING_PART = 1.0
"""Numbers that start later than this part of the slices' count start so for another reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Family:
    """What the planes of a whole series say together."""

    planes: Mapping[tuple[Path, int | None], Plane]
    numbers: frozenset[int]
    acquisitions: Mapping[Trait, int]

    @classmethod
    def of(cls, planes: Sequence[Plane]) -> _Family:
        return cls(planes={(plane.path, plane.frame): plane for plane in planes},
                   numbers=frozenset(plane.number for plane in planes),
                   acquisitions=Counter(plane.traits.get("AcquisitionNumber", "") for plane in planes))


def tell_coverage(volumes: Sequence[Series], planes: Sequence[Plane]) -> list[Series]:
    """The volumes of a series, with GAP or SHORT_COVERAGE where headers promise more slices than there are.

    ``planes`` are all planes of the series.
    """
    family = _Family.of(planes)
    largest: dict[Hashable, NDArray[np.float64]] = {}
    for one in volumes:
        if one.affine is not None and len(one.instances) > len(largest.get(_grid_of(one), ())):
            largest[_grid_of(one)] = one.positions
    return [one if one.affine is None else _tell(one, family, largest[_grid_of(one)]) for one in volumes]


def _grid_of(series: Series) -> Hashable:
    """Equal for volumes whose slices have the same size and directions."""
    assert series.affine is not None
    return series.rows, series.columns, *np.round(series.affine[:3, :2], 2).ravel().tolist()


def _tell(series: Series, family: _Family, largest: NDArray[np.float64]) -> Series:
    count = len(series.instances)
    if count < 2 or any(finding.code == Code.GAP for finding in series.findings):
        return series
    planes = [family.planes[instance.path, instance.frame] for instance in series.instances]
    told = _check_headers(planes, series.positions, family)
    if count < len(largest) and _contains(largest, series.positions):
        message = (f"There are {count} slices; another volume of the same series and grid has {len(largest)}. Some may "
                   "be missing.")
        told.append(find(Code.SHORT_COVERAGE, message, slices=count, expected=len(largest)))
    return replace(series, findings=(*series.findings, *told)) if told else series


def _check_headers(planes: Sequence[Plane], positions: NDArray[np.float64], family: _Family) -> list[Finding]:
    """What instance numbers and counts say about slices in order."""
    numbers = _ordered_numbers(planes)
    if numbers is not None and (gap := _gap_by_numbers(numbers, positions, family.numbers)):
        return [gap]
    told = [_count_promised(planes, family)]
    if numbers is not None:
        told += [_late_start(numbers, family.numbers), _skipped_numbers(planes, numbers, positions, family.numbers)]
    return [finding for finding in told if finding is not None]


def _contains(all_positions: NDArray[np.float64], positions: NDArray[np.float64]) -> bool:
    nearest = np.clip(np.searchsorted(all_positions, positions), 1, len(all_positions) - 1)
    distance = np.minimum(np.abs(all_positions[nearest] - positions), np.abs(all_positions[nearest - 1] - positions))
    return bool((distance <= SAME_PLACE_PART * np.diff(all_positions).min()).all())


def _ordered_numbers(planes: Sequence[Plane]) -> NDArray[np.int64] | None:
    """The instance numbers where they rise or fall along the stack, turned to rise; None where they say nothing."""
    numbers = np.array([plane.number for plane in planes])
    if any(plane.frame is not None for plane in planes):
        return None
    steps = np.diff(numbers)
    if (steps > 0).all() or (steps < 0).all():
        return numbers
    return None


def _gap_by_numbers(numbers: NDArray[np.int64], positions: NDArray[np.float64],
                    taken: frozenset[int]) -> Finding | None:
    """A step that is larger than those beside it by as much as instance numbers are skipped there."""
    jumps, steps = np.abs(np.diff(numbers)), np.diff(positions)
    least = jumps.min()
    for index in np.flatnonzero(jumps >= 2 * least):
        beside = [steps[place] for place in (index - 1, index + 1) if 0 <= place < len(steps) and jumps[place] == least]
        expected = float(min(beside, default=np.inf))
        if steps[index] < (1 + GAP_PART * (jumps[index] / least - 1)) * expected:
            continue
        low, high = sorted((int(numbers[index]), int(numbers[index + 1])))
        missing = _count_missing(range(low + int(least), high, int(least)), taken)
        if missing:
            message = (f"Slices {index + 1}-{index + 2} are {steps[index]:.4g} mm apart, expected {expected:.4g} mm, "
                       f"and {missing} instance numbers are skipped there. Export the series again, or keep it: "
                       "--on GAP=keep.")
            return find(Code.GAP, message, gaps=1, slice=int(index) + 1, step_mm=float(steps[index]),
                        expected_mm=expected)
    return None


def _count_missing(between: range, taken: frozenset[int]) -> int:
    """How many of these numbers no image has; a header may name any number, so the fewer of the two are looked at."""
    if len(between) <= len(taken):
        return sum(number not in taken for number in between)
    return len(between) - sum(number in between for number in taken)


def _skipped_numbers(planes: Sequence[Plane], numbers: NDArray[np.int64], positions: NDArray[np.float64],
                     taken: frozenset[int]) -> Finding | None:
    """Every second (third ...) slice missing leaves even steps; the numbers, and perhaps the spacing told, show it."""
    jump = int(np.abs(np.diff(numbers)).min())
    if len(numbers) < 3 or jump < 2 or (np.abs(np.diff(numbers)) != jump).any():
        return None
    low, high = sorted((int(numbers[0]), int(numbers[-1])))
    if any(low < number < high and (number - low) % jump for number in taken):
        return None
    step, told = float(np.median(np.diff(positions))), _number(planes[0], "SpacingBetweenSlices")
    if told and abs(step - jump * abs(told)) <= SPACING_TOLERANCE * step:
        message = (f"Slices are {step:.4g} mm apart, SpacingBetweenSlices is {abs(told):.4g} mm, and only each "
                   f"{jump}. instance number is there. Export the series again, or keep it: --on GAP=keep.")
        return find(Code.GAP, message, gaps=len(numbers) - 1, step_mm=step, expected_mm=abs(told))
    message = f"Only each {jump}. instance number is there: slices between them may be missing, or in another series."
    return find(Code.SHORT_COVERAGE, message, slices=len(numbers), expected=high - low + 1)


def _count_promised(planes: Sequence[Plane], family: _Family) -> Finding | None:
    """ImagesInAcquisition counts the images of an acquisition, NumberOfSlices those of one volume of a PET series."""
    first = planes[0]
    same = family.acquisitions[first.traits.get("AcquisitionNumber", "")]
    for keyword, found in (("NumberOfSlices", len(planes)), ("ImagesInAcquisition", same)):
        promised = _number(first, keyword)
        if promised and found < promised and first.frame is None:
            message = f"There are {found} slices, but {keyword} is {promised:g}. Some may be missing at an end."
            return find(Code.SHORT_COVERAGE, message, slices=found, expected=promised)
    return None


def _late_start(numbers: NDArray[np.int64], taken: frozenset[int]) -> Finding | None:
    start = int(numbers.min())
    missing = start - 1
    if missing < 1 or min(taken) < start or missing > MAX_MISSING_PART * len(numbers):
        return None
    message = (f"InstanceNumber starts at {start}: {missing} slices may be missing at an end, or other images that are "
               "not here (a localizer) share the numbering.")
    return find(Code.SHORT_COVERAGE, message, slices=len(numbers), expected=len(numbers) + missing)


def _number(plane: Plane, trait: str) -> float | None:
    value = plane.traits.get(trait)
    return float(value) if isinstance(value, int | float) else None


def name_like(path: Path) -> tuple[Path, str]:
    """What the names of the slices of a series share: their folder and their ending."""
    return path.parent, path.suffix.lower()


def note_broken(series: Series, broken: Mapping[tuple[Path, str], int]) -> Series:
    """The series with SHORT_COVERAGE where damaged files lie beside its slices, named like them.

    ``broken`` counts them by ``name_like``: a damaged file does not say which series it was of.
    """
    if series.axis != "space" or len({instance.path for instance in series.instances}) < 2:
        return series
    beside = sum(broken.get(name, 0) for name in {name_like(instance.path) for instance in series.instances})
    if not beside:
        return series
    message = f"{beside} damaged or empty files lie beside these slices: one may be missing. Copy the folder again."
    return replace(series, findings=(*series.findings, find(Code.SHORT_COVERAGE, message, files=beside)))
