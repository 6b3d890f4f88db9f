"""The method that learns from labelled frames: what it finds, and that no other method sees what it is shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file

from seriatim.errors import InputError, ModelError
from seriatim.experiment import AnomalyExperiment, read_experiment
from seriatim.explanation import explain
from seriatim.models.detectors import SupervisedSettings
from seriatim.scoring import score
from seriatim.scoring.watch import Watcher
from seriatim.series.batch import IGNORE
from seriatim.tasks.metrics import roc_auc
from seriatim.trained.anomaly import load_anomaly_model
from seriatim.training import train
from seriatim.training.detector_stage import DetectorStage
from tiny_runs import CommandLine, read_rows, write_rows

FRAMES = 20
SUPERVISED: dict[str, Any] = {"kind": "supervised", "epochs": 25, "hidden": 12, "learning_rate": 0.01, "dropout": 0.0}


def draw_clip(seed: int, *, odd: bool) -> tuple[np.ndarray, np.ndarray]:
    """(20,32,32) noise in which a corner lights up for single frames, and in odd clips once for four in a row.

    Only the frames around a bright one tell whether it is abnormal.
    """
    rng = np.random.default_rng(seed)
    bright, abnormal = np.zeros(FRAMES, dtype=bool), np.zeros(FRAMES, dtype=bool)
    bright[1::4] = True
    if odd:
        start = int(rng.integers(4, 12))
        bright[start - 2 : start + 6] = False
        abnormal[start : start + 4] = bright[start : start + 4] = True
    clip = 90 + rng.normal(0, 6, (FRAMES, 32, 32))
    clip[bright, :14, :14] += 120
    return np.asarray(np.clip(clip, 0, 255), dtype=np.uint8), abnormal


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of 8 clips to learn from, 5 to validate with and 4 to test, the odd-numbered ones hold an abnormal stretch."""
    folder = tmp_path_factory.mktemp("clips")
    rows, slices = [], []
    for number in range(17):
        frames, abnormal = draw_clip(number, odd=bool(number % 2))
        name, split = f"clip{number:02}", "train" if number < 8 else "val" if number < 13 else "test"
        (folder / name).mkdir()
        for index, frame in enumerate(frames):
            Image.fromarray(frame).save(folder / name / f"{index:03}.png")
        rows.append({"path": name, "patient": f"p{number}", "long": int(abnormal.any()), "split": split})
        slices += [{"path": name, "index": index, "long": int(flag)} for index, flag in enumerate(abnormal)]
    write_rows(folder / "labels.csv", rows)
    write_rows(folder / "slices.csv", slices)
    return folder


def make_experiment(folder: Path, clips: Path, methods: list[dict[str, Any]], *overrides: str) -> AnomalyExperiment:
    path = folder / "anomaly.yaml"
    path.write_text(yaml.safe_dump({
        "name": "long_lights",
        "data": {"manifest": str(clips / "labels.csv"), "slice_labels": str(clips / "slices.csv"),
                 "near_duplicates": "ignore"},
        "preprocessing": {"kind": "intensity", "size": 32},
        "network": {"encoder": {"kind": "small_cnn", "widths": [4, 8]}},
        "task": {"kind": "anomaly", "label": "long", "methods": methods},
        "training": {"accelerator": "cpu", "batch_size": 2},
    }))
    experiment = read_experiment(path, overrides)
    assert isinstance(experiment, AnomalyExperiment)
    return experiment


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, clips: Path) -> Path:
    folder = tmp_path_factory.mktemp("run")
    train(make_experiment(folder, clips, [{"kind": "gaussian"}, SUPERVISED]), folder / "run")
    return folder / "run"


def test_frames_of_new_clips_are_told_as_the_labels_taught(tmp_path: Path, clips: Path, run: Path) -> None:
    score(clips, model=run, output=tmp_path, device="cpu")
    truth = {(row["path"], row["index"]): int(row["long"]) for row in read_rows(clips / "slices.csv")}
    paths = {row["series_uid"]: Path(row["path"]).name for row in read_rows(tmp_path / "scores.csv")}
    tested = [row for row in read_rows(tmp_path / "slices.csv") if paths[row["series_uid"]] >= "clip13"]
    labels = np.array([truth[paths[row["series_uid"]], row["index"]] for row in tested])
    assert labels.sum() == 8
    by = {name: roc_auc(labels, np.array([float(row[name]) for row in tested]))
          for name in ("surprise_supervised", "surprise_gaussian", "score_long")}
    assert by["surprise_supervised"] > 0.97
    assert by["score_long"] > by["surprise_gaussian"]
    odd = {paths[row["series_uid"]] for row in read_rows(tmp_path / "events.csv")}
    assert {"clip13", "clip15"} <= odd


def test_only_this_method_learns_from_what_is_abnormal(tmp_path: Path, clips: Path, run: Path) -> None:
    """The others learn the same bits without it, and where the abnormal series are not there at all."""
    rows = [row for row in read_rows(clips / "labels.csv") if row["long"] == "0"]
    manifest = write_rows(clips / "normal.csv", rows)
    methods = [{"kind": "gaussian"}]
    train(make_experiment(tmp_path, clips, methods, f"data.manifest={manifest}"), tmp_path / "normal")
    first, second = load_file(run / "model.safetensors"), load_file(tmp_path / "normal" / "model.safetensors")
    names = [name for name in second if name.startswith("detectors.0.")]
    assert names
    assert all(first[name].equal(second[name]) for name in names)


def test_a_frame_labelled_abnormal_makes_its_series_unfit_for_the_others(tmp_path: Path, clips: Path) -> None:
    """Also where no column, or a wrong one, says so of the series."""
    experiment = make_experiment(tmp_path, clips, [{"kind": "gaussian"}], "task.label=null", "task.slice_label=long")
    train(experiment, tmp_path / "unlabelled")
    methods = [{"kind": "gaussian"}]
    train(make_experiment(tmp_path, clips, methods), tmp_path / "labelled")
    first, second = (load_file(tmp_path / name / "model.safetensors") for name in ("unlabelled", "labelled"))
    assert all(first[name].equal(second[name]) for name in second)


def test_too_few_labels_are_told(tmp_path: Path, clips: Path) -> None:
    with pytest.raises(InputError, match="train has no abnormal one"):
        train(make_experiment(tmp_path, clips, [SUPERVISED], "data.slice_labels=null"), tmp_path / "run")
    assert not (tmp_path / "run" / "config.yaml").exists()


def test_frames_without_a_label_teach_nothing() -> None:
    detector = SupervisedSettings(hidden=3, dropout=0.0).build(4)
    inputs, mask = torch.randn(2, 5, 4), torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
    labels = torch.tensor([[0.0, 1.0, IGNORE, 0.0, IGNORE], [1.0, 0.0, IGNORE, 0.0, 0.0]])
    whole = detector.loss(inputs, labels, mask)
    logits = detector(inputs, mask)
    known = torch.tensor([[1, 1, 0, 1, 0], [1, 1, 0, 0, 0]], dtype=torch.bool)
    expected = torch.nn.functional.binary_cross_entropy_with_logits(logits[known], labels[known])
    torch.testing.assert_close(whole, expected)
    assert detector.loss(inputs, torch.full_like(labels, IGNORE), mask).item() == 0


def test_it_cannot_watch_and_says_why(run: Path) -> None:
    with pytest.raises(ModelError, match=r"supervised reads the frames after each.*Train without it"):
        Watcher(load_anomaly_model(run))


def test_explain_and_evaluate_take_it_like_any_other(
    tmp_path: Path, clips: Path, run: Path, seriatim_command: CommandLine
) -> None:
    explain(clips / "clip13", model=run, output=tmp_path / "pictures")
    assert "surprise_supervised" in read_rows(next((tmp_path / "pictures").glob("[0-9]*.csv")))[0]
    score(clips, model=run, output=tmp_path / "scores", device="cpu")
    done = seriatim_command("evaluate", tmp_path / "scores", "--labels", clips / "labels.csv", "--slices",
                            clips / "slices.csv", "--output", tmp_path / "evaluation")
    assert done.code == 0, done.err
    measures = {row["metric"]: row for row in read_rows(tmp_path / "evaluation" / "evaluation.csv")}
    assert {"frame_auc", "event_recall"} <= set(measures)


def test_a_stop_changes_nothing(tmp_path: Path, clips: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    short, whole, count = {**SUPERVISED, "epochs": 4, "dropout": 0.3}, DetectorStage.train_epoch, 0
    experiment = make_experiment(tmp_path, clips, [short], "training.max_slices=7")
    train(experiment, tmp_path / "straight")

    def stop_later(self: DetectorStage, *arguments: Any) -> dict[str, float]:
        nonlocal count
        count += 1
        if count == 3:
            raise KeyboardInterrupt
        return whole(self, *arguments)

    monkeypatch.setattr(DetectorStage, "train_epoch", stop_later)
    with pytest.raises(KeyboardInterrupt):
        train(experiment, tmp_path / "stopped")
    monkeypatch.setattr(DetectorStage, "train_epoch", whole)
    train(experiment, tmp_path / "stopped", resume=True)
    first, second = (load_file(tmp_path / name / "model.safetensors") for name in ("straight", "stopped"))
    assert all(first[name].equal(second[name]) for name in first)
