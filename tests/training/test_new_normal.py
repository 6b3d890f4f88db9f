"""What normal sequences of new patients get, told from validation alone."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch

from seriatim.models.detectors import Evidence
from seriatim.tasks.anomaly import AnomalySettings
from seriatim.training.new_normal import judge_by_others, warn_of_few

TASK = AnomalySettings(false_alarm_rate=0.05).build()


def clips(count: int, *, spread: float, seed: int = 0) -> list[list[Evidence]]:
    """``count`` clips of 50 frames, whose own levels differ by ``spread``."""
    rng = np.random.default_rng(seed)
    return [[Evidence(parts={"one": torch.from_numpy(rng.exponential(size=50) + spread * rng.normal())})]
            for _ in range(count)]


def test_patients_that_differ_show_in_the_figure_and_the_warning(caplog: pytest.LogCaptureFixture) -> None:
    """Simulated: the share that is told is near the share that many new clips get, where norms' own share is not."""
    told, true, own = [], [], []
    for seed in range(30):
        normal = clips(6, spread=3.0, seed=seed)
        told.append(judge_by_others(TASK, normal, [5.0] * 6, places=None, patients=list("abcdef"))
                    ["new_normal_frames_above"])
        task = TASK.learn_norms(normal, [5.0] * 6)
        assert task.norms is not None
        shares = [(task.weigh(one)[0] >= task.norms.threshold).mean() for one in clips(40, spread=3.0, seed=100 + seed)]
        true.append(float(np.mean(shares)))
        own.append(float(np.mean([(task.weigh(one)[0] >= task.norms.threshold).mean() for one in normal])))
    assert np.mean(own) < 0.07
    assert np.mean(true) > 0.1
    assert np.mean(told) == pytest.approx(np.mean(true), abs=0.03)
    with caplog.at_level(logging.WARNING):
        warn_of_few(task, {"new_normal_frames_above": 0.2}, patients=6)
        warn_of_few(task, {}, patients=1)
        warn_of_few(task, {"new_normal_frames_above": 0.06}, patients=60)
    assert [record.getMessage().count("Add normal series") for record in caplog.records] == [1, 1]
    assert "20.0 % of the normal frames" in caplog.text


def test_a_patient_is_never_judged_by_norms_of_his_own() -> None:
    """Two clips of one patient alike, and unlike all others: each by the others' norms is all alarm."""
    normal = clips(6, spread=0.0)
    for one in (0, 1):
        normal[one] = [Evidence(parts={"one": torch.linspace(50, 60, 50, dtype=torch.float64)})]
    alike = judge_by_others(TASK, normal, [60.0] * 6, places=None, patients=["a", "a", "b", "c", "d", "e"])
    assert alike["new_normal_frames_above"] >= 2 / 6
    assert alike["new_false_alarms_per_minute"] >= 2 / 6


def test_one_patient_and_frames_without_times_tell_less() -> None:
    assert judge_by_others(TASK, clips(3, spread=0.0), [5.0] * 3, places=None, patients=["a"] * 3) == {}
    untimed = judge_by_others(TASK, clips(3, spread=0.0), [0.0] * 3, places=None, patients=list("abc"))
    assert set(untimed) == {"new_normal_frames_above"}
