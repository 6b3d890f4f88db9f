"""Events found while frames come: the same as those found afterwards, each told as soon as it is sure."""

from __future__ import annotations

from dataclasses import dataclass, replace

from seriatim.tasks.events import Event


@dataclass(slots=True, kw_only=True)
class LiveEvents:
    """``find_events`` frame by frame: ``add`` each score, ``finish`` at the end.

    What ends are the same events, bit for bit. What a frame is told while it comes can be less: frames before the one
    that reaches the threshold, and those in a gap between two stretches, turn out to be part of an event only later.
    """

    threshold: float
    release: float
    least_frames: int = 1
    most_gap: int = 0
    number: int = 0
    """The event that the last frame belongs to, counted from 1; 0 outside, and while it is shorter than
    ``least_frames``."""
    _count: int = 0
    _told: int = 0
    _run: Event | None = None
    _held: bool = False
    _event: Event | None = None

    @property
    def first(self) -> int | None:
        """The first frame of the event that the last frame belongs to."""
        return self._event.start if self.number and self._event is not None else None

    def add(self, score: float) -> Event | None:
        """Take the next frame's score; the event that is now known to have ended."""
        index, ended = self._count, None
        self._count += 1
        self._extend_run(index, score)
        if self._event is not None and self._cannot_go_on(index):
            ended = self._close()
        if self._run is not None and self._held:
            self._event = self._run if self._event is None else _join(self._event, self._run)
        inside = self._run is not None and self._held and self._event is not None
        self.number = self._told + 1 if inside and self._is_long(self._event) else 0
        return ended

    def finish(self) -> Event | None:
        """The event that was going on when the frames ended."""
        self.number = 0
        return self._close()

    def _extend_run(self, index: int, score: float) -> None:
        """The stretch at or above release that goes on until now, and whether it has reached the threshold."""
        if score < self.release:
            self._run, self._held = None, False
            return
        if self._run is None:
            self._run = Event(start=index, stop=index + 1, peak=index, peak_score=score)
        elif score > self._run.peak_score:
            self._run = replace(self._run, stop=index + 1, peak=index, peak_score=score)
        else:
            self._run = replace(self._run, stop=index + 1)
        self._held = self._held or score >= self.threshold

    def _cannot_go_on(self, index: int) -> bool:
        """Whether nothing that begins now, or began already, is near enough to the event's end."""
        assert self._event is not None
        if self._run is not None:
            return self._run.start > self._event.stop + self.most_gap
        return index + 1 > self._event.stop + self.most_gap

    def _is_long(self, event: Event | None) -> bool:
        return event is not None and event.stop - event.start >= self.least_frames

    def _close(self) -> Event | None:
        event, self._event = self._event, None
        if not self._is_long(event):
            return None
        self._told += 1
        return event


def _join(event: Event, run: Event) -> Event:
    """The event with a stretch that goes on from it."""
    start = min(event.start, run.start)
    if run.peak_score > event.peak_score:
        return replace(run, start=start)
    return replace(event, start=start, stop=run.stop)
