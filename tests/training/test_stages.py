"""The stages of one run: encoder, sequence model, both together; each goes on after a stop and is kept at its best."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file

from seriatim.training import epochs, loop, read_run_config, train
from seriatim.training.epochs import Stage
from tiny_runs import make_experiment, read_rows, write_config

STAGES = (
    "encoder_stage={epochs: 2, batch_size: 8, learning_rate: 0.003}",
    "training.mode=two-stage", "network.dropout=0.2",
    "joint_stage={epochs: 2, batch_size: 2, learning_rate: 0.002}",
)  # fmt: skip
JOINT = STAGES[1:]


class CrashError(BaseException):
    """Stands for the power cut: nothing may catch it."""


def lines_of(run: Path, stage: str) -> list[dict[str, float]]:
    name = f"{stage}_metrics.jsonl" if stage else "metrics.jsonl"
    lines = [json.loads(line) for line in (run / name).read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


def assert_same_end(one: Path, other: Path) -> None:
    for name in ("model.safetensors", "encoder.safetensors", "validation.csv"):
        assert (one / name).read_bytes() == (other / name).read_bytes(), name
    for stage in ("encoder", "", "joint"):
        assert lines_of(one, stage) == lines_of(other, stage)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, head_ct: Path) -> Path:
    """The run folder of all stages, without a break."""
    folder = tmp_path_factory.mktemp("whole")
    train(make_experiment(folder, head_ct, *STAGES), folder / "run")
    return folder / "run"


def test_every_stage_leaves_its_log_and_the_next_begins_where_it_ended(whole: Path) -> None:
    assert [line["epoch"] for line in lines_of(whole, "encoder")] == [1, 2]
    assert [line["epoch"] for line in lines_of(whole, "")] == [1, 2]
    assert [line["epoch"] for line in lines_of(whole, "joint")] == [0, 1, 2]
    encoder, sequence, model = (
        load_file(whole / f"{name}.safetensors") for name in ("encoder", "best", "model")
    )
    for name, tensor in encoder.items():  # two-stage: training leaves the encoder alone
        assert bool((sequence[f"encoder.{name}"] == tensor).all()), name
    best = max(lines_of(whole, "joint"), key=lambda line: (line["val_auc"], -line["val_log_loss"]))
    changed = any(bool((model[name] != tensor).any()) for name, tensor in sequence.items())
    assert changed == (best["epoch"] > 0)
    start, kept = lines_of(whole, "joint")[0], max(lines_of(whole, ""), key=lambda line: -line["val_log_loss"])
    assert (start["val_auc"], start["val_log_loss"]) in [
        (line["val_auc"], line["val_log_loss"]) for line in lines_of(whole, "")
    ], kept


@pytest.mark.parametrize(("ranks", "expected"), [([0.5, 0.9, 0.8, 0.7], 0), ([0.5, 0.6, 0.8, 0.7, 0.9], 2)])
def test_a_joint_stage_never_ends_worse_than_it_began(
    tmp_path: Path, head_ct: Path, monkeypatch: pytest.MonkeyPatch, ranks: list[float], expected: int
) -> None:
    given = iter([ranks[0], ranks[1], *ranks[1:]])  # two epochs of training, then the start, then the joint ones
    states: list[dict] = []

    def rank(*_: object) -> list[float]:
        return [next(given)]

    original = loop.SequenceStage.validate

    def validate(stage: loop.SequenceStage) -> dict[str, float]:
        states.append({name: value.clone() for name, value in stage.session.network.state_dict().items()})
        return original(stage)

    monkeypatch.setattr(loop, "rank_epoch", rank)
    monkeypatch.setattr(loop.SequenceStage, "validate", validate)
    joint_epochs = len(ranks) - 2
    options = [*JOINT, f"joint_stage.epochs={joint_epochs}"]
    summary = train(make_experiment(tmp_path, head_ct, *options), tmp_path / "run")
    assert summary["joint_best_epoch"] == (joint_epochs if expected else 0)
    kept = load_file(tmp_path / "run" / "model.safetensors")
    right = states[2 + summary["joint_best_epoch"]]
    assert all(bool((kept[name] == tensor).all()) for name, tensor in right.items())


def test_the_joint_stage_changes_the_encoder_and_not_its_statistics(tmp_path: Path, head_ct: Path) -> None:
    encoder = "network.encoder={kind: torchvision, name: shufflenet_v2_x0_5, freeze: all}"
    options = [*JOINT, encoder, "joint_stage.epochs=1", "joint_stage.max_slices=4"]
    train(make_experiment(tmp_path, head_ct, *options), tmp_path / "run")
    before = load_file(tmp_path / "run" / "best.safetensors")
    after = load_file(tmp_path / "run" / "joint_checkpoint.safetensors")
    for name, tensor in before.items():
        if name.startswith("encoder."):
            same = bool((after[f"weights.{name}"] == tensor).all())
            assert same == (".running_" in name or "num_batches" in name or name in ("encoder.mean", "encoder.std")), (
                name
            )


@pytest.mark.parametrize("where", ["joint step", "joint checkpoint", "start of joint", "first epoch of encoder"])
def test_a_stop_in_any_stage_changes_nothing(
    whole: Path, tmp_path: Path, head_ct: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    run = tmp_path / "run"
    with monkeypatch.context() as broken:
        break_at(broken, where)
        with pytest.raises(CrashError):
            train(make_experiment(tmp_path, head_ct, *STAGES), run)
    train(read_run_config(run), run, resume=True)
    assert_same_end(whole, run)


def break_at(broken: pytest.MonkeyPatch, where: str) -> None:
    step, save, validate = loop._step, epochs.save_checkpoint, loop.SequenceStage.validate
    made: list[int] = []

    def broken_step(stage: Stage, *arguments: object, **options: object) -> dict[str, float]:
        made.extend([1] if stage.name == "joint" else [])
        if len(made) > 2:
            raise CrashError
        return step(stage, *arguments, **options)

    def broken_save(path: Path, **values: object) -> None:
        if path.name.startswith("joint") or where == "first epoch of encoder":
            raise CrashError
        save(path, **values)

    def broken_validate(stage: loop.SequenceStage) -> dict[str, float]:
        if stage.name == "joint":
            raise CrashError
        return validate(stage)

    if where == "joint step":
        broken.setattr(loop, "_step", broken_step)
    elif where == "start of joint":
        broken.setattr(loop.SequenceStage, "validate", broken_validate)
    else:
        broken.setattr(epochs, "save_checkpoint", broken_save)


def test_more_epochs_before_it_begin_the_joint_stage_anew(tmp_path: Path, head_ct: Path) -> None:
    run = tmp_path / "run"
    options = [*JOINT, "joint_stage.epochs=1", "training.epochs=1", "training.schedule=constant"]
    train(make_experiment(tmp_path, head_ct, *options), run)
    first = json.loads((run / "joint_metrics.jsonl").read_text().splitlines()[0])
    train(read_run_config(run, ["training.epochs=8"]), run, resume=True)
    again = json.loads((run / "joint_metrics.jsonl").read_text().splitlines()[0])
    assert json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])["epoch"] > 1
    assert (first["epoch"], again["epoch"]) == (0, 0)
    assert again["val_log_loss"] != first["val_log_loss"]


@pytest.mark.slow
def test_killed_at_random_points_it_ends_the_same(whole: Path, tmp_path: Path, head_ct: Path) -> None:
    config, run = write_config(tmp_path, head_ct, *STAGES), tmp_path / "run"
    command = [sys.executable, "-m", "seriatim", "train"]
    started = time.monotonic()
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    for kill_after in (None, 1.2, 0.4, 0.8, 0.2, 1.6, 0.6):
        goes_on = (run / "config.yaml").is_file()
        arguments = ["--resume", run] if goes_on else [config, "--output", run]
        with subprocess.Popen([*command, *arguments], env=environment, stderr=subprocess.DEVNULL) as process:
            watched = run / ("metrics.jsonl" if kill_after is None else "config.yaml")
            while not watched.is_file() and process.poll() is None and time.monotonic() - started < 200:
                time.sleep(0.01)
            time.sleep(kill_after or 0)
            process.send_signal(signal.SIGKILL)
    done = subprocess.run([*command, "--resume", run], env=environment, capture_output=True, check=False, text=True)
    assert done.returncode == 0, done.stderr
    assert_same_end(whole, run)
    assert len(read_rows(run / "validation.csv")) > 0
