"""Two processes train one model through Fabric."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tiny_runs import read_rows, write_config


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["end-to-end", "two-stage"])
def test_two_processes_train_one_model(tmp_path: Path, head_ct: Path, mode: str) -> None:
    options = ["training.devices=2", f"training.mode={mode}", "training.epochs=2", "network.dropout=0.1"]
    config, run = write_config(tmp_path, head_ct, *options), tmp_path / "run"
    command = Path(sys.executable).with_name("seriatim")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}

    def train(*arguments: object) -> None:
        done = subprocess.run(
            [command, "train", *arguments], capture_output=True, text=True, check=False, timeout=240, env=environment
        )
        assert done.returncode == 0, done.stderr

    train(config, "--output", run)
    assert json.loads((run / "environment.json").read_text())["processes"] == 2
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2]  # one process writes
    validation = read_rows(run / "validation.csv")
    expected = sorted(row["series_uid"] for row in read_rows(head_ct / "labels.csv") if row["split"] == "val")
    assert sorted(row["series_uid"] for row in validation) == expected
    assert len(read_rows(run / "manifest.csv")) == 12
    before = (run / "model.safetensors").read_bytes()
    train("--resume", run)
    assert (run / "model.safetensors").read_bytes() == before
