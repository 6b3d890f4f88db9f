"""Frames and events of anomaly scores against their truth: scikit-learn for frames, events made by hand."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sklearn.metrics

from seriatim.errors import ConfigError
from seriatim.evaluation import EvaluationSettings, evaluate
from tiny_runs import write_rows

FRAMES = 20
STEP_S = 0.5
ABNORMAL = {0: [(5, 10)], 1: [(2, 6), (12, 18)], 2: [], 3: []}
FOUND = {0: [(6, 10)], 1: [(3, 5), (8, 10)], 2: [(0, 4)], 3: []}


def flags(spans: list[tuple[int, int]]) -> np.ndarray:
    told = np.zeros(FRAMES, dtype=int)
    for number, (start, stop) in enumerate(spans, start=1):
        told[start:stop] = number
    return told


def make_scores(folder: Path, *, timed: bool = True, normal: tuple[str, ...] = ("calm",)) -> np.ndarray:
    """Four scored clips, the first two abnormal; returns the frame scores (4,20)."""
    folder.mkdir(parents=True, exist_ok=True)
    task = {"kind": "anomaly", "target": "binary", "labels": ["kind"], "classes": ["kind"], "slice_labels": ["odd"],
            "normal": list(normal)}
    (folder / "run.json").write_text(json.dumps({"task": task, "thresholds": {"kind": 0.5}}))
    random = np.random.default_rng(0)
    values = np.stack([np.clip(0.3 + 0.2 * (flags(ABNORMAL[one]) > 0) + random.normal(0, 0.15, FRAMES), 0, 0.99)
                       for one in range(4)])
    rows: list[dict[str, Any]] = []
    frames: list[dict[str, Any]] = []
    for one, own in enumerate(values):
        rows.append({"study_uid": f"9.{one}", "series_uid": f"1.{one}", "path": f"clip{one}", "slices": FRAMES,
                     "status": "scored", "reason": "", "probability_kind": own.max(), "prediction": "1", "volume": "",
                     "split": "", "duration_s": STEP_S * FRAMES if timed else ""})
        frames += [{"series_uid": f"1.{one}", "sop_instance_uid": f"1.{one}.{index}", "index": index,
                    "position": index * STEP_S, "attention": 1 / FRAMES, "score_kind": float(score), "volume": "",
                    "frame": "", "study_uid": f"9.{one}", "event": event,
                    "surprise_cloze": 1 - score, "surprise_causal_motion": float(score) if index else ""}
                   for index, (score, event) in enumerate(zip(own, flags(FOUND[one]), strict=True))]
    write_rows(folder / "scores.csv", rows)
    write_rows(folder / "slices.csv", frames)
    return values


def write_truth(folder: Path, *, patients: list[str] | None = None, labelled: tuple[int, ...] = (0, 1, 2)) -> None:
    """Labels of the clips, and of the frames of those ``labelled``: clip 3 has none, and is normal as a whole."""
    whose = patients or [f"p{one}" for one in range(4)]
    write_rows(folder / "labels.csv", [{"path": f"out/clip{one}", "series_uid": f"1.{one}", "patient": whose[one],
                                        "kind": "odd" if one < 2 else "calm"} for one in range(4)])
    write_rows(folder / "truth.csv", [{"path": f"out/clip{one}", "index": index, "odd": int(flag > 0)}
                                      for one in labelled for index, flag in enumerate(flags(ABNORMAL[one]))])


def run(folder: Path, *, truth: bool = True, **options: Any) -> dict[str, Any]:
    settings = EvaluationSettings(labels=folder / "labels.csv", slices=folder / "truth.csv" if truth else None,
                                  **options)
    evaluate([folder / "out" / "scores.csv"], settings=settings, output=folder / "eval")
    found: dict[str, Any] = json.loads((folder / "eval" / "evaluation.json").read_text())
    return found


def test_frames_equal_sklearn_and_words_mean_normal(tmp_path: Path) -> None:
    values = make_scores(tmp_path / "out")
    write_truth(tmp_path)
    found = run(tmp_path)
    labels = np.concatenate([flags(ABNORMAL[one]) > 0 for one in range(4)])
    scores = values.reshape(-1)
    frames = {name: one["value"] for name, one in found["slices"]["metrics"].items()}
    assert frames["frame_auc"] == pytest.approx(sklearn.metrics.roc_auc_score(labels, scores))
    assert frames["frame_average_precision"] == pytest.approx(sklearn.metrics.average_precision_score(labels, scores))
    assert frames["frame_sensitivity"] == pytest.approx(sklearn.metrics.recall_score(labels, scores >= 0.5))
    assert frames["frame_false_alarm_rate"] == pytest.approx(
        1 - sklearn.metrics.recall_score(~labels, scores < 0.5))
    assert frames["frame_auc_cloze"] == pytest.approx(1 - frames["frame_auc"])
    motion = np.where(np.arange(FRAMES) == 0, 0, values).reshape(-1)  # what says nothing is no surprise
    assert frames["frame_auc_causal_motion"] == pytest.approx(sklearn.metrics.roc_auc_score(labels, motion))
    auc = sklearn.metrics.roc_auc_score([1, 1, 0, 0], values.max(axis=1))
    assert found["metrics"]["auc"]["value"] == pytest.approx(auc)
    assert found["slices"]["metrics"]["frame_auc"]["method"] == "bootstrap over patients"
    assert found["task"]["normal"] == ["calm"]


def test_events_are_counted_as_by_hand(tmp_path: Path) -> None:
    make_scores(tmp_path / "out")
    write_truth(tmp_path)
    found = run(tmp_path)
    events = {name: one["value"] for name, one in found["slices"]["metrics"].items()}
    # met: (6,10) of (5,10) by 0.8 a frame late, (3,5) of (2,6) by 0.5 a frame late; false: (8,10) and (0,4)
    assert events["event_precision"] == pytest.approx(2 / 4)
    assert events["event_recall"] == pytest.approx(2 / 3)
    assert events["event_delay_frames"] == 1
    assert events["event_delay_s"] == pytest.approx(0.5)
    assert events["false_alarms_per_minute"] == pytest.approx(2 / (4 * 20 * 0.5 / 60))
    for name in ("event_precision", "event_recall", "false_alarms_per_minute"):
        one = found["slices"]["metrics"][name]
        assert one["low"] <= one["value"] <= one["high"]
        assert one["n"] == 4
    rows = list(csv.DictReader((tmp_path / "eval" / "sequences.csv").open()))
    assert [(row["true_events"], row["met_events"], row["found_events"], row["false_events"]) for row in rows] == [
        ("1", "1", "1", "0"), ("2", "1", "2", "1"), ("0", "0", "1", "1"), ("0", "0", "0", "0")]


def test_what_needs_probabilities_is_left_out_and_said(tmp_path: Path) -> None:
    make_scores(tmp_path / "out")
    write_truth(tmp_path)
    found = run(tmp_path)
    assert {"brier", "log_loss", "calibration_error", "calibration_slope"} <= set(found["left_out"]["measures"])
    assert not set(found["left_out"]["measures"]) & set(found["metrics"])
    page = (tmp_path / "eval" / "evaluation.html").read_text()
    assert "no probability" in page
    assert "True events found" in page
    made = {path.name for path in (tmp_path / "eval").iterdir()}
    assert {"roc.png", "events.png", "sequences.csv"} <= made
    assert not {"reliability.png", "decision.png"} & made


def test_slices_have_no_figure_per_minute(tmp_path: Path) -> None:
    make_scores(tmp_path / "out", timed=False)
    write_truth(tmp_path)
    found = run(tmp_path)["slices"]["metrics"]
    assert not {"false_alarms_per_minute", "event_delay_s"} & set(found)
    assert found["event_delay_frames"]["value"] == 1


def test_without_truth_of_frames_normal_clips_still_tell_of_false_alarms(tmp_path: Path) -> None:
    values = make_scores(tmp_path / "out")
    write_truth(tmp_path)
    found = run(tmp_path, truth=False)
    told = found["slices"]["metrics"]
    assert set(told) == {"frame_false_alarm_rate", "false_alarms_per_minute"}
    assert told["frame_false_alarm_rate"]["value"] == pytest.approx((values[2:] >= 0.5).mean())
    assert told["false_alarms_per_minute"]["value"] == pytest.approx(1 / (2 * 10 / 60))
    assert found["slices"]["series"]["frames"] == {
        "sequences": 4, "with_truth_of_frames": 0, "with_truth_of_every_frame": 2, "with_times": 2}


def test_an_abnormal_clip_without_truth_of_frames_counts_in_no_figure_of_frames(tmp_path: Path) -> None:
    values = make_scores(tmp_path / "out")
    write_truth(tmp_path, labelled=(0, 2))
    found = run(tmp_path)["slices"]
    assert found["series"]["frames"]["with_truth_of_every_frame"] == 3
    kept = [0, 2, 3]
    labels = np.concatenate([flags(ABNORMAL[one]) > 0 for one in kept])
    assert found["metrics"]["frame_auc"]["value"] == pytest.approx(
        sklearn.metrics.roc_auc_score(labels, values[kept].reshape(-1)))


def test_frames_of_one_patient_are_drawn_together(tmp_path: Path) -> None:
    make_scores(tmp_path / "out")
    write_truth(tmp_path)
    apart = run(tmp_path)["slices"]["metrics"]["frame_auc"]
    write_truth(tmp_path, patients=["a", "b", "a", "b"])
    together = run(tmp_path)["slices"]["metrics"]["frame_auc"]
    assert (apart["low"], apart["high"]) != (together["low"], together["high"])


def test_words_for_normal_can_be_given_and_a_threshold_cannot(tmp_path: Path) -> None:
    make_scores(tmp_path / "out", normal=())
    write_truth(tmp_path)
    with pytest.raises(ConfigError, match="neither yes nor no"):
        run(tmp_path)
    assert run(tmp_path, normal=("calm",))["counts"]["positive"] == {"kind": 2}
    with pytest.raises(ConfigError, match="own threshold"):
        run(tmp_path, threshold=0.4, normal=("calm",))
