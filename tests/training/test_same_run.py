"""A resumed run is the run that was begun: what would change its weights is refused, and what would not is not."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file

from seriatim.errors import ConfigError, OutputError
from seriatim.experiment import AnomalyExperiment, Experiment
from seriatim.training import read_run_config, run_folder, train
from seriatim.training.same_run import FREE, GROWING, LAST_STAGE
from tiny_runs import make_experiment, write_config

TWO_STAGE = ["training.mode=two-stage", "encoder_stage={epochs: 1}"]
JOINT = [*TWO_STAGE, "joint_stage={epochs: 2}", "augmentation.noise=5", "training.embedding_views=1"]
CHANGES = {
    "one stage": ([], [
        "seed=5", "preprocessing.size=40", "encoder_stage={epochs: 1}", "augmentation.rotate_degrees=5",
        "task.slice_loss_weight=0.5", "task.label_smoothing=0.1", "task.focal_gamma=2", "task.labels=[other]",
        "training.learning_rate=0.01", "training.batch_size=3", "training.accumulate=2", "training.weight_decay=0.1",
        "training.max_slices=8", "training.mixup=0.2", "training.schedule=constant", "training.ema_decay=0.9",
        "training.precision=bf16-mixed", "training.devices=2", "training.epochs=1", "training.patience=2",
        "training.mode=two-stage", "training.deterministic=true", "test_time.reverse_order=true",
        "network.dropout=0.5", "network.temporal.hidden=9", "network.pooling={kind: mean}",
        "data.validation_fraction=0.3", "data.findings={GAP: keep}", "pretraining={epochs: 2}",
    ]),
    "two-stage": (TWO_STAGE, [
        "encoder_stage.epochs=2", "encoder_stage.learning_rate=0.1", "encoder_stage=null",
        "training.learning_rate=0.01", "task.slice_positive_weight=3", "network.standardise=true",
    ]),
    "joint stage": (JOINT, [
        "joint_stage.learning_rate=0.01", "joint_stage.epochs=1", "joint_stage=null", "training.embedding_views=2",
        "augmentation.noise=6", "encoder_stage.batch_size=2",
    ]),
}  # fmt: skip


@pytest.mark.parametrize(("kind", "change"), [(kind, one) for kind, (_, all_) in CHANGES.items() for one in all_])
def test_what_changes_the_weights_is_refused(tmp_path: Path, head_ct: Path, kind: str, change: str) -> None:
    write_config(tmp_path, head_ct, *CHANGES[kind][0])
    key, value = change.split("=")
    with pytest.raises(ConfigError) as told:
        read_run_config(tmp_path, [change])
    assert f"{tmp_path} was begun with {key.split('=')[0]}" in str(told.value)
    assert value.strip("{}[]").split(":")[0] in str(told.value)
    assert "train anew, into another --output" in str(told.value)


@pytest.mark.parametrize("change", [
    "name=other", "training.epochs=7", "training.patience=20", "training.accelerator=auto", "training.workers=1",
    "data.cache=false", "data.near_duplicates=warn", "task.calibration=temperature", "task.target_sensitivity=0.9",
    "envelope.distance=note", "joint_stage={epochs: 1}", "tune={search: {training.learning_rate: [0.1, 0.2]}}",
])  # fmt: skip
def test_what_does_not_is_allowed(tmp_path: Path, head_ct: Path, change: str) -> None:
    write_config(tmp_path, head_ct, "training.patience=10")
    assert read_run_config(tmp_path, [change]) != read_run_config(tmp_path)


def test_every_exception_is_a_setting() -> None:
    """A misspelt exception would refuse what is harmless; what has no exception is refused, new settings too."""
    for key in {*FREE, *GROWING, LAST_STAGE}:
        assert any(_has(kind, key) for kind in (Experiment, AnomalyExperiment)), key


def _has(kind: type, key: str) -> bool:
    schema = kind.model_json_schema()
    found = [schema]
    for name in key.split("."):
        steps = [one["properties"][name] for one in found if name in one.get("properties", {})]
        parts = [part for step in steps for part in (step, *step.get("anyOf", ()), *step.get("oneOf", ()))]
        found = [schema["$defs"][part["$ref"].rsplit("/", 1)[-1]] if "$ref" in part else part for part in parts]
        nested = [option for one in found for option in (*one.get("anyOf", ()), *one.get("oneOf", ()))]
        found += [schema["$defs"][one["$ref"].rsplit("/", 1)[-1]] for one in nested if "$ref" in one]
    return bool(found)


def test_a_refused_resume_leaves_the_folder_as_it_was(tmp_path: Path, head_ct: Path, tiny_run: Path) -> None:
    """Also where the settings come from Python and not from the folder."""
    shutil.copytree(tiny_run, tmp_path / "run")
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir() if path.is_file()}
    with pytest.raises(ConfigError, match=r"begun with training\.learning_rate: 0\.003, .* now it is 0\.1"):
        train(make_experiment(tmp_path, head_ct, "training.learning_rate=0.1"), tmp_path / "run", resume=True)
    assert {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir() if path.is_file()} == before


def test_a_joint_stage_added_later_ends_as_one_that_was_there_from_the_start(tmp_path: Path, head_ct: Path) -> None:
    options = ["training.mode=two-stage", "training.epochs=1"]
    joint = "joint_stage={epochs: 1, batch_size: 2, learning_rate: 0.01}"
    train(make_experiment(tmp_path, head_ct, *options, joint), tmp_path / "whole")
    train(make_experiment(tmp_path, head_ct, *options), tmp_path / "run")
    train(read_run_config(tmp_path / "run", [joint]), tmp_path / "run", resume=True)
    for name in ("joint_checkpoint.safetensors", "model.safetensors"):
        first, second = (load_file(tmp_path / run / name) for run in ("whole", "run"))
        assert first.keys() == second.keys()
        assert all(bool((second[key] == value).all()) for key, value in first.items())


def test_weights_may_lie_elsewhere_but_not_be_others(tmp_path: Path, head_ct: Path, tiny_run: Path) -> None:
    """A frozen encoder would embed otherwise than the sequence model has learnt to read."""
    source, moved, run = tmp_path / "source", tmp_path / "moved", tmp_path / "run"
    shutil.copytree(tiny_run, source)
    options = ["training.mode=two-stage", "training.epochs=1"]
    train(make_experiment(tmp_path, head_ct, *options, f"network.encoder.weights={source}"), run)
    assert len(json.loads((run / "start.json").read_text())["weights_sha256"]) == 64
    source.rename(moved)
    elsewhere = f"network.encoder.weights={moved}"
    train(read_run_config(run, [elsewhere]), run, resume=True)
    shutil.rmtree(moved)
    train(make_experiment(tmp_path, head_ct, "seed=9", "training.epochs=1"), moved)
    with pytest.raises(ConfigError, match=r"did not start from the weights that network\.encoder\.weights: .*moved"):
        train(read_run_config(run, [elsewhere]), run, resume=True)
    with pytest.raises(ConfigError, match="did not start from"):
        train(read_run_config(run, ["network.encoder.weights=null"]), run, resume=True)


@pytest.mark.parametrize(("name", "content"), [("split.json", "{"), ("start.json", "x"), ("start.json", "{}"),
                                               ("start.json", "[]"), ("config.yaml", "name: [")])  # fmt: skip
def test_a_damaged_record_is_told(tmp_path: Path, tiny_run: Path, name: str, content: str) -> None:
    shutil.copytree(tiny_run, tmp_path / "run")
    experiment = read_run_config(tmp_path / "run")
    (tmp_path / "run" / name).write_text(content)
    with pytest.raises(ConfigError, match=re.escape(name)):
        train(experiment, tmp_path / "run", resume=True)


def test_two_processes_never_train_into_one_folder(
    tmp_path: Path, head_ct: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_folder, "GRACE_S", 0.2)
    experiment = make_experiment(tmp_path, head_ct, "training.epochs=1")
    run = tmp_path / "run"
    run.mkdir()
    with run_folder.hold_run(run):
        for resume in (False, True):
            with pytest.raises(OutputError, match="Another process is training"):
                train(experiment, run, resume=resume)
    assert not list(run.iterdir())
    train(experiment, run)
