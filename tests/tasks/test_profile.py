"""Norms by position: what is usual at one place along a sequence may be strange at another."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from seriatim.models.detectors import Evidence
from seriatim.tasks.anomaly import AnomalySettings, AnomalyTask
from seriatim.tasks.norms import Norms
from seriatim.tasks.profile import learn_profile, level_apart, place_frames

SLICES = 30


def draw(count: int, *, seed: int) -> list[list[Evidence]]:
    """Slices near both ends score higher and vary more, as skull base and vertex do."""
    rng = np.random.default_rng(seed)
    places = np.linspace(0, 1, SLICES)
    usual = 1 + 8 * (2 * np.abs(places - 0.5)) ** 4
    return [[Evidence(parts={"one": torch.from_numpy(usual * rng.lognormal(sigma=0.2, size=SLICES))})]
            for _ in range(count)]


def learn(*, by_position: bool, count: int = 12, **changes: object) -> AnomalyTask:
    task = AnomalySettings.model_validate({"kind": "anomaly", **changes}).build()
    places = [np.linspace(0, 1, SLICES)] * count
    return task.learn_norms(draw(count, seed=0), [0.0] * count, places=places if by_position else None)


def judge(task: AnomalyTask, evidence: list[Evidence]) -> np.ndarray:
    return task.judge(evidence, np.linspace(0, 1, SLICES)).surprise


def test_a_slice_is_held_against_those_of_its_level() -> None:
    told = draw(1, seed=9)[0]
    told[0].parts["one"][15] = 3.5  # far above what is usual in the middle, far below what is at the ends
    apart, together = (judge(learn(by_position=flag), told) for flag in (True, False))
    assert apart.argmax() == 15
    assert apart[15] > 3 * np.delete(apart, 15).mean()
    assert together.argmax() in (0, 1, 28, 29)


@pytest.mark.parametrize("count", [3, 12])
def test_the_share_of_false_alarms_is_the_one_asked_for_at_every_level(count: int) -> None:
    """Also from three sequences, since each was held against the others."""
    rates = []
    for seed in range(10):
        task = AnomalySettings(false_alarm_rate=0.05).build()
        task = task.learn_norms(draw(count, seed=seed), [0.0] * count, places=[np.linspace(0, 1, SLICES)] * count)
        assert task.norms is not None
        above = np.stack([judge(task, one) >= task.norms.threshold for one in draw(60, seed=100 + seed)])
        rates.append([above.mean(), above[:, 10:20].mean(), above[:, [0, 1, 2, 27, 28, 29]].mean()])
    whole, middle, ends = np.mean(rates, axis=0)
    assert whole == pytest.approx(0.05, abs=0.02)
    assert middle == pytest.approx(0.05, abs=0.035)
    assert ends == pytest.approx(0.05, abs=0.035)


def test_a_profile_is_in_the_units_of_its_level_and_survives_json() -> None:
    task = learn(by_position=True)
    norms = task.norms
    assert norms is not None
    assert norms.by_position
    assert Norms.from_dict(json.loads(json.dumps(norms.as_dict()))) == norms
    profile = norms.parts["one"].profile
    assert profile is not None
    assert profile.centers[0] > 4 * profile.centers[10]
    assert profile.spreads[0] > 3 * profile.spreads[10]
    maps = np.full((SLICES, 2, 3), 3.5)
    levelled = profile.level(maps, np.linspace(0, 1, SLICES))
    assert levelled.shape == maps.shape
    assert levelled[15, 1, 1] > 5 > 0 > levelled[0, 0, 0]
    assert not learn(by_position=False).norms.by_position  # type: ignore[union-attr]


def test_places_are_shares_of_the_length() -> None:
    assert place_frames(np.array([-20.0, -15.0, 0.0])).tolist() == [0, 0.25, 1]
    assert place_frames(np.array([7.0])).tolist() == [0.5]


def test_what_is_not_told_of_a_frame_teaches_nothing_and_places_without_frames_take_the_nearest() -> None:
    raw = [np.array([np.nan, 2.0, 2.0])] * 3
    places = [np.array([0.0, 0.5, 0.6])] * 3
    profile = learn_profile(raw, places)
    np.testing.assert_allclose(profile.centers, 2.0)
    assert min(profile.spreads) > 0
    assert np.isnan(profile.level(raw[0], places[0])).tolist() == [True, False, False]


def test_norms_by_position_need_positions_and_three_sequences() -> None:
    with pytest.raises(ValueError, match="need the positions"):
        learn(by_position=True).judge(draw(1, seed=1)[0])
    with pytest.raises(ValueError, match="at least 3 normal validation series"):
        level_apart([np.zeros(3)] * 2, [np.zeros(3)] * 2)


def test_what_was_taught_is_not_taken_out_again() -> None:
    """A detector that learnt from labels has the place in its score already."""
    normal = [[*one, Evidence(parts={"taught": one[0].parts["one"]}, by_level=False)] for one in draw(12, seed=0)]
    places = [np.linspace(0, 1, SLICES)] * 12
    norms = AnomalySettings().build().learn_norms(normal, [0.0] * 12, places=places).norms
    assert norms is not None
    assert norms.parts["one"].profile is not None
    assert norms.parts["taught"].profile is None
