"""What is usual at each place along a sequence: healthy heads differ more at the skull base than half way up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
PLACES = 33
"""A profile is known at so many even places, and straight between them."""
WIDTH = 0.03
"""Standard deviation of the window over which normal frames tell of a place, as a share of the sequence. That of the
spread is twice as wide, since a spread needs more frames than a mean."""
ROUNDS, OUTLYING = 2, 6.0
"""Frames so many spreads away have no say in the next round."""
LEAST_SEQUENCES = 3
LEAST_SPREAD = 0.1
"""Of the spread over all places: a place where few frames happened to agree must not make every other one strange."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """The usual raw score and its spread (the mean distance to it) at even places from 0 to 1."""

    centers: tuple[float, ...]
    spreads: tuple[float, ...]

    def level(self, raw: Array, places: Array) -> Array:
        """Raw scores (S,...) of frames at ``places`` (S,) as distances to what is usual there, in spreads."""
        even = np.linspace(0, 1, len(self.centers))
        shape = (len(places), *[1] * (raw.ndim - 1))
        center, spread = (np.interp(places, even, known).reshape(shape) for known in (self.centers, self.spreads))
        return np.asarray((raw - center) / spread)


def place_frames(positions: Array) -> Array:
    """Where each frame is along its sequence, from 0 to 1, by ascending positions (S,); the middle of a single one."""
    extent = float(positions[-1] - positions[0])
    return (positions - positions[0]) / extent if extent > 0 else np.full(len(positions), 0.5)


def learn_profile(raw: Sequence[Array], places: Sequence[Array]) -> Profile:
    """The profile of normal sequences: raw scores (S,), NaN where nothing is known, and places (S,) of each.

    Straight lines through the frames around each place, and again with outlying frames down-weighted (LOWESS,
    Cleveland 1979): a mean over a window would be wrong at both ends, where the level often rises the most.

    Raises:
        ValueError: nothing is known at all.
    """
    values, where = np.concatenate(raw), np.concatenate(places)
    known = ~np.isnan(values)
    values, where = values[known], where[known]
    if not len(values):
        raise ValueError("a profile needs at least one score")
    even, trust = np.linspace(0, 1, PLACES), np.ones(len(values))
    for _ in range(ROUNDS):
        centers = _smooth(values, where, trust, width=WIDTH)
        away = np.abs(values - np.interp(where, even, centers))
        floor = max(LEAST_SPREAD * float(away.mean()), 1e-9 * max(1.0, float(np.abs(values).max())))
        spreads = np.maximum(_smooth(away, where, trust, width=2 * WIDTH), floor)
        trust = (1 - np.minimum(away / (OUTLYING * np.interp(where, even, spreads)), 1) ** 2) ** 2
    return Profile(centers=tuple(map(float, centers)), spreads=tuple(map(float, spreads)))


def level_apart(raw: Sequence[Array], places: Sequence[Array]) -> list[Array]:
    """Each sequence's raw scores against the profile of the others, as those of a new sequence will be.

    A sequence held against a profile that it is part of looks more normal than a new one.

    Raises:
        ValueError: fewer than three sequences.
    """
    if len(raw) < LEAST_SEQUENCES:
        raise ValueError(f"norms by position need at least {LEAST_SEQUENCES} normal validation series, not {len(raw)}")
    profiles = [
        learn_profile([*raw[:one], *raw[one + 1 :]], [*places[:one], *places[one + 1 :]]) for one in range(len(raw))
    ]
    return [profile.level(own, where) for profile, own, where in zip(profiles, raw, places, strict=True)]


def _smooth(values: Array, where: Array, trust: Array, *, width: float) -> Array:
    """Values (N,) at even places: of the line that fits best in a Gaussian window around each."""
    found = []
    for place in np.linspace(0, 1, PLACES):
        away = where - place
        exponent = -0.5 * (away / width) ** 2
        weights = np.exp(exponent - exponent.max()) * (trust + 1e-6)  # never all 0: the nearest frames count
        mean_away, mean = (np.average(one, weights=weights) for one in (away, values))
        spread = float(np.average((away - mean_away) ** 2, weights=weights))
        slope = float(np.average((away - mean_away) * (values - mean), weights=weights)) / max(spread, 1e-6)
        found.append(mean - slope * mean_away)
    return np.array(found)
