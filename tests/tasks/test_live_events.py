"""Events found live are those found afterwards."""

from __future__ import annotations

import numpy as np
import pytest

from seriatim.tasks.events import Event, find_events
from seriatim.tasks.live_events import LiveEvents


@pytest.mark.parametrize("least_frames", [1, 2, 4])
@pytest.mark.parametrize("most_gap", [0, 1, 3])
def test_events_found_live_are_those_found_afterwards(least_frames: int, most_gap: int) -> None:
    rng = np.random.default_rng(7)
    for _ in range(200):
        scores = rng.integers(0, 7, rng.integers(1, 40)) / 2.0
        options = {"threshold": 2.0, "release": 1.0, "least_frames": least_frames, "most_gap": most_gap}
        live = LiveEvents(**options)
        told = [(live.add(float(score)), live.number, live.first) for score in scores]
        ended = [event for event, _, _ in told if event is not None]
        if (last := live.finish()) is not None:
            ended.append(last)
        events = find_events(scores, **options)
        assert ended == events
        for index, (_, number, first) in enumerate(told):
            if number:  # what a frame was told while it came holds afterwards
                own = events[number - 1]
                assert own.start <= index < own.stop
                assert first == own.start
        assert {number for _, number, _ in told if number} == set(range(1, len(events) + 1))


def test_an_event_is_told_open_at_the_threshold_and_closed_after_release() -> None:
    live = LiveEvents(threshold=2.0, release=1.0, most_gap=1)
    ended = [live.add(score) for score in (0.0, 1.5, 2.5, 1.2, 0.5)]
    assert ended == [None] * 5  # a gap of one may still be bridged
    assert live.number == 0
    assert live.add(0.5) == Event(start=1, stop=4, peak=2, peak_score=2.5)
    assert live.finish() is None
