"""Repeats that only instance numbers tell apart, and stacks that lie between one another's slices.

A number only says to which repeat or stack a plane belongs; where it lies in its volume, its position says.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seriatim.io.dicom.plane import Plane
from seriatim.series.spacing import find_gaps, is_even

Group = tuple[str, list[Plane]]
MIN_SLICES = 3


def split_runs(planes: Sequence[Plane], places: Sequence[int]) -> list[Group] | None:
    """Split by consistent runs of instance numbers: volume after volume, or position after position.

    ``places`` are the numbers of the positions of the planes, in ascending order of position.
    """
    if len({(plane.number, plane.frame) for plane in planes}) < len(planes):
        return None
    return _split_whole(planes, places) or _split_with_holes(planes, places)


def _split_whole(planes: Sequence[Plane], places: Sequence[int]) -> list[Group] | None:
    """Every position as often as every other."""
    order = sorted(range(len(planes)), key=lambda index: (planes[index].number, planes[index].frame or 0))
    size, count = len(set(places)), len(planes)
    if count % size or size == 1:
        return None
    repeats = count // size
    by_volume = [order[start : start + size] for start in range(0, count, size)]
    by_place = [order[start::repeats] for start in range(repeats)]
    for candidate in (by_volume, by_place):
        if all(len({places[index] for index in part}) == size for part in candidate):
            return [(f"t {number + 1}", [planes[index] for index in part]) for number, part in enumerate(candidate)]
    return None


def _split_with_holes(planes: Sequence[Plane], places: Sequence[int]) -> list[Group] | None:
    """Volumes of which some lack slices: a scan that was stopped, a file that was lost.

    Only where numbers and positions leave no doubt: they count through the positions in steady order, and each
    position has one remainder (volume after volume) or one quotient (position after position) of its numbers.
    """
    if any(plane.frame is not None for plane in planes):
        return None
    numbers = np.array([plane.number for plane in planes])
    numbers, at = numbers - numbers.min(), np.asarray(places)
    size, repeats = int(at.max()) + 1, int(np.bincount(at).max())
    if size < MIN_SLICES or repeats < 2:
        return None
    for place_of, volume_of in ((numbers % size, numbers // size), (numbers // repeats, numbers % repeats)):
        if _run_together(place_of, at):
            return name_parts(planes, volume_of)
    return None


def name_parts(planes: Sequence[Plane], parts: Sequence[int] | NDArray[np.int_]) -> list[Group]:
    """The planes of each part, which are named in the order of their numbers."""
    return [(f"t {index + 1}", [planes[place] for place in places]) for index, places in enumerate(_places_of(parts))]


def _places_of(parts: Sequence[int] | NDArray[np.int_]) -> list[NDArray[np.intp]]:
    """The places of each part in ascending order, the part with the smallest number first."""
    numbers = np.asarray(parts)
    order = np.argsort(numbers, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(numbers[order])) + 1)


def _run_together(numbers: NDArray[np.int_], places: NDArray[np.int_]) -> bool:
    """True where each number is one place, and the places rise or fall with the numbers all the way."""
    pairs = sorted(set(zip(numbers.tolist(), places.tolist(), strict=True)))
    steps = np.diff(pairs, axis=0)
    return bool(len(pairs) == len(set(places.tolist())) and (steps[:, 0] > 0).all()
                and ((steps[:, 1] > 0).all() or (steps[:, 1] < 0).all()))


def find_stretches(planes: Sequence[Plane], positions: NDArray[np.float64]) -> list[int]:
    """The number of the stretch each plane is in: where positions turn while instance numbers rise, one ends."""
    numbers = [plane.number for plane in planes]
    if len(set(numbers)) < len(numbers):
        return [0] * len(planes)
    order = np.argsort(numbers)
    steps = np.diff(positions[order])
    way = np.sign(np.median(np.sign(steps)))
    stretches = np.empty(len(planes), dtype=int)
    stretches[order] = np.concatenate([[0], np.sign(steps) != way]).cumsum()
    return [int(stretch) for stretch in stretches]


def lie_between(planes: Sequence[Plane], positions: NDArray[np.float64], parts: Sequence[int]) -> bool:
    """True where evenly spaced stacks, numbered one after the other, lie between one another's slices.

    Not where they are one even stack together or one with a hole, as the passes of an interleaved acquisition are.
    """
    chosen = _places_of(parts)
    members = [np.sort(positions[part]) for part in chosen]
    together = np.sort(positions)
    if len(members) < 2 or min(map(len, members)) < MIN_SLICES or is_even(together) or find_gaps(together):
        return False
    numbers = np.array([plane.number for plane in planes])
    apart = len(set(numbers.tolist())) == len(planes) and not _overlap([np.sort(numbers[part]) for part in chosen])
    return apart and all(is_even(part) for part in members) and _overlap(members)


def make_one_grid(positions: NDArray[np.float64], parts: Sequence[int]) -> bool:
    """True where parts fill one another's holes: together one even stack, apart none that lies free of the others."""
    members = [np.unique(positions[places]) for places in _places_of(parts)]
    together = np.sort(np.concatenate(members))
    if len(members) < 2 or (np.diff(together) <= 0).any():
        return False
    return is_even(together) and _overlap(members)


def _overlap(members: Sequence[NDArray[Any]]) -> bool:
    """True where one part begins before another has ended."""
    ordered = sorted(members, key=lambda part: float(part[0]))
    return any(after[0] < before[-1] for before, after in itertools.pairwise(ordered))
