"""Prediction sets hold the truth as often as they promise, class by class; thresholds reach their sensitivity."""

import math

import numpy as np
import pytest

from seriatim.errors import ConfigError
from seriatim.settings import build_settings
from seriatim.tasks import DiagnosisSettings
from seriatim.tasks.conformal import Conformal, fit_answers, fit_numbers, least_probability
from seriatim.tasks.metrics import f1_score, sensitive_threshold


def draw(random, count):
    """Rare class 1 (15 %), and a model that is neither calibrated nor very good."""
    labels = (random.random(count) < 0.15).astype(int)
    logits = 1.5 * (2 * labels - 1) + random.normal(size=count) * 1.5 - 2
    positive = 1 / (1 + np.exp(-logits))
    return labels, np.stack([1 - positive, positive], axis=1)


@pytest.mark.parametrize("coverage", [0.8, 0.9])
def test_new_series_are_covered_as_promised_in_each_class(coverage):
    random = np.random.default_rng(0)
    hits = {0: [], 1: []}
    for _ in range(300):
        conformal = fit_answers(coverage, *draw(random, 120))
        labels, given = draw(random, 60)
        chosen = np.array([conformal.choose(row) for row in given])
        for answer in (0, 1):
            hits[answer] += chosen[labels == answer, answer].tolist()
    for answer in (0, 1):
        found = np.mean(hits[answer])
        assert found >= coverage - 0.012, answer  # at least what is promised, within the error of the simulation
        assert found <= coverage + 0.07, answer  # and not far more: few series of a class make steps


def test_too_few_series_of_a_class_leave_it_in_every_set():
    labels = np.array([0] * 50 + [1] * 5)
    given = np.tile([0.9, 0.1], (55, 1))
    conformal = fit_answers(0.9, labels, given)
    assert conformal.bounds[1] == -math.inf
    assert conformal.choose([0.999, 0.001]) == (True, True)
    assert Conformal.from_dict(conformal.as_dict()) == conformal
    assert conformal.as_dict()["bounds"][1] is None


@pytest.mark.parametrize(("count", "coverage", "rank"), [(9, 0.9, 1), (8, 0.9, 0), (19, 0.9, 2), (99, 0.95, 5)])
def test_the_bound_is_the_order_statistic_of_the_theorem(count, coverage, rank):
    values = np.random.default_rng(1).permutation(np.arange(1, count + 1)) / (count + 1)
    expected = rank / (count + 1) if rank else -math.inf
    assert least_probability(coverage, values) == pytest.approx(expected)


def test_intervals_of_numbers_cover_as_promised():
    random = np.random.default_rng(2)
    inside = []
    for _ in range(400):
        conformal = fit_numbers(0.9, random.standard_t(3, size=(60, 1)))
        inside += (np.abs(random.standard_t(3, size=20)) <= conformal.bounds[0]).tolist()
    assert 0.89 < np.mean(inside) < 0.935
    few = fit_numbers(0.9, np.array([[0.1], [np.nan], [0.3]]))
    assert few.bounds == (math.inf,)
    assert Conformal.from_dict(few.as_dict(), unbounded=math.inf) == few


@pytest.mark.parametrize(
    ("content", "given", "expected"),
    [
        ({"target": "binary", "labels": ["ich"]}, [0.4], "0|1"),
        ({"target": "binary", "labels": ["ich"]}, [0.9], "1"),
        ({"target": "binary", "labels": ["ich"]}, [0.1], "0"),
        ({"target": "multiclass", "labels": ["kind"], "classes": ["a", "b", "c"]}, [0.5, 0.4, 0.1], "a|b"),
    ],
)
def test_sets_name_the_answers(content, given, expected):
    task = build_settings(DiagnosisSettings, {**content, "coverage": 0.9}, where="task").build()
    answers = 2 if content["target"] == "binary" else 3
    task = task.with_conformal(np.zeros((1, len(given))), np.full((1, 1), -100.0))
    bounds = Conformal(coverage=0.9, bounds=(0.3,) * answers)
    assert type(task)(settings=task.settings, conformal=bounds).tell_set(given) == expected


def test_several_findings_have_no_sets_and_numbers_no_sensitivity():
    with pytest.raises(ConfigError, match="coverage is not for multilabel"):
        build_settings(DiagnosisSettings, {"target": "multilabel", "labels": ["a", "b"], "coverage": 0.9}, where="task")
    content = {"target": "regression", "labels": ["a"], "target_sensitivity": 0.9}
    with pytest.raises(ConfigError, match="target_sensitivity is for binary"):
        build_settings(DiagnosisSettings, content, where="task")


@pytest.mark.parametrize("wanted", [0.5, 0.9, 0.95, 1.0])
def test_the_threshold_reaches_the_sensitivity_and_no_higher_one_does(wanted):
    random = np.random.default_rng(3)
    labels = np.arange(81) % 2
    scores = np.round(random.normal(size=81) + labels, 1)  # with ties
    threshold = sensitive_threshold(labels, scores, sensitivity=wanted)
    assert (scores[labels == 1] >= threshold).mean() >= wanted
    higher = np.unique(scores[labels == 1])
    higher = higher[higher > threshold]
    assert all((scores[labels == 1] >= one).mean() < wanted for one in higher[1:])
    assert threshold not in scores or threshold == scores.min()


def test_f1_of_nothing_is_not_a_number():
    assert math.isnan(f1_score([0, 0], [0, 0]))
    assert f1_score([1, 0, 1], [1, 1, 0]) == pytest.approx(0.5)
