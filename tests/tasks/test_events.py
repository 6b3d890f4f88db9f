"""Events and p-values of frames."""

from __future__ import annotations

import numpy as np
import pytest

from seriatim.tasks.events import find_events, runs_of
from seriatim.tasks.normality import learn_normality, z_of_surprise

SCORES = np.array([0, 1, 3, 5, 3, 1, 3, 4.5, 1, 0, 3, 3, 3, 0, 9.0])


def spans(**changes: object) -> list[tuple[int, int]]:
    settings = {"threshold": 4.0, "release": 2.0, **changes}
    return [(event.start, event.stop) for event in find_events(SCORES, **settings)]  # type: ignore[arg-type]


def test_an_event_reaches_the_threshold_and_lasts_down_to_the_release() -> None:
    assert spans() == [(2, 5), (6, 8), (14, 15)]
    assert spans(release=4.0) == [(3, 4), (7, 8), (14, 15)]


def test_short_events_go_and_near_ones_are_one() -> None:
    assert spans(least_frames=2) == [(2, 5), (6, 8)]
    assert spans(most_gap=1) == [(2, 8), (14, 15)]
    assert spans(most_gap=1, least_frames=4) == [(2, 8)]


def test_the_peak_is_the_highest_frame() -> None:
    event = find_events(SCORES, threshold=4.0, release=2.0, most_gap=1)[0]
    assert (event.peak, event.peak_score) == (3, 5.0)


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(ValueError, match="not be above"):
        find_events(SCORES, threshold=1.0, release=2.0)
    with pytest.raises(ValueError, match="not a number"):
        find_events(np.array([np.nan]), threshold=1.0, release=1.0)
    assert runs_of(np.zeros(3, dtype=bool)) == []


def test_p_values_of_normal_frames_are_uniform_and_go_on_beyond_them() -> None:
    rng = np.random.default_rng(0)
    normality = learn_normality(rng.exponential(size=20_000))
    surprise = normality.surprise(rng.exponential(size=20_000))
    for share in (0.5, 0.1, 0.01, 0.001):
        assert (surprise >= -np.log(share)).mean() == pytest.approx(share, rel=0.25)
    rising = normality.surprise(np.linspace(-1, 1000, 5000))
    assert (np.diff(rising) >= 0).all()
    # the tail of an exponential is itself: p = exp(-x)
    np.testing.assert_allclose(normality.surprise(np.array([5.0, 20.0])), [5, 20], rtol=0.1)


def test_a_surprise_reads_as_standard_deviations() -> None:
    p_values = np.array([0.5, 0.15865525393145707, 0.0013498980316300933])
    np.testing.assert_allclose(z_of_surprise(-np.log(p_values)), [0, 1, 3], atol=1e-9)
    assert np.isfinite(z_of_surprise(np.array([0.0, 700.0]))).all()


def test_equal_normal_scores_and_too_few_of_them() -> None:
    normality = learn_normality(np.ones(30))
    assert normality.surprise(np.array([1.0]))[0] <= -np.log(0.1) + 1e-9
    assert normality.surprise(np.array([1.1]))[0] > 100
    with pytest.raises(ValueError, match="at least 20"):
        learn_normality(np.ones(19))


def test_a_score_that_most_normal_frames_share_is_no_surprise() -> None:
    law = learn_normality(np.concatenate([np.zeros(90), np.arange(1.0, 11.0)]))
    p_values = np.exp(-law.surprise(np.array([-1.0, 0.0, 5.0, 50.0])))
    assert p_values[:2].tolist() == [1.0, 1.0]
    assert p_values[3] < p_values[2] < 0.1
    same = learn_normality(np.zeros(30))
    assert np.exp(-same.surprise(np.array([0.0, 1.0]))).tolist() == [1.0, pytest.approx(0.0, abs=1e-9)]


@pytest.mark.parametrize(("frames", "low", "high"), [(20, 0.025, 0.04), (60, 0.011, 0.02), (1000, 0.009, 0.012)])
def test_few_normal_frames_make_small_p_values_too_small(frames: int, low: float, high: float) -> None:
    """How far p-values of 0.01 can be trusted, which docs/anomaly.md tells."""
    rng = np.random.default_rng(0)
    for draw in (rng.standard_normal, rng.exponential, lambda size: rng.chisquare(3, size=size)):
        laws = [learn_normality(draw(size=frames)) for _ in range(300)]
        share = np.mean([(law.surprise(draw(size=1000)) >= -np.log(0.01)).mean() for law in laws])
        assert low < share < high
