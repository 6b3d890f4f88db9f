"""How well found events meet the true ones: precision and recall at an overlap, delay, and false alarms per minute."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Span = tuple[int, int]
"""(start, stop) in frames, stop exclusive."""
OVERLAP = 0.3


@dataclass(frozen=True, slots=True, kw_only=True)
class EventCounts:
    """The counts of one sequence, or of several added up.

    ``found`` true events that a found one meets, of ``true``; ``alarms`` found events, of which ``false`` meet none;
    ``delays`` in frames from each met true event's start to the frame that raised the alarm, ``delays_s`` the same in
    seconds where times are known; ``seconds`` of all sequences whose times are known.
    """

    true: int = 0
    found: int = 0
    alarms: int = 0
    false: int = 0
    delays: tuple[int, ...] = ()
    delays_s: tuple[float, ...] = ()
    seconds: float = 0.0

    def __add__(self, other: EventCounts) -> EventCounts:
        return EventCounts(
            true=self.true + other.true, found=self.found + other.found, alarms=self.alarms + other.alarms,
            false=self.false + other.false, delays=self.delays + other.delays,
            delays_s=self.delays_s + other.delays_s, seconds=self.seconds + other.seconds,
        )

    @property
    def precision(self) -> float | None:
        """The share of found events that meet a true one; None where nothing was found."""
        return (self.alarms - self.false) / self.alarms if self.alarms else None

    @property
    def recall(self) -> float | None:
        """The share of true events that were met; None where there is none."""
        return self.found / self.true if self.true else None

    @property
    def false_per_minute(self) -> float | None:
        """False alarms per minute; None where no time is known."""
        return 60 * self.false / self.seconds if self.seconds > 0 else None

    @property
    def median_delay(self) -> float | None:
        """The median delay in frames over the events that were met."""
        return float(np.median(self.delays)) if self.delays else None

    @property
    def median_delay_s(self) -> float | None:
        """The median time to detection over the events that were met."""
        return float(np.median(self.delays_s)) if self.delays_s else None


def count_events(
    found: Sequence[Span], true: Sequence[Span], *, times_s: Sequence[float] | None = None, overlap: float = OVERLAP,
    raised: NDArray[np.bool_] | None = None,
) -> EventCounts:  # fmt: skip
    """Match the events of one sequence, each with one other at most, the largest overlaps first.

    Overlap is intersection over union in frames, and a match needs at least ``overlap``. ``times_s`` are the positions
    of the S frames, None where no times are known; a sequence lasts from the first to the last and one frame more.
    ``raised`` (S,) are the frames that reach the threshold: a found event is known of from its first such frame on,
    since hysteresis adds the frames before it only then. None: from its first frame.
    """
    pairs = sorted(
        ((measure_overlap(one, other), i, j) for i, one in enumerate(found) for j, other in enumerate(true)),
        key=lambda pair: (-pair[0], pair[1], pair[2]),
    )
    met: dict[int, int] = {}
    for share, i, j in pairs:
        if share >= overlap and i not in met and j not in met.values():
            met[i] = j
    starts = [(true[j][0], max(_find_alarm(found[i], raised), true[j][0])) for i, j in sorted(met.items())]
    times = times_s if times_s is not None else ()
    frame_s = (times[-1] - times[0]) / (len(times) - 1) if len(times) > 1 else 0.0
    return EventCounts(
        true=len(true), found=len(met), alarms=len(found), false=len(found) - len(met),
        delays=tuple(seen - began for began, seen in starts),
        delays_s=tuple(float(times[seen] - times[began]) for began, seen in starts if len(times)),
        seconds=float(frame_s * len(times)),
    )


def _find_alarm(span: Span, raised: NDArray[np.bool_] | None) -> int:
    """The first raised frame of an event."""
    return span[0] + (0 if raised is None else int(raised[span[0] : span[1]].argmax()))


def measure_overlap(one: Span, other: Span) -> float:
    """Intersection over union of two stretches of frames."""
    shared = max(0, min(one[1], other[1]) - max(one[0], other[0]))
    return shared / ((one[1] - one[0]) + (other[1] - other[0]) - shared)
