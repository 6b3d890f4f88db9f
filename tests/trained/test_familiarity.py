"""Distances to training's embeddings, and the limit beyond which a series is foreign."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestNeighbors

from seriatim.errors import ModelError
from seriatim.trained.familiarity import (
    Familiarity,
    limit_distances,
    load_familiarity,
    mean_direction,
)
from seriatim.training.familiarity import learn_familiarity


def draw(count: int, *, seed: int, size: int = 64, shift: float = 0.0) -> np.ndarray:
    """Mean directions of series of one kind; ``shift`` makes another kind of them."""
    generator = np.random.default_rng(seed)
    points = 1 + shift * np.sign(np.arange(size) - size / 2) + 0.3 * generator.normal(size=(count, size))
    return (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32)


def test_the_distance_is_that_to_the_third_nearest() -> None:
    points, series = draw(30, seed=0), torch.randn(9, 64, generator=torch.Generator().manual_seed(1)) + 1
    direction = mean_direction(series)
    assert np.linalg.norm(direction) == pytest.approx(1)
    expected = NearestNeighbors(n_neighbors=3).fit(points).kneighbors(direction[None])[0][0, -1]
    assert Familiarity(points=points, threshold=0.25).measure(series) == pytest.approx(expected / 0.25, rel=1e-5)
    turned = Familiarity(points=points, threshold=0.25).measure(series.flip(0) * 3)  # neither order nor length counts
    assert turned == pytest.approx(expected / 0.25, rel=1e-5)


def test_many_distances_give_their_conformal_quantile_and_few_no_less_than_all_of_them() -> None:
    distances = np.random.default_rng(0).lognormal(size=199)
    assert limit_distances(distances, false_refusals=0.01) == np.sort(distances)[197]
    assert limit_distances(distances[:20], false_refusals=0.01) >= distances[:20].max()


@pytest.mark.parametrize("count", [12, 40, 150])
def test_the_promised_share_of_like_series_is_refused_and_all_foreign_ones(count: int) -> None:
    refused = foreign = tries = 0
    for seed in range(20):
        points = draw(count, seed=seed)
        learnt = learn_familiarity(
            points, patients=[str(one) for one in range(count)], held_out=points[:0], false_refusals=0.05
        )
        assert learnt is not None
        for alike, other in zip(draw(20, seed=seed + 1000), draw(20, seed=seed + 2000, shift=0.8), strict=True):
            tries += 1
            refused += learnt.measure(torch.from_numpy(alike)[None]) > 1
            foreign += learnt.measure(torch.from_numpy(other)[None]) > 1
    assert refused / tries <= 0.08
    assert foreign == tries


def test_series_of_one_patient_do_not_vouch_for_each_other() -> None:
    points = np.repeat(draw(12, seed=3), 4, axis=0)  # four like series of each patient
    learnt = learn_familiarity(points, patients=[str(row // 4) for row in range(48)], held_out=points[:0],
                               false_refusals=0.05)
    assert learnt is not None
    stranger = draw(1, seed=77)
    assert learnt.measure(torch.from_numpy(stranger)) < 1


def test_validation_that_lies_further_off_widens_the_limit() -> None:
    points, patients = draw(40, seed=0), [str(one) for one in range(40)]
    plain = learn_familiarity(points, patients=patients, held_out=points[:0], false_refusals=0.05)
    wider = learn_familiarity(points, patients=patients, held_out=draw(10, seed=1, shift=0.3), false_refusals=0.05)
    assert plain is not None
    assert wider is not None
    assert wider.threshold > 1.2 * plain.threshold


def test_too_few_patients_teach_nothing() -> None:
    points = draw(30, seed=0)
    assert learn_familiarity(points, patients=[str(one % 9) for one in range(30)], held_out=points[:0],
                             false_refusals=0.01) is None


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "familiarity.safetensors"
    Familiarity(points=draw(5, seed=0), threshold=0.5).save(path)
    assert load_familiarity(path).threshold == 0.5
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(ModelError, match="Copy the run again"):
        load_familiarity(path)
