"""The same images in two splits under other names: found by their pixels, exactly or nearly.

A patient under two IDs, a series sent twice, or one saved anew by other software passes every check of names, and makes
scores too good all the same.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from seriatim.training.traits import BITS, PLAIN_VIEWS, VIEWS, Traits

NEAR_BITS = 30
"""Slices are alike where their hashes differ in no more of 255 bits; docs/results.md says how it was chosen."""
LEAST_EQUAL = 0.5
"""Two series are the same where this share of the shorter one's slices stands pixel by pixel in the other."""
LEAST_ALIKE = 0.8
"""Two series are duplicates where this share of the shorter one's slices is like slices of the other, in order."""
PROBES = 8
"""Slices of a series, spread evenly, that are searched for first."""
BLOCK = 1 << 14
"""Hashes compared at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """A series as the search sees it: the manifest line of its row, its split, and the traits of its slices."""

    line: int
    split: str
    traits: Traits


@dataclass(frozen=True, slots=True, kw_only=True)
class Duplicate:
    """Two manifest lines that show the same images: ``share`` of the shorter's slices, ``exact`` to the last pixel."""

    lines: tuple[int, int]
    splits: tuple[str, str]
    share: float
    exact: bool


def find_duplicates(series: Sequence[Sighting]) -> list[Duplicate]:
    """Pairs of series of different splits that show the same images, the first by their lines."""
    ordered = sorted((one for one in series if len(one.traits.digests)), key=lambda one: one.line)
    found = []
    for first, second in sorted(_candidates(ordered)):
        one, other = ordered[first], ordered[second]
        equal = _share_of_equal(one.traits, other.traits)
        share = equal if equal >= LEAST_EQUAL else share_of_alike(one.traits, other.traits)
        if equal >= LEAST_EQUAL or share >= LEAST_ALIKE:
            found.append(Duplicate(lines=(one.line, other.line), splits=(one.split, other.split),
                                   share=round(share, 3), exact=equal >= LEAST_EQUAL))
    return found


def share_of_alike(one: Traits, other: Traits) -> float:
    """Of the shorter series, the share of slices that have a like slice in the other, in the same or in reversed order.

    One view is taken for the whole series: a copy is cropped the same way throughout.
    """
    short, long = sorted((one, other), key=lambda traits: len(traits.digests))
    return max(
        (max(_longest_run(alike), _longest_run(alike[:, ::-1])) / len(alike) for alike in _alike_by_view(short, long)),
        default=0.0,
    )


def _alike_by_view(short: Traits, long: Traits) -> list[NDArray[np.bool_]]:
    """(T,U) which slices are alike, for each pair of views in which any are; one of a pair is always a plain view."""
    pairs = [(mine, its) for mine in range(VIEWS) for its in range(VIEWS) if mine in PLAIN_VIEWS or its in PLAIN_VIEWS]
    mine, its = short.signs.astype(np.float32), long.signs.astype(np.float32)
    found = (_differing(mine[:, first], its[:, second]) <= NEAR_BITS for first, second in pairs)
    return [alike for alike in found if alike.any()]


def _differing(one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float32]:
    """(T,BITS) and (U,BITS) of -1 and 1 -> (T,U) how many bits differ."""
    return np.asarray((BITS - one @ other.T) / 2)


def _longest_run(alike: NDArray[np.bool_]) -> int:
    """How many rows can each have a column of their own likeness, such that the columns never go back."""
    ends: list[int] = []  # the smallest last column of a run of each length
    for row in alike:
        for column in np.flatnonzero(row)[::-1].tolist():
            place = bisect_right(ends, column)
            ends[place : place + 1] = [column]
    return len(ends)


def _share_of_equal(one: Traits, other: Traits) -> float:
    """Of the shorter series, the share of slices that stand pixel by pixel in the other."""
    mine, its = set(one.digests.tolist()), set(other.digests.tolist())
    return len(mine & its) / min(len(mine), len(its))


def _candidates(series: Sequence[Sighting]) -> set[tuple[int, int]]:
    """Pairs, by place, of different splits in which a probe of the one is like a slice of the other.

    The time grows with the product of the numbers of slices of two splits.
    """
    pairs: set[tuple[int, int]] = set()
    for split in sorted({one.split for one in series}):
        owners, plain = _plain_views([(place, one) for place, one in enumerate(series) if one.split == split])
        for place, one in enumerate(series):
            if one.split != split:
                found = _owners_like(one, owners, plain)
                pairs |= {(min(place, other), max(place, other)) for other in found}
    return pairs


def _plain_views(chosen: Sequence[tuple[int, Sighting]]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Whose, by place, each of N slices is, and (N,PLAIN_VIEWS,BITS) their plain views."""
    owners = np.repeat([place for place, _ in chosen], [len(one.traits.digests) for _, one in chosen])
    return owners, np.concatenate([one.traits.signs[:, list(PLAIN_VIEWS)] for _, one in chosen]).astype(np.float32)


def _owners_like(one: Sighting, owners: NDArray[np.int64], plain: NDArray[np.float32]) -> set[int]:
    """Whose slices a probe of this series is like."""
    count = len(one.traits.digests)
    chosen = np.unique(np.linspace(0, count - 1, min(PROBES, count)).round().astype(int))
    probes = one.traits.signs[chosen].reshape(-1, BITS).astype(np.float32)
    found: set[int] = set()
    for start in range(0, len(owners), BLOCK):
        block = plain[start : start + BLOCK].reshape(-1, BITS)
        near = (_differing(probes, block) <= NEAR_BITS).any(axis=0).reshape(-1, len(PLAIN_VIEWS)).any(axis=1)
        found |= set(np.unique(owners[start : start + BLOCK][near]).tolist())
    return found
