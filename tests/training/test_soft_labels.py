"""Soft labels from the manifest to the evaluation: soft in the loss, yes from half on wherever a yes is needed."""

import json

import numpy as np
import pytest

from seriatim.errors import ConfigError
from seriatim.evaluation import EvaluationSettings, evaluate
from seriatim.scoring import score
from seriatim.training import train
from tiny_runs import make_experiment, read_rows, write_rows

SHARES = {"1": ("0.5", "0.8", "1"), "0": ("0", "0.2", "0.45")}


def soften(rows):
    """The same labels as shares of yes, those of one kind different from one another."""
    return [{**row, "bleed": SHARES[row["bleed"]][place % 3]} for place, row in enumerate(rows)]


def test_a_run_on_soft_labels_splits_and_evaluates_as_on_hard_ones(tmp_path, head_ct):
    paths = [{**row, "path": str(head_ct / row["path"])} for row in read_rows(head_ct / "labels.csv")]
    hard, soft = write_rows(tmp_path / "hard.csv", paths), write_rows(tmp_path / "soft.csv", soften(paths))
    slices = write_rows(tmp_path / "slices.csv", soften(read_rows(head_ct / "slices.csv")))
    options = [f"data.manifest={soft}", f"data.slice_labels={slices}", "training.epochs=1"]
    with pytest.raises(ConfigError, match=r"line 3.*set task\.soft_labels"):
        train(make_experiment(tmp_path, head_ct, *options), tmp_path / "refused")
    for name, more in {"soft": [*options, "task.soft_labels=true"], "hard": [f"data.manifest={hard}"]}.items():
        train(make_experiment(tmp_path, head_ct, "training.epochs=1", *more), tmp_path / name)
    splits = [[row["split"] for row in read_rows(tmp_path / name / "manifest.csv")] for name in ("soft", "hard")]
    assert splits[0] == splits[1]
    losses = [json.loads((tmp_path / name / "metrics.jsonl").read_text())["loss"] for name in ("soft", "hard")]
    assert losses[0] != losses[1]
    score(head_ct, model=tmp_path / "soft", output=tmp_path / "out", device="cpu")
    tables = {"soft": (soft, slices), "hard": (hard, head_ct / "slices.csv")}
    found = {
        name: evaluate(
            [tmp_path / "out" / "scores.csv"], output=tmp_path / f"evaluation-{name}",
            settings=EvaluationSettings(labels=labels, slices=truth, include_training=True),
        )
        for name, (labels, truth) in tables.items()
    }  # fmt: skip
    assert np.array_equal(found["soft"].samples.labels, found["hard"].samples.labels)
    rows = [read_rows(tmp_path / f"evaluation-{name}" / "evaluation.csv") for name in tables]
    assert rows[0] == rows[1]
