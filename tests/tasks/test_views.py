"""Test-time augmentation: the mean of fixed views, put back in order, the same in validation and in scoring."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from seriatim.explanation import explain
from seriatim.models import NetworkSettings
from seriatim.scoring import score
from seriatim.tasks import DiagnosisSettings, ViewSettings
from seriatim.tasks.predict import score_series
from seriatim.training import train
from tiny_runs import make_experiment, read_rows

BOTH = ViewSettings(flip_left_right=True, reverse_order=True)
FLAGS = "test_time={flip_left_right: true, reverse_order: true}"


@pytest.fixture
def network() -> torch.nn.Module:
    return build(outputs=2)


def build(*, outputs: int) -> torch.nn.Module:
    torch.manual_seed(0)
    parts = {
        "encoder": {"kind": "small_cnn", "widths": [4]}, "temporal": {"kind": "lstm", "hidden": 5},
        "pooling": {"kind": "attention"},
    }  # fmt: skip
    return NetworkSettings.model_validate(parts).build(1, outputs).eval()


@pytest.fixture
def task():
    return DiagnosisSettings(target="multilabel", labels=("a", "b"), slice_loss_weight=1).build()


SLICES = torch.rand(7, 1, 16, 16, generator=torch.Generator().manual_seed(1))


def test_reverse_order_is_the_mean_of_the_series_and_its_reverse(network, task) -> None:
    forward, backward = score_series(network, task, SLICES), score_series(network, task, SLICES.flip(0))
    both = score_series(network, task, SLICES, ViewSettings(reverse_order=True))
    torch.testing.assert_close(both.probabilities, (forward.probabilities + backward.probabilities) / 2)
    torch.testing.assert_close(both.attention, (forward.attention + backward.attention.flip(0)) / 2)
    expected = (forward.slice_probabilities + backward.slice_probabilities.flip(0)) / 2
    torch.testing.assert_close(both.slice_probabilities, expected)
    assert not torch.equal(forward.probabilities, backward.probabilities)  # else this would test nothing
    assert float(both.attention.sum()) == pytest.approx(1)


def test_all_views_are_the_mean_over_mirrored_and_reversed_series(network, task) -> None:
    seen = [SLICES, SLICES.flip(-1), SLICES.flip(0), SLICES.flip(0, -1)]
    alone = torch.stack([score_series(network, task, one).probabilities for one in seen])
    assert len({tuple(row.tolist()) for row in alone}) == 4
    found = score_series(network, task, SLICES, BOTH)
    torch.testing.assert_close(found.probabilities, alone.mean(dim=0))


def test_a_score_with_views_is_the_same_again_and_for_the_mirrored_reversed_series(network, task) -> None:
    first = score_series(network, task, SLICES, BOTH)
    score_series(network, task, torch.rand(3, 1, 16, 16), BOTH)
    assert torch.equal(score_series(network, task, SLICES, BOTH).probabilities, first.probabilities)
    turned = score_series(network, task, SLICES.flip(0, -1), BOTH)
    torch.testing.assert_close(turned.probabilities, first.probabilities)
    torch.testing.assert_close(turned.attention.flip(0), first.attention)


def test_calibration_bends_the_mean_of_the_views() -> None:
    network = build(outputs=1)
    settings = DiagnosisSettings(target="binary", labels=("a",), calibration="platt")
    random = np.random.default_rng(0)
    given = random.random((60, 1))
    task = settings.build().with_calibration(given, (random.random((60, 1)) < given**2).astype(float))
    plain = settings.build()
    uncalibrated = score_series(network, plain, SLICES, BOTH).probabilities
    found = score_series(network, task, SLICES, BOTH)
    torch.testing.assert_close(found.uncalibrated, uncalibrated)
    assert found.probabilities.numpy() == pytest.approx(task.calibration.apply(uncalibrated.numpy()))
    assert not torch.equal(found.probabilities, uncalibrated)


@pytest.mark.parametrize("mode", ["end-to-end", "two-stage"])
def test_validation_scoring_and_explanation_see_the_same_views(tmp_path: Path, head_ct: Path, mode: str) -> None:
    run = tmp_path / "run"
    train(make_experiment(tmp_path, head_ct, "training.epochs=1", f"training.mode={mode}", FLAGS), run)
    validated = {row["series_uid"]: row["probability_bleed"] for row in read_rows(run / "validation.csv")}
    score(head_ct, model=run, output=tmp_path / "scores", device="cpu", only=set(validated))
    scored = {row["series_uid"]: row["probability_bleed"] for row in read_rows(tmp_path / "scores" / "scores.csv")}
    assert {uid: float(value) for uid, value in validated.items()} == {uid: float(one) for uid, one in scored.items()}
    uid = next(iter(scored))
    explain(head_ct, model=run, output=tmp_path / "pictures", device="cpu", only={uid}, top=1)
    explained = {row["sop_instance_uid"]: row["attention"] for row in read_rows(tmp_path / "pictures" / f"{uid}.csv")}
    slices = [row for row in read_rows(tmp_path / "scores" / "slices.csv") if row["series_uid"] == uid]
    assert len(slices) == len(explained) > 3
    for row in slices:
        assert float(explained[row["sop_instance_uid"]]) == pytest.approx(float(row["attention"]), abs=1e-6)
    config = (run / "config.yaml").read_text()
    shutil.rmtree(tmp_path / "scores")
    assert "reverse_order: true" in config


def test_slices_keep_their_uids_when_the_order_is_reversed(tmp_path: Path, head_ct: Path, tiny_run: Path) -> None:
    """With the mean of slice scores by hand, at the right SOP Instance UIDs."""
    from dataclasses import replace

    from seriatim.io import find_series, read_volume
    from seriatim.trained import load_model

    model = load_model(tiny_run)
    reversing = replace(model, experiment=model.experiment.model_copy(update={"test_time": BOTH}))
    series = find_series(head_ct).series[0]
    slices = model.prepare(read_volume(series))
    views = [model.read(model.embed(one)).slice_probabilities for one in (slices, slices.flip(-1))]
    turned = (slices.flip(0), slices.flip(0, -1))
    views += [model.read(model.embed(one)).slice_probabilities.flip(0) for one in turned]
    expected = torch.stack(views).mean(dim=0)[:, 0]
    score(head_ct, model=reversing, output=tmp_path, device="cpu", only={series.series_uid})
    found = {row["sop_instance_uid"]: float(row["score_bleed"]) for row in read_rows(tmp_path / "slices.csv")}
    for instance, value in zip(series.instances, expected, strict=True):
        assert found[instance.sop_instance_uid] == pytest.approx(float(value), abs=1e-9)
