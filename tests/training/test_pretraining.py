"""Pretraining: it learns from series without labels, hands on what it learnt, keeps the best, goes on after a stop."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from seriatim.errors import ConfigError, ModelError
from seriatim.synth import synthesize
from seriatim.trained import load_model
from seriatim.training import pretrain_only, pretraining, read_run_config, train
from tiny_runs import CLIP_CONFIG, make_experiment, read_rows, without, write_rows

EPOCHS = 4
BLOCK = f"pretraining={{epochs: {EPOCHS}, batch_size: 4, learning_rate: 0.01}}"
TWO_STAGE = ("training.mode=two-stage", "training.epochs=1",
             "network.temporal={kind: lstm, hidden: 8, layers: 2, dropout: 0.2}")


def read_lines(run: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (run / "pretraining_metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


def weights_of(run: Path, part: str = "") -> dict[str, torch.Tensor]:
    weights = load_file(run / "pretraining.safetensors")
    return {name: value for name, value in weights.items() if name.startswith(part)}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """10 series without labels, of other patients."""
    folder = tmp_path_factory.mktemp("more") / "others"
    synthesize("head-ct", folder, count=10, size=32, seed=5)
    return folder


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory, head_ct: Path, others: Path) -> Path:
    folder = tmp_path_factory.mktemp("pretrained")
    train(make_experiment(folder, head_ct, BLOCK, f"pretraining.unlabelled=[{others}]", *TWO_STAGE), folder / "run")
    return folder / "run"


def test_each_epoch_tells_both_tasks_beside_what_needs_no_network(pretrained: Path) -> None:
    lines = read_lines(pretrained)
    assert [line["epoch"] for line in lines] == list(range(1, EPOCHS + 1))
    assert lines[-1]["loss"] < lines[0]["loss"]
    assert lines[-1]["val_hidden_error"] < lines[0]["val_hidden_error"]
    for name in ("mean", "nearest", "between"):  # guesses are the same after every epoch
        assert len({line[f"val_hidden_error_{name}"] for line in lines}) == 1
    assert {"val_order_auc", "val_order_accuracy", "val_slice_order_auc"} <= set(lines[0])


def test_the_series_and_what_became_of_each_are_written_down(pretrained: Path, head_ct: Path, others: Path) -> None:
    rows = read_rows(pretrained / "pretraining.csv")
    own = {row["series_uid"]: row["split"] for row in read_rows(head_ct / "labels.csv")}
    uses = {row["series_uid"]: row["use"] for row in rows}
    assert {uses.get(uid, "") for uid, split in own.items() if split == "test"} == {""}
    assert {uses[uid] for uid, split in own.items() if split == "val"} == {"validation"}
    assert sum(row["source"] == str(others) for row in rows) == 10
    assert json.loads((pretrained / "pretraining.json").read_text())["train"] == list(uses.values()).count("train")


def test_training_starts_from_what_was_learnt(tmp_path: Path, head_ct: Path, pretrained: Path, others: Path) -> None:
    options = (BLOCK, f"pretraining.unlabelled=[{others}]", *TWO_STAGE, "training.learning_rate=1e-30")
    train(make_experiment(tmp_path, head_ct, *options), tmp_path / "run")
    learnt, model = weights_of(tmp_path / "run", "temporal."), load_file(tmp_path / "run" / "model.safetensors")
    assert same(learnt, weights_of(pretrained, "temporal."))  # the supervised settings have no part in it
    assert all(torch.equal(model[name], value) for name, value in learnt.items())
    assert not (tmp_path / "run" / "pretraining_checkpoint.safetensors").exists()


class CrashError(BaseException):
    """Stands for the power cut."""


@pytest.mark.parametrize("encoder", [False, True])
def test_a_stop_in_the_middle_changes_nothing(
    tmp_path: Path, head_ct: Path, monkeypatch: pytest.MonkeyPatch, encoder: bool
) -> None:
    options = ("pretraining={epochs: 4, batch_size: 3}", f"pretraining.encoder={str(encoder).lower()}", *TWO_STAGE,
               "augmentation={noise: 20.0, rotate_degrees: 10}", "training.embedding_views=1")
    train(make_experiment(tmp_path, head_ct, *options), tmp_path / "whole")
    whole, steps = pretraining.PretrainingStage._step, []

    def step(self: object, questions: object, *, counted: bool) -> dict[str, float]:
        steps.append(1)
        if len(steps) == 6:
            raise CrashError
        return whole(self, questions, counted=counted)

    with monkeypatch.context() as broken:
        broken.setattr(pretraining.PretrainingStage, "_step", step)
        with pytest.raises(CrashError):
            train(make_experiment(tmp_path, head_ct, *options), tmp_path / "run")
    assert 1 <= len(read_lines(tmp_path / "run")) < 4
    train(read_run_config(tmp_path / "run"), tmp_path / "run", resume=True)
    assert read_lines(tmp_path / "run") == read_lines(tmp_path / "whole")
    for name in ("pretraining.safetensors", "model.safetensors", "validation.csv", "pretraining.csv"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name


def test_the_best_epoch_is_kept(tmp_path: Path, head_ct: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found, states = iter([0.6, 0.4, 0.5]), []

    def pretend(stage: pretraining.PretrainingStage) -> dict[str, float]:
        states.append({name: value.clone() for name, value in stage.kept().state_dict().items()})
        return {"loss": next(found)}

    monkeypatch.setattr(pretraining.PretrainingStage, "validate", pretend)
    pretrain_only(make_experiment(tmp_path, head_ct, "pretraining={epochs: 3}", *TWO_STAGE), tmp_path / "run")
    assert same(weights_of(tmp_path / "run"), states[1])
    assert not same(states[1], states[2])


def test_an_encoder_that_learns_is_told_by_the_one_it_was(
    tmp_path: Path, head_ct: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    targets: list[torch.Tensor] = []
    whole = pretraining.PretrainingStage._validation_questions

    def watch(stage: pretraining.PretrainingStage):
        for questions in whole(stage):
            targets.append(questions.targets.clone())
            yield questions

    monkeypatch.setattr(pretraining.PretrainingStage, "_validation_questions", watch)
    options = ("pretraining={epochs: 2, encoder: true, learning_rate: 0.01}", "training.epochs=1")
    pretrain_only(make_experiment(tmp_path, head_ct, *options), tmp_path / "run")
    half = len(targets) // 2
    assert all(torch.equal(one, other) for one, other in zip(targets[:half], targets[half:], strict=True))
    torch.manual_seed(0)
    fresh = make_experiment(tmp_path, head_ct, *options)
    encoder = fresh.network.build(fresh.preprocessing.channels, 1).encoder.state_dict()
    learnt = weights_of(tmp_path / "run", "encoder.")
    changed = {name for name, value in encoder.items() if not torch.equal(learnt[f"encoder.{name}"], value)}
    assert changed
    assert not any("running" in name or "num_batches" in name for name in changed)


def test_series_that_changed_before_a_resume_are_refused(
    tmp_path: Path, head_ct: Path, others: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{"path": str(others / row["path"])} for row in read_rows(others / "labels.csv")]
    manifest = write_rows(tmp_path / "more.csv", rows)
    experiment = make_experiment(tmp_path, head_ct, BLOCK, f"pretraining.unlabelled=[{manifest}]", *TWO_STAGE)
    with monkeypatch.context() as broken:
        broken.setattr(pretraining.PretrainingStage, "validate", _interrupt)
        with pytest.raises(KeyboardInterrupt):
            train(experiment, tmp_path / "run")
    write_rows(manifest, rows[1:])
    with pytest.raises(ConfigError, match="series of pretraining changed"):
        train(experiment, tmp_path / "run", resume=True)


def _interrupt(_: object) -> dict[str, float]:
    raise KeyboardInterrupt


def test_another_run_starts_from_encoder_and_sequence_model(
    tmp_path: Path, head_ct: Path, others: Path
) -> None:
    rows = without(read_rows(others / "labels.csv"), "bleed", "split")  # no labels at all
    manifest = write_rows(tmp_path / "more.csv", [{**row, "path": str(others / row["path"])} for row in rows])
    alone = make_experiment(tmp_path, head_ct, f"data.manifest={manifest}", "data.slice_labels=null",
                            "task.slice_loss_weight=0", "pretraining={epochs: 2}")
    pretrain_only(alone, tmp_path / "pretrained")
    assert {row["split"] for row in read_rows(tmp_path / "pretrained" / "manifest.csv")} == {"train", "val"}
    other_people = "data.source_patients=warn"  # two synthetic sets call theirs alike
    options = (f"network.weights={tmp_path / 'pretrained'}", "training.learning_rate=1e-30", "training.epochs=1",
               other_people)
    train(make_experiment(tmp_path, head_ct, *options), tmp_path / "run")
    model, learnt = load_model(tmp_path / "run").network.state_dict(), weights_of(tmp_path / "pretrained")
    assert {name.partition(".")[0] for name in learnt} == {"encoder", "temporal"}
    assert all(torch.equal(model[name], value) for name, value in learnt.items())
    train(make_experiment(tmp_path, head_ct, f"network.weights={tmp_path / 'run'}", "training.epochs=1", other_people),
          tmp_path / "second")
    with pytest.raises(ModelError, match="temporal of"):
        train(make_experiment(tmp_path, head_ct, *options, "network.temporal.hidden=9"), tmp_path / "third")
    with pytest.raises(ConfigError, match=r"split were used in training .*pretrained"):  # by the source of its source
        train(make_experiment(tmp_path, others, f"network.weights={tmp_path / 'run'}", other_people),
              tmp_path / "third")


def test_a_run_is_not_judged_by_series_that_its_source_has_learnt_from(tmp_path: Path, head_ct: Path) -> None:
    rows = read_rows(head_ct / "labels.csv")
    manifest = write_rows(tmp_path / "all.csv", [{**row, "path": str(head_ct / row["path"])}
                                                 for row in without(rows, "split")])
    pretrain_only(make_experiment(tmp_path, head_ct, f"data.manifest={manifest}", "pretraining={epochs: 1}", "seed=3"),
                  tmp_path / "pretrained")
    with pytest.raises(ConfigError, match=r"series of the (val|test) split were used in training"):
        train(make_experiment(tmp_path, head_ct, f"network.weights={tmp_path / 'pretrained'}"), tmp_path / "run")


def test_frames_in_time_and_neighbour_channels_are_learnt_from(tmp_path: Path) -> None:
    data = tmp_path / "clips"
    synthesize("ultrasound", data, count=8, size=32)
    overrides = (f"data.manifest={data / 'labels.csv'}", "task.labels=[arrhythmia]", "preprocessing.neighbours=1",
                 "training.max_slices=20", "pretraining={epochs: 1}", "training.epochs=1")
    train(make_experiment(tmp_path, tmp_path, *overrides, content=CLIP_CONFIG), tmp_path / "run")
    assert read_lines(tmp_path / "run")[0]["val_hidden_error"] > 0


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["network.temporal={kind: none}"], "needs a sequence model"),
        (["pretraining={order_weight: 0, hidden_weight: 0}"], "leaves nothing to learn"),
        (["pretraining={encoder: true}", "data.cache=false"], r"needs data\.cache"),
        (["network.weights=here", "network.encoder={kind: small_cnn, weights: there}"], "both"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path: Path, head_ct: Path, overrides: list[str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        make_experiment(tmp_path, head_ct, "pretraining={}", *overrides)
