"""Found against true events."""

from __future__ import annotations

import numpy as np
import pytest

from seriatim.evaluation.events import EventCounts, count_events, measure_overlap

TIMES = [0.1 * frame for frame in range(100)]


def test_overlap_is_intersection_over_union() -> None:
    assert measure_overlap((0, 10), (5, 15)) == pytest.approx(5 / 15)
    assert measure_overlap((0, 10), (10, 15)) == 0


def test_each_event_meets_one_other_at_most() -> None:
    counts = count_events([(10, 15), (15, 20), (50, 60)], [(10, 20), (80, 90)], times_s=TIMES)
    assert (counts.true, counts.found, counts.alarms, counts.false) == (2, 1, 3, 2)
    assert counts.precision == pytest.approx(1 / 3)
    assert counts.recall == pytest.approx(1 / 2)
    assert counts.false_per_minute == pytest.approx(2 / 10 * 60)


def test_the_largest_overlap_is_matched_first_and_too_little_is_none() -> None:
    counts = count_events([(0, 8), (8, 30)], [(6, 30)], times_s=TIMES)
    assert counts.delays_s == pytest.approx([0.2])
    assert count_events([(0, 100)], [(0, 29)], times_s=TIMES).found == 0


def test_an_alarm_is_raised_by_the_frame_that_reaches_the_threshold() -> None:
    raised = np.zeros(100, dtype=bool)
    raised[[9, 11, 40]] = True
    counts = count_events([(3, 12), (40, 50)], [(5, 12), (42, 50)], times_s=TIMES, raised=raised)
    assert counts.delays == (4, 0)
    assert counts.delays_s == pytest.approx([0.4, 0.0])


def test_an_early_alarm_has_no_delay_and_sequences_add_up() -> None:
    early = count_events([(3, 12)], [(5, 12)], times_s=TIMES)
    assert early.delays_s == (0.0,)
    both = early + count_events([], [(5, 12)], times_s=TIMES)
    assert (both.recall, both.precision, both.median_delay_s, both.seconds) == (0.5, 1.0, 0.0, pytest.approx(20))
    nothing = EventCounts()
    assert (nothing.precision, nothing.recall, nothing.false_per_minute, nothing.median_delay_s) == (None,) * 4
