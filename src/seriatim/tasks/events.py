"""From a score per frame to events: stretches of frames that are abnormal, with hysteresis and a least duration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """An abnormal stretch: ``start`` and ``peak`` are frame indices, ``stop`` the index after its last frame.

    ``peak_score`` is the highest score of its frames. Times are the caller's: frame i of a clip is at its position.
    """

    start: int
    stop: int
    peak: int
    peak_score: float


def find_events(
    scores: NDArray[np.float64], *, threshold: float, release: float, least_frames: int = 1, most_gap: int = 0
) -> list[Event]:
    """The events of one sequence, in order.

    An event begins where a score (S,) reaches ``threshold`` and goes on while it stays at or above ``release`` (at most
    the threshold), forwards and backwards: the double threshold of Canny (1986), in time. Events that are at most
    ``most_gap`` frames apart are one; what then has fewer than ``least_frames`` frames is dropped.

    Raises:
        ValueError: ``release`` is above ``threshold``, or a score is not a number.
    """
    if release > threshold:
        raise ValueError(f"release ({release}) must not be above threshold ({threshold})")
    if not np.isfinite(scores).all():
        raise ValueError("a score that is not a number has no place in an event")
    held = [(start, stop) for start, stop in runs_of(scores >= release) if scores[start:stop].max() >= threshold]
    events = []
    for start, stop in _join(held, most_gap):
        if stop - start >= least_frames:
            peak = start + int(scores[start:stop].argmax())
            events.append(Event(start=start, stop=stop, peak=peak, peak_score=float(scores[peak])))
    return events


def runs_of(flags: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """The stretches of True in (S,) as (start, stop), stop exclusive."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
    return [(int(start), int(stop)) for start, stop in edges.reshape(-1, 2)]


def _join(stretches: Sequence[tuple[int, int]], most_gap: int) -> list[tuple[int, int]]:
    joined: list[tuple[int, int]] = []
    for start, stop in stretches:
        if joined and start - joined[-1][1] <= most_gap:
            joined[-1] = (joined[-1][0], stop)
        else:
            joined.append((start, stop))
    return joined
