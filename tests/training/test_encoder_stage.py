"""The encoder's own stage: it learns from slices, is kept at its best, goes on after a stop, feeds the next one."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from seriatim.errors import ConfigError
from seriatim.experiment import EncoderStageSettings
from seriatim.series.batch import IGNORE
from seriatim.trained import load_model
from seriatim.training import encoder_stage as stage_module
from seriatim.training import train
from seriatim.training.encoder_stage import LabelledSlices, draw_epoch, labelled_slices
from seriatim.training.session import start_session
from tiny_runs import CT_CONFIG, make_experiment, read_rows

STAGE = ("encoder_stage={epochs: 3, batch_size: 8, learning_rate: 0.003}", "training.mode=two-stage")


def read_lines(path: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


@pytest.fixture(scope="module")
def staged(tmp_path_factory: pytest.TempPathFactory, head_ct: Path) -> Path:
    folder = tmp_path_factory.mktemp("staged")
    train(make_experiment(folder, head_ct, *STAGE), folder / "run")
    return folder / "run"


def test_the_encoder_learns_from_slices_and_the_model_holds_what_it_learnt(staged: Path) -> None:
    lines = read_lines(staged / "encoder_metrics.jsonl")
    assert [line["epoch"] for line in lines] == [1, 2, 3]
    assert lines[-1]["loss"] < lines[0]["loss"]
    kept = load_file(staged / "encoder.safetensors")
    model = load_model(staged)
    assert all(torch.equal(kept[name], value) for name, value in model.network.encoder.state_dict().items())
    assert not (staged / "encoder_checkpoint.safetensors").exists()


@pytest.mark.parametrize("averaged", [False, True])
def test_a_stop_in_the_middle_of_the_stage_changes_nothing(
    staged: Path, tmp_path: Path, head_ct: Path, monkeypatch: pytest.MonkeyPatch, averaged: bool
) -> None:
    whole = stage_module.validate_encoder
    calls: list[int] = []

    def stop_in_second(*arguments: object) -> dict[str, float]:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return whole(*arguments)

    settings = (*STAGE, "encoder_stage.ema_decay=0.9") if averaged else STAGE
    undisturbed = staged
    if averaged:
        undisturbed = tmp_path / "undisturbed"
        train(make_experiment(tmp_path, head_ct, *settings), undisturbed)
    experiment = make_experiment(tmp_path, head_ct, *settings)
    monkeypatch.setattr(stage_module, "validate_encoder", stop_in_second)
    with pytest.raises(KeyboardInterrupt):
        train(experiment, tmp_path / "run")
    monkeypatch.setattr(stage_module, "validate_encoder", whole)
    train(experiment, tmp_path / "run", resume=True)
    first, second = (load_file(one / "encoder.safetensors") for one in (undisturbed, tmp_path / "run"))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert read_lines(undisturbed / "encoder_metrics.jsonl") == read_lines(tmp_path / "run" / "encoder_metrics.jsonl")
    assert read_rows(undisturbed / "validation.csv") == read_rows(tmp_path / "run" / "validation.csv")


def test_with_averaging_the_average_of_the_steps_is_judged_and_kept(
    tmp_path: Path, head_ct: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decay, seen, judged = 0.5, [], []
    step, validate = stage_module.EncoderStage._step, stage_module.validate_encoder

    def follow(stage: stage_module.EncoderStage, *arguments: object) -> float:
        if not seen:
            seen.append(stage.head.weight.detach().clone())
        loss = step(stage, *arguments)  # type: ignore[arg-type]
        rate = min(decay, (1 + len(seen)) / (10 + len(seen)))
        seen.append(seen[-1] * rate + stage.head.weight.detach() * (1 - rate))
        return loss

    def note(stage: stage_module.EncoderStage) -> dict[str, float]:
        encoder, head = stage.judging()
        assert torch.allclose(head.weight, seen[-1], atol=1e-6)
        assert not torch.allclose(head.weight, stage.head.weight, atol=1e-5)
        judged.append({name: value.clone() for name, value in encoder.state_dict().items()})
        return validate(stage)

    monkeypatch.setattr(stage_module.EncoderStage, "_step", follow)
    monkeypatch.setattr(stage_module, "validate_encoder", note)
    stage = "encoder_stage={epochs: 1, batch_size: 8, learning_rate: 0.003, ema_decay: 0.5}"
    train(make_experiment(tmp_path, head_ct, *STAGE, stage), tmp_path / "run")
    kept = load_file(tmp_path / "run" / "encoder.safetensors")
    assert all(torch.equal(kept[name], value) for name, value in judged[0].items())


def test_the_best_epoch_of_validation_is_kept(tmp_path: Path, head_ct: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scores = iter([0.6, 0.9, 0.7])
    states: list[dict[str, torch.Tensor]] = []

    def pretend(stage: stage_module.EncoderStage) -> dict[str, float]:
        states.append({name: value.clone() for name, value in stage.encoder.state_dict().items()})
        return {"auc": next(scores)}

    monkeypatch.setattr(stage_module, "validate_encoder", pretend)
    train(make_experiment(tmp_path, head_ct, *STAGE), tmp_path / "run")
    kept = load_file(tmp_path / "run" / "encoder.safetensors")
    assert all(torch.equal(kept[name], states[1][name]) for name in kept)
    assert any(not torch.equal(kept[name], states[2][name]) for name in kept)


def test_an_epoch_draws_every_positive_and_as_many_negatives_anew() -> None:
    labels = np.zeros((100, 1), dtype=np.float32)
    labels[:20] = 1
    slices = LabelledSlices(examples=(), place=np.zeros((100, 2), dtype=int), labels=labels)
    drawn = [draw_epoch(slices, EncoderStageSettings(), seed=1, epoch=epoch) for epoch in (1, 2)]
    for one in drawn:
        assert len(one) == 40
        assert set(one[one < 20]) == set(range(20))
        assert len(set(one)) == 40
    assert set(drawn[0]) != set(drawn[1])
    assert (draw_epoch(slices, EncoderStageSettings(), seed=1, epoch=1) == drawn[0]).all()
    more = draw_epoch(slices, EncoderStageSettings(slices_per_epoch=90, positive_share=0.5), seed=1, epoch=1)
    assert np.bincount(more[more < 20]).min() == 2
    assert (more < 20).sum() == 45


def test_an_epoch_draws_each_class_as_often() -> None:
    labels = np.eye(3, dtype=np.float32)[[0] * 20 + [2] * 10]  # no slice of the second class
    slices = LabelledSlices(examples=(), place=np.zeros((30, 2), dtype=int), labels=labels, exclusive=True)
    drawn = draw_epoch(slices, EncoderStageSettings(), seed=1, epoch=1)
    assert len(drawn) == 30
    assert (drawn < 20).sum() == 15
    assert set(drawn[drawn >= 20]) == set(range(20, 30))
    assert len(draw_epoch(slices, EncoderStageSettings(slices_per_epoch=7), seed=1, epoch=1)) == 7


def test_classes_of_slices_teach_the_encoder_too(tmp_path: Path, head_ct: Path) -> None:
    task = "task={target: multiclass, labels: [bleed], classes: ['0', '1'], slice_loss_weight: 1}"
    train(make_experiment(tmp_path, head_ct, *STAGE, task, "training.epochs=1"), tmp_path / "run")
    lines = read_lines(tmp_path / "run" / "encoder_metrics.jsonl")
    assert lines[-1]["loss"] < lines[0]["loss"]
    assert 0 <= lines[-1]["val_auc"] <= 1


def test_slices_without_a_label_have_that_of_their_series_where_asked_for() -> None:
    unknown = [IGNORE, IGNORE]
    part = SimpleNamespace(labels=(1.0, IGNORE), slice_labels=np.array([unknown, [0, 1], unknown], dtype=np.float32))
    none = SimpleNamespace(labels=(IGNORE, IGNORE), slice_labels=np.array([unknown, unknown], dtype=np.float32))
    own, all_of_them = labelled_slices([part, none]), labelled_slices([part, none], inherit=True)
    assert own.place.tolist() == [[0, 1]]
    assert all_of_them.place.tolist() == [[0, 0], [0, 1], [0, 2]]
    assert all_of_them.labels.tolist() == [[1, IGNORE], [0, 1], [1, IGNORE]]
    frames = np.full((2, 3), IGNORE, dtype=np.float32)
    clips = [SimpleNamespace(labels=(label,), slice_labels=frames) for label in (2.0, IGNORE)]
    classes = labelled_slices(clips, exclusive=True, inherit=True)
    assert classes.labels.tolist() == [[0, 0, 1], [0, 0, 1]]


def test_the_encoder_learns_from_series_labels_alone(tmp_path: Path, head_ct: Path) -> None:
    weak = "encoder_stage={epochs: 2, batch_size: 8, learning_rate: 0.003, labels: series}"
    plain = ("data.slice_labels=null", "task.slice_loss_weight=0", "training.mode=two-stage", "training.epochs=1")
    train(make_experiment(tmp_path, head_ct, weak, *plain), tmp_path / "run")
    lines = read_lines(tmp_path / "run" / "encoder_metrics.jsonl")
    assert lines[-1]["loss"] < lines[0]["loss"]


def test_a_stage_that_diverges_says_what_to_do(tmp_path: Path, head_ct: Path) -> None:
    wild = "encoder_stage={epochs: 2, batch_size: 8, learning_rate: 1e30}"
    with pytest.raises(ConfigError, match=r"Lower encoder_stage\.learning_rate"):
        train(make_experiment(tmp_path, head_ct, wild), tmp_path / "run")


def test_neighbours_and_augmentation_and_end_to_end_go_with_the_stage(tmp_path: Path, head_ct: Path) -> None:
    overrides = ("encoder_stage={epochs: 1, slices_per_epoch: 8}", "preprocessing.neighbours=1",
                 "augmentation={noise: 5.0, rotate_degrees: 10}", "training.epochs=1")
    train(make_experiment(tmp_path, head_ct, *overrides), tmp_path / "run")
    learnt = load_file(tmp_path / "run" / "encoder.safetensors")
    model = load_model(tmp_path / "run").network.encoder.state_dict()
    assert any(not torch.equal(learnt[name], model[name]) for name in learnt)  # end to end it goes on learning


@pytest.mark.parametrize("channels", [
    {"kind": "ct", "windows_hu": [[40, 80], [70, 180]], "neighbours": 2},
    {"kind": "intensity", "colour": "rgb", "neighbours": 1},
    {"kind": "intensity", "neighbours": 8},
])  # fmt: skip
def test_a_slice_of_the_stage_is_that_of_scoring_with_all_its_channels(
    tmp_path: Path, head_ct: Path, channels: dict[str, object]
) -> None:
    """At the ends of the series too, where the first or last slice stands in for the neighbours beyond."""
    content = {**CT_CONFIG, "preprocessing": {"size": 32, **channels}, "encoder_stage": {"epochs": 1}}
    session = start_session(make_experiment(tmp_path, head_ct, content=content), tmp_path / "run", resume=False)
    slices = stage_module.labelled_slices(session.examples.of("train")[:2])
    stage = stage_module.EncoderStage(session, slices, slices)
    for index, (example, row) in enumerate(slices.place):
        seen = stage._slice(index, seed=0)
        assert seen.shape[0] == session.experiment.preprocessing.channels
        assert torch.equal(seen, session.prepared.slices(slices.examples[example].series)[row])
    assert {row for example, row in slices.place if example == 0} >= {0, 1, len(slices.examples[0].slice_labels) - 1}


def test_what_the_stage_needs_is_said(tmp_path: Path, head_ct: Path) -> None:
    with pytest.raises(ConfigError, match=r"needs data\.slice_labels"):
        make_experiment(tmp_path, head_ct, "encoder_stage={}", "data.slice_labels=null", "task.slice_loss_weight=0")
    with pytest.raises(ConfigError, match=r"needs data\.cache"):
        make_experiment(tmp_path, head_ct, "encoder_stage={}", "data.cache=false")
