"""A run that was stopped and resumed ends exactly as one that was not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from seriatim.errors import ConfigError, ModelError, OutputError
from seriatim.training import epochs, loop, read_run_config, train
from tiny_runs import make_experiment, read_rows, write_rows

EPOCHS = 4
OPTIONS = (
    f"training.epochs={EPOCHS}", "training.max_slices=12", "network.dropout=0.3",
    "network.temporal={kind: lstm, hidden: 8, layers: 2, dropout: 0.2}",
)  # fmt: skip
MODES = {
    "end-to-end": [
        "augmentation={rotate_degrees: 20, translate: 0.1, flip_left_right: true, noise: 5, intensity_shift: 4}",
        "training.accumulate=2",
    ],
    "two-stage": ["training.mode=two-stage"],
    "mixed": [
        "training.mode=two-stage", "training.mixup=0.4", "training.slice_dropout=0.3", "training.reverse_order=0.5",
    ],
}
PLACES = ("in a step", "before the checkpoint", "between epochs", "in the first epoch")
QUICK = {
    *(("end-to-end", where) for where in PLACES),
    ("two-stage", "in a step"), ("two-stage", "before the checkpoint"), ("mixed", "in a step"),
}  # fmt: skip
"""Every place to break end-to-end training at, and of the other modes those that leave the most behind; the rest, which
go the same way through the same code, are slow."""


class CrashError(BaseException):
    """Stands for the power cut: nothing may catch it."""


def break_step(monkeypatch: pytest.MonkeyPatch, *, after: int) -> None:
    """Crash in the middle of an epoch, ``after`` steps from now."""
    original, made = loop._step, []

    def step(*arguments: object, **options: object) -> dict[str, float]:
        if len(made) == after:
            raise CrashError
        made.append(None)
        return original(*arguments, **options)

    monkeypatch.setattr(loop, "_step", step)


def break_save(monkeypatch: pytest.MonkeyPatch, *, epoch: int) -> None:
    """Crash when an epoch's metrics and best weights are written and its checkpoint is not."""
    original = epochs.save_checkpoint

    def save(path: Path, **values: object) -> None:
        if values["progress"].epoch == epoch:
            raise CrashError
        original(path, **values)

    monkeypatch.setattr(epochs, "save_checkpoint", save)


def steps_of(experiment: object, data: Path) -> int:
    count = sum(row["split"] == "train" for row in read_rows(data / "labels.csv"))
    return -(-count // (experiment.training.batch_size * experiment.training.accumulate))


def metrics_of(run: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


def assert_same_end(one: Path, other: Path) -> None:
    for name in ("model.safetensors", "validation.csv", "manifest.csv", "split.json"):
        assert (one / name).read_bytes() == (other / name).read_bytes(), name
    assert metrics_of(one) == metrics_of(other)
    from safetensors.torch import load_file

    first, second = (load_file(run / "checkpoint.safetensors") for run in (one, other))
    assert first.keys() == second.keys()
    for name, tensor in first.items():  # weights of the last epoch and the optimizer's moments
        assert bool((second[name] == tensor).all()), name


@pytest.fixture(scope="module")
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, head_ct: Path) -> tuple[Path, list]:
    """A run without a break, and its overrides."""
    folder = tmp_path_factory.mktemp("whole")
    overrides = [*OPTIONS, *MODES[request.param]]
    train(make_experiment(folder, head_ct, *overrides), folder / "run")
    return folder / "run", overrides


@pytest.mark.parametrize(
    ("whole", "where"),
    [
        pytest.param(mode, where, marks=() if (mode, where) in QUICK else pytest.mark.slow)
        for mode in MODES
        for where in PLACES
    ],
    indirect=["whole"],
    scope="module",  # else each makes its own
)
def test_resume_equals_uninterrupted(
    tmp_path: Path, head_ct: Path, whole: tuple[Path, list], monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    run, overrides = whole
    experiment = make_experiment(tmp_path, head_ct, *overrides)
    with monkeypatch.context() as broken:
        if where == "before the checkpoint":
            break_save(broken, epoch=3)
        else:
            steps = steps_of(experiment, head_ct)
            break_step(broken, after={"in a step": 2 * steps + 1, "between epochs": 2 * steps}.get(where, 1))
        with pytest.raises(CrashError):
            train(experiment, tmp_path / "run")
    assert len(metrics_of(tmp_path / "run")) < EPOCHS
    train(read_run_config(tmp_path / "run"), tmp_path / "run", resume=True)
    assert_same_end(run, tmp_path / "run")


@pytest.mark.parametrize(
    "whole",
    [pytest.param(mode, marks=() if mode == "end-to-end" else pytest.mark.slow) for mode in MODES],
    indirect=True,
)
def test_a_run_broken_twice_still_ends_the_same(
    tmp_path: Path, head_ct: Path, whole: tuple[Path, list], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, overrides = whole
    experiment = make_experiment(tmp_path, head_ct, *overrides)
    steps = steps_of(experiment, head_ct)
    for resume, after in ((False, steps + 1), (True, 2 * steps - 1)):
        with monkeypatch.context() as broken:
            break_step(broken, after=after)
            with pytest.raises(CrashError):
                train(experiment, tmp_path / "run", resume=resume)
    train(experiment, tmp_path / "run", resume=True)
    assert_same_end(run, tmp_path / "run")


def test_resuming_a_finished_run_changes_nothing(tmp_path: Path, tiny_run: Path) -> None:
    shutil.copytree(tiny_run, tmp_path / "run")
    train(read_run_config(tmp_path / "run"), tmp_path / "run", resume=True)
    assert_same_end(tiny_run, tmp_path / "run")


def test_a_finished_run_goes_on_when_given_more_epochs(tmp_path: Path, tiny_run: Path) -> None:
    shutil.copytree(tiny_run, tmp_path / "run")
    summary = train(read_run_config(tmp_path / "run", ["training.epochs=3"]), tmp_path / "run", resume=True)
    assert summary["epochs"] == 3
    assert [line["epoch"] for line in metrics_of(tmp_path / "run")] == [1, 2, 3]


@pytest.mark.parametrize("change", ["nothing", "label", "split", "fewer rows", "slice label"])
def test_changed_data_is_refused(tmp_path: Path, head_ct: Path, tiny_run: Path, change: str) -> None:
    rows, slices = read_rows(head_ct / "labels.csv"), read_rows(head_ct / "slices.csv")
    for row in rows:
        row["path"] = str(head_ct / row["path"])
    if change == "label":
        rows[0]["bleed"] = str(1 - int(rows[0]["bleed"]))
    elif change == "split":
        rows[0]["split"] = "test"
    elif change == "fewer rows":
        rows.pop(0)
    elif change == "slice label":
        slices[0]["bleed"] = str(1 - int(slices[0]["bleed"]))
    manifest, table = write_rows(tmp_path / "m.csv", rows), write_rows(tmp_path / "s.csv", slices)
    experiment = make_experiment(tmp_path, head_ct, f"data.manifest={manifest}", f"data.slice_labels={table}")
    run = tmp_path / "run"
    shutil.copytree(tiny_run, run)
    if change == "nothing":  # the same data under another path is the same data
        train(experiment, run, resume=True)
        return
    before = {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()}
    with pytest.raises(ConfigError, match="changed since"):
        train(experiment, run, resume=True)
    assert {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()} == before


def test_a_damaged_checkpoint_is_refused(tmp_path: Path, tiny_run: Path) -> None:
    shutil.copytree(tiny_run, tmp_path / "run")
    checkpoint = tmp_path / "run" / "checkpoint.safetensors"
    checkpoint.write_bytes(checkpoint.read_bytes()[:-100])
    with pytest.raises(ModelError, match="no usable checkpoint"):
        train(read_run_config(tmp_path / "run"), tmp_path / "run", resume=True)


def test_a_run_is_never_overwritten(tmp_path: Path, head_ct: Path, tiny_run: Path) -> None:
    before = (tiny_run / "model.safetensors").read_bytes()
    with pytest.raises(OutputError, match="not empty"):
        train(make_experiment(tmp_path, head_ct), tiny_run)
    assert (tiny_run / "model.safetensors").read_bytes() == before
    with pytest.raises(ConfigError, match="not a run to resume"):
        read_run_config(tmp_path / "nothing")
