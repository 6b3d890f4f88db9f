"""The benchmark tool: labels exchanged between patients, seeds averaged, the frozen baseline held to its rules."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from tiny_runs import make_experiment, read_rows, write_rows

sys.path.insert(0, str(Path(__file__).parent.parent / "tools" / "bench"))

import benchmark
import benchmark_linear
from benchmark_tables import average_seeds


def test_the_control_exchanges_labels_of_whole_patients_within_their_fold(tmp_path: Path, head_ct: Path) -> None:
    rows = [{"path": f"{one}", "patient": one // 2, "fold": one // 20, "bleed": int(one // 2 % 3 == 0)}
            for one in range(40)]
    data = tmp_path / "data"
    write_rows(data / "labels.csv", rows)
    (data / "slices.csv").write_text((head_ct / "slices.csv").read_text())
    experiment = make_experiment(tmp_path, data)
    changed = benchmark.exchange_labels(experiment, tmp_path / "random.csv", seed=0)
    found = read_rows(changed.data.manifest)
    before = {str(row["patient"]): str(row["bleed"]) for row in rows}
    after = {row["patient"]: row["bleed"] for row in found}
    assert all(row["bleed"] == after[row["patient"]] for row in found)  # two series of one patient stay alike
    assert after != before
    for fold in "01":
        patients = {row["patient"] for row in found if row["fold"] == fold}
        assert sorted(after[one] for one in patients) == sorted(before[one] for one in patients)


def test_the_answer_of_several_seeds_is_their_mean(tmp_path: Path) -> None:
    for seed, score in enumerate((0.2, 0.6)):
        folder = tmp_path / f"seed{seed}"
        row = {"series_uid": "1", "path": "x", "probability_bleed": score, "split": "test"}
        write_rows(folder / "scores.csv", [row])
        write_rows(folder / "slices.csv", [{"series_uid": "1", "index": 0, "attention": 1.0, "score_bleed": score}])
        (folder / "run.json").write_text(json.dumps({"task": {}, "thresholds": {"bleed": score / 2}}))
    average_seeds([tmp_path / "seed0", tmp_path / "seed1"], tmp_path / "mean")
    assert float(read_rows(tmp_path / "mean" / "scores.csv")[0]["probability_bleed"]) == pytest.approx(0.4)
    assert float(read_rows(tmp_path / "mean" / "slices.csv")[0]["score_bleed"]) == pytest.approx(0.4)
    assert json.loads((tmp_path / "mean" / "run.json").read_text())["thresholds"]["bleed"] == pytest.approx(0.2)


def test_the_baseline_scores_just_what_a_fold_holds_and_learns_from_slice_labels(
    tmp_path: Path, head_ct: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(benchmark_linear, "PENALTIES", (1e-2,))
    experiment = make_experiment(tmp_path, head_ct, "data.folds=3", f"training.embedding_store={tmp_path / 'store'}",
                                 "training.mode=two-stage")
    left_out = benchmark.leave_out(experiment, "1")
    folders = {rule: tmp_path / rule for rule in benchmark_linear.RULES}
    benchmark_linear.run_linear(left_out, folders)
    tables = {rule: read_rows(folder / "scores.csv") for rule, folder in folders.items()}
    assert {len(rows) for rows in tables.values()} == {4}
    slices = read_rows(folders["linear, max"] / "slices.csv")
    for row, mean, top in zip(tables["linear, max"], tables["linear, mean"], tables["linear, top 3"], strict=True):
        own = sorted(float(one["score_bleed"]) for one in slices if one["series_uid"] == row["series_uid"])
        assert float(row["probability_bleed"]) == own[-1]
        assert float(mean["probability_bleed"]) == pytest.approx(np.mean(own))
        assert float(top["probability_bleed"]) == pytest.approx(np.mean(own[-3:]))
