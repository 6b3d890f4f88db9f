"""Scoring on a Ray cluster: the driver's scores, whatever happens to nodes and workers, and each series once."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seriatim.errors import ConfigError, InputError, ModelError
from seriatim.io import find_series
from seriatim.scoring import cluster as room
from seriatim.scoring import score
from seriatim.scoring.cluster import Cluster, Recipe, score_here
from seriatim.scoring.engine import score_one
from seriatim.scoring.options import Options
from seriatim.scoring.provenance import digest_settings
from seriatim.series import Prediction, Series
from seriatim.trained import Scorer, load_scorer


@pytest.fixture(scope="module")
def scorer(tiny_run: Path) -> Scorer:
    return load_scorer(tiny_run)


@pytest.fixture(scope="module")
def recipe(scorer: Scorer) -> Recipe:
    return Recipe.of(scorer)


@pytest.fixture(scope="module")
def series(head_ct: Path) -> tuple[Series, ...]:
    return find_series(head_ct).series


@pytest.fixture(scope="module")
def alone(series: tuple[Series, ...], scorer: Scorer) -> list[Prediction]:
    """What one process says of each series."""
    return [score_one(one, scorer) for one in series]


def assert_same(found: Sequence[Prediction], expected: Sequence[Prediction]) -> None:
    for one, other in zip(found, expected, strict=True):
        assert (one.series_uid, one.status, one.probabilities) == (other.series_uid, other.status, other.probabilities)
        assert np.array_equal(np.asarray(one.attention), np.asarray(other.attention))


def test_a_node_scores_as_the_driver_does(
    recipe: Recipe, series: tuple[Series, ...], alone: list[Prediction]
) -> None:
    assert_same([found for one in series[:3] if isinstance(found := score_here(one, recipe), Prediction)], alone[:3])


def test_a_node_with_another_model_refuses(recipe: Recipe, series: tuple[Series, ...]) -> None:
    with pytest.raises(ModelError, match="would score otherwise than the driver"):
        score_here(series[0], replace(recipe, settings="0" * 64))


def test_a_recipe_carries_what_was_changed_after_loading(scorer: Scorer) -> None:
    changed = replace(scorer, thresholds={"bleed": 0.25}, thresholds_from="mine").with_outside("note")
    made = Recipe.of(changed).load()
    assert (made.thresholds, made.thresholds_from) == ({"bleed": 0.25}, "mine")
    assert digest_settings(made) == digest_settings(changed) != digest_settings(scorer)


def test_a_node_that_does_not_see_the_files_says_its_name_and_makes_no_row(
    recipe: Recipe, series: tuple[Series, ...], tmp_path: Path
) -> None:
    folder = shutil.copytree(series[0].instances[0].path.parent, tmp_path / "study")
    gone = find_series(folder).series[0]
    shutil.rmtree(folder)
    assert score_here(gone, recipe) == room.socket.gethostname()


def test_without_ray_it_says_what_to_install(
    scorer: Scorer, series: tuple[Series, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"seriatim\[cluster\]"):
        next(Cluster(address="local").predict(series, scorer))


@pytest.fixture(scope="module")
def ray() -> Any:
    return pytest.importorskip("ray", reason="the extra 'cluster' (Ray) is not installed")


@pytest.fixture
def three_nodes(ray: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A head without cores and two nodes with one each, all processes of their own; the driver is connected."""
    from ray.cluster_utils import Cluster as Nodes

    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    nodes = Nodes(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    for _ in range(2):
        nodes.add_node(num_cpus=1)
    ray.init(address=nodes.address, log_to_driver=False, logging_level="error")
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    yield nodes
    ray.cloudpickle.unregister_pickle_by_value(sys.modules[__name__])
    ray.shutdown()
    nodes.shutdown()


@pytest.mark.slow
def test_a_node_killed_in_the_middle_loses_nothing_and_doubles_nothing(
    three_nodes: Any, scorer: Scorer, series: tuple[Series, ...], alone: list[Prediction]
) -> None:
    found: dict[int, Prediction] = {}
    many = series * 4
    for index, prediction in Cluster(address="auto").predict(many, scorer):
        assert index not in found
        found[index] = prediction
        if len(found) == 5:
            three_nodes.remove_node(next(iter(three_nodes.worker_nodes)), allow_graceful=False)
    assert_same([found[index] for index in range(len(many))], alone * 4)


def score_or_die(series: Series, recipe: Recipe) -> Prediction | str:
    """Score as a node does, but for one series, which kills every process that takes it."""
    if series.series_uid == os.environ["POISON"]:
        os._exit(1)
    return score_here(series, recipe)


@pytest.mark.slow
def test_a_series_that_kills_its_workers_is_a_row_with_a_reason(
    ray: Any, scorer: Scorer, series: tuple[Series, ...], alone: list[Prediction], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POISON", series[4].series_uid)
    monkeypatch.setattr(room, "score_here", score_or_die)
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    found = dict(Cluster(address="local", attempts=2).predict(series, scorer))
    assert sorted(found) == list(range(len(series)))
    assert found[4].status == "failed"
    assert found[4].reason.startswith("WORKER_LOST")
    kept = [index for index in range(len(series)) if index != 4]
    assert_same([found[index] for index in kept], [alone[index] for index in kept])
    assert not ray.is_initialized()  # what it started it ended


def see_nothing(series: Series, recipe: Recipe) -> Prediction | str:
    return "node-7"


@pytest.mark.slow
def test_storage_that_a_node_lacks_ends_the_run_with_the_repair(
    ray: Any, scorer: Scorer, series: tuple[Series, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "score_here", see_nothing)
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    with pytest.raises(InputError, match=r"node-7 does not see .* Mount the storage"):
        list(Cluster(address="local").predict(series, scorer))


@pytest.mark.slow
def test_an_address_without_a_cluster_is_said(ray: Any, scorer: Scorer, series: tuple[Series, ...]) -> None:
    with pytest.raises(ConfigError, match=r"no Ray cluster at 127\.0\.0\.1:9"):
        list(Cluster(address="127.0.0.1:9").predict(series, scorer))


@pytest.mark.slow
def test_a_batch_on_a_cluster_has_the_tables_of_one_process(
    ray: Any, head_ct: Path, tiny_run: Path, tmp_path: Path
) -> None:
    score(head_ct, model=tiny_run, output=tmp_path / "one", options=Options(seconds=False))
    spread = Options(seconds=False, cluster=Cluster(address="local"))
    summary = score(head_ct, model=tiny_run, output=tmp_path / "many", options=spread)
    assert summary["counts"]["scored"] == 12
    for name in ("scores.csv", "slices.csv", "skipped.csv"):
        assert (tmp_path / "many" / name).read_bytes() == (tmp_path / "one" / name).read_bytes()
