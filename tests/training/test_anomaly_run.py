"""Anomaly runs from clips to run folder, and from run folder to scores and events."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file, save_file

from seriatim.errors import ConfigError, InputError, ModelError
from seriatim.experiment import AnomalyExperiment, Experiment, read_experiment
from seriatim.io import find_series, read_volume
from seriatim.scoring import score
from seriatim.settings import apply_overrides
from seriatim.synth.planted import plant
from seriatim.trained import load_model, load_scorer
from seriatim.trained.anomaly import AnomalyModel, load_anomaly_model
from seriatim.training import anomaly_run, train
from tiny_runs import CommandLine, read_rows, write_rows

FRAMES = 24
METHODS: list[dict[str, Any]] = [
    {"kind": "cloze", "epochs": 30, "hidden": 8, "components": 4, "dropout": 0.0, "learning_rate": 0.01},
    {"kind": "causal", "epochs": 2, "hidden": 8, "components": 6},
    {"kind": "gaussian"},
    {"kind": "memory", "size": 40},
    {"kind": "future", "epochs": 2, "size": 16, "channels": 4},
]


def draw_clip(seed: int) -> np.ndarray:
    """(24,32,32) a disc that swells and brightens, and shrinks and dims, at one pace."""
    rng = np.random.default_rng(seed)
    wave = np.sin(rng.uniform(0, 6.28) + 0.45 * np.arange(FRAMES))[:, None, None]
    rows, columns = np.mgrid[:32, :32]
    inside = np.hypot(rows - rng.uniform(14, 18), columns - rng.uniform(14, 18)) < 8 + 4 * wave
    clip = 60 + (120 + 50 * wave) * inside + rng.normal(0, 3, (FRAMES, 32, 32))
    return np.asarray(np.clip(clip, 0, 255), dtype=np.uint8)


def write_clip(folder: Path, frames: np.ndarray) -> None:
    folder.mkdir(parents=True)
    for number, frame in enumerate(frames):
        Image.fromarray(frame).save(folder / f"{number:03}.png")


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve normal clips, and two in val and two in test with frames swapped; all frames are labelled."""
    folder = tmp_path_factory.mktemp("clips")
    rows, slices = [], []
    for number in range(16):
        split = "train" if number < 7 else "val" if number < 12 else "test"
        frames, abnormal = draw_clip(number), np.zeros(FRAMES, dtype=bool)
        if number in (10, 11, 14, 15):
            planted = plant(frames, "swapped", np.random.default_rng(number))
            frames, abnormal = planted.frames, planted.abnormal
        name = f"clip{number:02}"
        write_clip(folder / name, frames)
        kind = "odd" if abnormal.any() else "calm"
        rows.append({"path": name, "patient": f"p{number}", "kind": kind, "split": split})
        slices += [{"path": name, "index": index, "odd": int(flag)} for index, flag in enumerate(abnormal)]
    write_rows(folder / "labels.csv", rows)
    write_rows(folder / "slices.csv", slices)
    return folder


def make_config(folder: Path, clips: Path, *overrides: str) -> Path:
    content = {
        "name": "odd_frames",
        "data": {"manifest": str(clips / "labels.csv"), "slice_labels": str(clips / "slices.csv")},
        "preprocessing": {"kind": "intensity", "size": 32},
        "network": {"encoder": {"kind": "small_cnn", "widths": [8, 16]}},
        "task": {"kind": "anomaly", "label": "kind", "normal": ["calm"], "slice_label": "odd", "methods": METHODS},
        "training": {"accelerator": "cpu"},
    }
    path = folder / "anomaly.yaml"
    path.write_text(yaml.safe_dump(apply_overrides(content, overrides)))
    return path


def make_experiment(folder: Path, clips: Path, *overrides: str) -> AnomalyExperiment:
    experiment = read_experiment(make_config(folder, clips, *overrides))
    assert isinstance(experiment, AnomalyExperiment)
    return experiment


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, clips: Path) -> Path:
    folder = tmp_path_factory.mktemp("run")
    train(make_experiment(folder, clips), folder / "run")
    write_clip(folder / "whole", draw_clip(70))
    return folder / "run"


@pytest.fixture(scope="module")
def scores(tmp_path_factory: pytest.TempPathFactory, clips: Path, run: Path) -> Path:
    folder = tmp_path_factory.mktemp("scores")
    score(clips, model=run, output=folder, device="cpu")
    return folder


def test_swapped_frames_are_found_in_clips_never_seen(clips: Path, scores: Path) -> None:
    truth = {(row["path"], int(row["index"])): row["odd"] == "1" for row in read_rows(clips / "slices.csv")}
    paths = {row["series_uid"]: Path(row["path"]).name for row in read_rows(scores / "scores.csv")}
    rows = [row for row in read_rows(scores / "slices.csv") if paths[row["series_uid"]] in ("clip14", "clip15")]
    odd = [truth[paths[row["series_uid"]], int(row["index"])] for row in rows]
    surprise = np.array([float(row["surprise_cloze"]) for row in rows])
    assert surprise[odd].mean() > 2 * surprise[~np.array(odd)].mean()
    levels = {paths[row["series_uid"]]: float(row["probability_kind"]) for row in read_rows(scores / "scores.csv")}
    assert min(levels["clip14"], levels["clip15"]) > max(levels["clip12"], levels["clip13"])


def test_methods_of_single_frames_cannot_see_their_order_and_the_others_do(run: Path) -> None:
    model = load_anomaly_model(run)
    slices = model.prepare(read_volume(find_series(run.parent / "whole").series[0]))
    order = np.arange(FRAMES)
    order[[8, 15]] = order[[15, 8]]
    as_is, swapped = (
        {name: values.numpy() for one in model.examine(frames) for name, values in one.parts.items()}
        for frames in (slices, slices[torch.from_numpy(order)])
    )
    for name in ("memory", "gaussian"):
        np.testing.assert_array_equal(swapped[name], as_is[name][order])
    for name in ("cloze", "causal", "future"):
        assert not np.array_equal(swapped[name][1:], as_is[name][order][1:])
    assert swapped["cloze"][[8, 15]].mean() > 1.5 * as_is["cloze"][[8, 15]].mean()


def test_the_tables_agree_with_each_other(scores: Path) -> None:
    series, frames = read_rows(scores / "scores.csv"), read_rows(scores / "slices.csv")
    events = read_rows(scores / "events.csv")
    assert len(series) == 16
    assert len(frames) == 16 * FRAMES
    for row in series:
        own = [frame for frame in frames if frame["series_uid"] == row["series_uid"]]
        mine = [event for event in events if event["series_uid"] == row["series_uid"]]
        assert (row["prediction"] == "1") == (float(row["probability_kind"]) >= 0.5) == bool(mine)
        assert int(row["events"]) == len(mine)
        assert sum(float(frame["attention"]) for frame in own) == pytest.approx(1)
        for event in mine:
            inside = [frame for frame in own if frame["event"] == event["event"]]
            first, last, peak = (int(event[f"{end}_index"]) for end in ("first", "last", "peak"))
            assert [int(frame["index"]) for frame in inside] == list(range(first, last + 1))
            assert own[peak]["score_kind"] == event["peak_score"]
            assert own[peak]["sop_instance_uid"] == event["peak_sop_instance_uid"]
            assert float(event["peak_score"]) >= 0.5
    assert events
    told = json.loads((scores / "run.json").read_text())["task"]
    assert (told["kind"], told["normal"], told["threshold_p_value"]) == ("anomaly", ["calm"], pytest.approx(0.01))


def test_what_validation_measured_is_what_scoring_gives(run: Path, scores: Path) -> None:
    given = {row["series_uid"]: row["probability_kind"] for row in read_rows(scores / "scores.csv")}
    kept = read_rows(run / "validation.csv")
    assert len(kept) == 5
    for row in kept:
        assert row["probability_kind"] == given[row["series_uid"]]
    measured = json.loads((run / "model.json").read_text())["validation"]
    assert {"auc", "frame_auc", "normal_frames_above", "new_normal_frames_above"} <= set(measured)


def test_its_card_tells_methods_and_threshold_and_asks_the_rest(run: Path, seriatim_command: CommandLine) -> None:
    card = (run / "card.md").read_text()
    settings = json.loads((run / "model.json").read_text())["experiment"]["task"]
    assert f"methods {', '.join(method['kind'] for method in settings['methods'])}" in card
    assert "normal frames" in next(line for line in card.splitlines() if "| output and thresholds |" in line)
    assert "Patients in two splits: 0." in card
    assert "**To answer** (`ethics`)" in card
    before = (run / "card.md").read_bytes()
    assert seriatim_command("card", run).code == 0
    assert (run / "card.md").read_bytes() == before


def test_a_run_that_was_stopped_ends_with_the_same_bits(
    tmp_path: Path, clips: Path, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from seriatim.training.detector_stage import DetectorStage

    whole, count = DetectorStage.train_epoch, 0

    def stop_later(self: DetectorStage, *arguments: Any) -> dict[str, float]:
        nonlocal count
        count += 1
        if count == 32:  # the second epoch of causal: cloze is done
            raise KeyboardInterrupt
        return whole(self, *arguments)

    experiment = make_experiment(tmp_path, clips)
    monkeypatch.setattr(DetectorStage, "train_epoch", stop_later)
    with pytest.raises(KeyboardInterrupt):
        train(experiment, tmp_path / "run")
    monkeypatch.setattr(DetectorStage, "train_epoch", whole)
    train(experiment, tmp_path / "run", resume=True)
    first, again = load_file(run / "model.safetensors"), load_file(tmp_path / "run" / "model.safetensors")
    assert set(first) == set(again)
    assert all(first[name].equal(again[name]) for name in first)
    assert json.loads((run / "model.json").read_text())["norms"] == json.loads(
        (tmp_path / "run" / "model.json").read_text())["norms"]


def test_a_clip_scores_the_same_alone_and_after_others(tmp_path: Path, clips: Path, run: Path, scores: Path) -> None:
    score(clips / "clip13", model=run, output=tmp_path / "alone", device="cpu")
    alone = read_rows(tmp_path / "alone" / "slices.csv")
    among = [row for row in read_rows(scores / "slices.csv") if row["series_uid"] == alone[0]["series_uid"]]
    assert alone == among


def test_what_is_too_short_is_refused_with_a_reason(tmp_path: Path, clips: Path, run: Path) -> None:
    write_clip(tmp_path / "in" / "one", draw_clip(50)[:1])
    write_clip(tmp_path / "in" / "two", draw_clip(51)[:2])
    score(tmp_path / "in", model=run, output=tmp_path / "out", device="cpu")
    found = {Path(row["path"]).name: row for row in read_rows(tmp_path / "out" / "scores.csv")}
    assert found["one"]["status"] == "refused"
    assert found["two"]["status"] == "scored"
    model = load_scorer(run)
    assert isinstance(model, AnomalyModel)
    assert model.network.fewest_frames == 2


def test_a_frozen_clip_is_told_by_its_motion(tmp_path: Path, clips: Path, run: Path) -> None:
    write_clip(tmp_path / "in" / "still", np.repeat(draw_clip(60)[:1], FRAMES, axis=0))
    score(tmp_path / "in", model=run, output=tmp_path / "out", device="cpu")
    rows = read_rows(tmp_path / "out" / "slices.csv")
    assert np.median([float(row["surprise_cloze_motion"]) for row in rows]) > 3


def test_commands_train_and_score_by_the_same_words(
    tmp_path: Path, clips: Path, seriatim_command: CommandLine
) -> None:
    config = make_config(tmp_path, clips, "task.methods=[{kind: gaussian}]")
    done = seriatim_command("train", config, "--output", tmp_path / "run")
    assert done.code == 0, done.err
    assert "frame_auc" in done.out
    model, output = tmp_path / "run", tmp_path / "out"
    scored = seriatim_command("score", clips, "--model", model, "--output", output, "--split", "test")
    assert scored.code == 0, scored.err
    assert len(read_rows(tmp_path / "out" / "scores.csv")) == 4


def test_models_of_two_kinds_are_never_mixed(tmp_path: Path, run: Path, tiny_run: Path) -> None:
    with pytest.raises(ModelError, match="is an anomaly model, and one of a diagnosis"):
        load_model(run)
    with pytest.raises(ModelError, match="model of a diagnosis"):
        load_anomaly_model(tiny_run)
    with pytest.raises(ModelError, match="scores alone"):
        load_scorer([run, tiny_run])


def test_an_encoder_that_has_learnt_from_test_series_is_refused(
    tmp_path: Path, clips: Path, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_rows(tmp_path / "source" / "manifest.csv",
                        [{**row, "split": "train"} for row in read_rows(run / "manifest.csv")]).parent
    monkeypatch.setattr(anomaly_run, "transfer_encoder", lambda *_: None)
    with pytest.raises(ConfigError, match=r"series of the val split were used in training .*source"):
        train(make_experiment(tmp_path, clips, f"network.encoder.weights={source}"), tmp_path / "run")


def test_too_little_that_is_normal_is_told(tmp_path: Path, clips: Path) -> None:
    with pytest.raises(InputError, match="train has 0 of at least 2 frames"):
        train(make_experiment(tmp_path, clips, "task.normal=[none]"), tmp_path / "run")
    with pytest.raises(ConfigError, match="set false_alarm_rate instead"):
        train(make_experiment(tmp_path, clips, "task.false_alarms_per_minute=1", "task.methods=[{kind: gaussian}]"),
              tmp_path / "other")


def test_a_setting_of_a_diagnosis_is_none_of_an_anomaly_run(tmp_path: Path, clips: Path) -> None:
    with pytest.raises(ConfigError, match="pooling"):
        make_experiment(tmp_path, clips, "network.pooling={kind: mean}")
    with pytest.raises(ConfigError, match=r"task\.kind"):
        Experiment.read(make_config(tmp_path, clips))


def test_what_is_not_a_number_is_never_taken_for_normal(tmp_path: Path, clips: Path, run: Path) -> None:
    model = load_anomaly_model(run)
    with pytest.raises(ModelError, match="BAD_VALUE"):
        model.examine(torch.full((4, 1, 32, 32), torch.nan))
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    weights = load_file(copy / "model.safetensors")
    weights["detectors.0.head.0.bias"][0] = torch.nan
    save_file(weights, copy / "model.safetensors")
    description = json.loads((copy / "model.json").read_text())
    description["weights_sha256"] = hashlib.sha256((copy / "model.safetensors").read_bytes()).hexdigest()
    (copy / "model.json").write_text(json.dumps(description))
    with pytest.raises(ModelError, match=r"not a number, first in detectors\.0\.head\.0\.bias"):
        load_anomaly_model(copy)
