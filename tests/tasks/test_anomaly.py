"""The anomaly task: norms, thresholds, levels and events."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from seriatim.errors import ConfigError
from seriatim.models.detectors import Evidence
from seriatim.series.batch import IGNORE
from seriatim.tasks.anomaly import AnomalySettings, AnomalyTask
from seriatim.tasks.norms import Norms


def evidence(values: np.ndarray, *, name: str = "one") -> Evidence:
    return Evidence(parts={name: torch.from_numpy(values)})


def normal(count: int = 20, frames: int = 50, *, seed: int = 0) -> list[list[Evidence]]:
    rng = np.random.default_rng(seed)
    return [[evidence(rng.exponential(size=frames)), evidence(rng.exponential(size=frames) * 9, name="two")]
            for _ in range(count)]


def learn(**changes: object) -> AnomalyTask:
    task = AnomalySettings.model_validate({"kind": "anomaly", **changes}).build()
    return task.learn_norms(normal(), [5.0] * 20)


def test_the_share_of_new_normal_frames_above_the_threshold_is_the_one_asked_for() -> None:
    task = learn(false_alarm_rate=0.05)
    assert task.norms is not None
    surprises = np.concatenate([task.judge(one).surprise for one in normal(200, seed=7)])
    assert (surprises >= task.norms.threshold).mean() == pytest.approx(0.05, rel=0.25)


def test_false_alarms_per_minute_bound_the_events_of_validation() -> None:
    task = learn(false_alarms_per_minute=3.0, least_frames=2)
    assert task.norms is not None
    events = sum(len(task.judge(one).events) for one in normal())
    assert events <= 3.0 * 100 / 60
    assert events >= 3
    with pytest.raises(ValueError, match="frames with times"):
        AnomalySettings(false_alarms_per_minute=1.0).build().learn_norms(normal(), [0.0] * 20)


def test_false_alarms_that_grow_together_to_one_long_event_are_not_taken_for_few() -> None:
    rng = np.random.default_rng(0)
    clips = [[evidence(rng.chisquare(3, size=1200))] for _ in range(3)]
    task = AnomalySettings(false_alarms_per_minute=1.0).build().learn_norms(clips, [60.0] * 3)
    assert task.norms is not None
    assert task.norms.threshold > -np.log(0.01)
    assert sum(one.stop - one.start for clip in clips for one in task.judge(clip).events) < 36
    foolish = AnomalySettings(false_alarms_per_minute=1e4).build().learn_norms(clips, [60.0] * 3)
    assert foolish.norms is not None
    assert foolish.norms.threshold == pytest.approx(np.log(2), rel=0.01)


@pytest.mark.parametrize("least", [1, 3])
def test_a_sequence_reaches_one_half_exactly_where_it_has_an_event(least: int) -> None:
    task = learn(false_alarm_rate=0.02, least_frames=least, release=0.4, most_gap=0)
    seen = set()
    for one in normal(300, 30, seed=3):
        scores = task.judge(one)
        assert (scores.level >= 0.5) == bool(scores.events)
        assert ((scores.levels >= 0.5) == (scores.surprise >= task.norms.threshold)).all()  # type: ignore[union-attr]
        seen.add(bool(scores.events))
    assert seen == {True, False}


def test_a_worse_frame_is_a_higher_level_and_one_part_alone_can_tell() -> None:
    task = learn()
    ordinary = np.full(10, 0.5)
    levels = []
    for height in (3.0, 30.0, 300.0):
        odd = ordinary.copy()
        odd[4] = height
        levels.append(task.judge([evidence(odd), evidence(ordinary, name="two")]).level)
    assert levels == sorted(levels)
    assert levels[0] < levels[1] < levels[2] < 1


def test_what_a_part_cannot_say_is_left_out_and_nothing_said_is_no_surprise() -> None:
    task = learn()
    values = np.array([0.7, 0.7, 30.0])
    silent = np.array([np.nan, 6.3, np.nan])
    scores = task.judge([evidence(values), evidence(silent, name="two")])
    assert np.isfinite(scores.surprise).all()
    assert scores.surprise[2] > scores.surprise[0]
    nothing = task.judge([evidence(np.full(3, np.nan)), evidence(np.full(3, np.nan), name="two")])
    assert nothing.surprise.tolist() == [0, 0, 0]
    assert (nothing.level, nothing.events) == (0.0, ())


def test_norms_survive_json() -> None:
    norms = learn().norms
    assert norms is not None
    assert Norms.from_dict(norms.as_dict()) == norms


def test_labels_are_words_or_yes_and_no() -> None:
    words = AnomalySettings(label="label", normal=("regular",)).build()
    cells = ("regular", "covid", "")
    assert [words.encode_labels({"label": cell})[0] for cell in cells] == [0.0, 1.0, IGNORE]
    assert AnomalySettings(label="sick").build().encode_labels({"sick": "1"}) == (1.0,)
    assert AnomalySettings().build().encode_labels({}) == (IGNORE,)
    with pytest.raises(ConfigError, match="sick"):
        AnomalySettings(label="sick").build().encode_labels({"ill": "1"})


def test_settings_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValidationError, match="may stand once"):
        AnomalySettings.model_validate({"methods": [{"kind": "gaussian"}, {"kind": "gaussian"}]})
    with pytest.raises(ValidationError, match="name the column"):
        AnomalySettings(normal=("regular",))
