"""The search is checked before anything is trained: every value, and every two together, and the wrong one is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from seriatim.errors import ConfigError
from seriatim.experiment import Experiment, RangeSettings
from seriatim.studies.search import SearchSpace, open_search

BASE = {
    "name": "tiny",
    "data": {"manifest": "m.csv"},
    "preprocessing": {"kind": "ct"},
    "augmentation": {"flip_left_right": True},
    "network": {"encoder": {"kind": "small_cnn"}, "temporal": {"kind": "lstm"}, "pooling": {"kind": "attention"}},
    "task": {"kind": "diagnosis", "labels": ["bleed"]},
}


def search(space: object, **changes: object) -> SearchSpace:
    return open_search(Experiment.from_content({**BASE, **changes, "tune": {"search": space}}, where="test"))


def test_ranges_lists_and_groups_become_experiments() -> None:
    space = search(
        {
            "training.learning_rate": {"low": "1e-4", "high": 1e-2, "log": True},
            "training.epochs": {"low": 3, "high": 9},
            "network.temporal": [{"kind": "lstm", "hidden": 8}, {"kind": "none"}],
            "network.dropout": {"low": 0, "high": 0.9},
        }
    )
    assert space.whole == {"training.epochs"}
    assert space.epochs == 9
    assert space.search["training.learning_rate"] == RangeSettings(low=1e-4, high=1e-2, log=True)
    drawn = {"training.learning_rate": 3e-5, "training.epochs": 4, "network.temporal": '{"kind": "none"}'}
    experiment = space.apply(space.read({**drawn, "network.dropout": 0.25}))
    assert (experiment.training.learning_rate, experiment.training.epochs) == (3e-5, 4)
    assert experiment.network.temporal.kind == "none"
    assert experiment.tune is None


@pytest.mark.parametrize(
    ("space", "said"),
    [
        ({"training.learning_rat": [1e-3, 1e-2]}, "training.learning_rat is not a setting. Did you mean learning_rate"),
        ({"training.learning_rate": [1e-3, -1.0]}, "training.learning_rate=-1.0: .*greater than 0"),
        ({"training.batch_size": {"low": 0, "high": 4}}, "training.batch_size=0.0"),
        ({"training.batch_size": {"low": 1.5, "high": 4}}, "training.batch_size=1.5"),
        ({"network.pooling.kind": ["attention", "mean"]}, 'network.pooling.kind="mean"'),
        ({"training.epochs": [3, 3]}, "at least two values"),
        ({"training.epochs": [3]}, "at least two values"),
        ({"training.learning_rate": {"low": 1e-2, "high": 1e-3}}, "low must be below high"),
        ({"training.learning_rate": {"low": 0, "high": 1e-3, "log": True}}, "log needs low above 0"),
        ({"training.learning_rate": {"low": 1e-2}}, r"training.learning_rate.*high"),
        ({"network.temporal": [{"kind": "none"}, {"kind": "lstm"}], "network.temporal.hidden": [8, 9]}, "is within"),
        ({}, "search"),
    ],
)
def test_an_illegal_search_is_refused_with_the_setting(space: object, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        search(space)


@pytest.mark.parametrize("key", ["data.fold", "seed", "task.labels", "task", "name", "tune.trials"])
def test_what_is_asked_and_luck_are_not_searched_for(key: str) -> None:
    with pytest.raises(ConfigError, match=f"{key} says which data"):
        search({key: ["a", "b"]})


def test_two_values_that_do_not_go_together_are_both_named() -> None:
    space = {"training.mode": ["end-to-end", "two-stage"], "augmentation.flip_left_right": [False, True]}
    with pytest.raises(ConfigError, match=r'training.mode="two-stage", augmentation.flip_left_right=true: .*embeds'):
        search(space)


def test_without_a_search_the_page_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"docs/tuning\.md"):
        open_search(Experiment.from_content(BASE, where="test"))


@pytest.mark.parametrize("name", ["ct_ich_tune.yaml"])
def test_the_committed_searches_are_legal(name: str) -> None:
    assert open_search(Experiment.read(Path(__file__).parents[2] / "configs" / name)).whole == set()
