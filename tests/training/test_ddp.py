"""Several processes train as one at the same global batch: the same weights and figures, up to rounding."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from seriatim.training import train
from tiny_runs import make_experiment, make_uneven, read_rows, write_config

STAGES = [
    "encoder_stage={epochs: 1, batch_size: 7, learning_rate: 0.003, slices_per_epoch: 16}",
    "joint_stage={epochs: 1, learning_rate: 0.001}",
    "augmentation={rotate_degrees: 20, noise: 5}", "task.attention_loss_weight=0.3", "training.epochs=2",
]  # fmt: skip
MODES = {
    "end-to-end": ["training.unfreeze_epoch=2", "training.ema_decay=0.5"],
    "two-stage": ["training.mode=two-stage"],
}
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def launch(command: list[object]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=1200, env=ENVIRONMENT)
    assert done.returncode == 0, done.stderr


def with_batch(stages: list[str], *, size: int, accumulate: int) -> list[str]:
    """The batch of every stage over series."""
    blocks = [f"{block}.{key}={value}" for block in ("training", "joint_stage")
              for key, value in (("batch_size", size), ("accumulate", accumulate))]
    return [*stages, *blocks]


@pytest.mark.slow
@pytest.mark.parametrize(("mode", "accumulate"), [("end-to-end", 1), ("end-to-end", 2), ("two-stage", 1)])
def test_two_processes_are_one_with_twice_the_batch(
    tmp_path: Path, head_ct: Path, mode: str, accumulate: int
) -> None:
    """7 series in batches of 1 or 2: the last step has fewer batches than processes, and 3 validate."""
    options = [*make_uneven(tmp_path, head_ct), *STAGES, *MODES[mode]]
    one, two = tmp_path / "one", tmp_path / "two"
    train(make_experiment(tmp_path, head_ct, *with_batch(options, size=4, accumulate=1)), one)
    size = 2 // accumulate
    config = write_config(
        tmp_path, head_ct, *with_batch(options, size=size, accumulate=accumulate), "training.devices=2"
    )
    launch([sys.executable, "-m", "seriatim", "train", config, "--output", two])
    assert json.loads((two / "environment.json").read_text())["processes"] == 2
    for name in ("encoder", "best", "joint_best", "model", "checkpoint", "joint_checkpoint"):
        first, second = (load_file(run / f"{name}.safetensors") for run in (one, two))
        assert first.keys() == second.keys()
        for key, tensor in first.items():
            if not key.endswith(("pooling.score.bias", "exp_avg_sq")):  # which no loss sees: see test_bounds
                torch.testing.assert_close(second[key], tensor, rtol=2e-3, atol=2e-4, msg=f"{name} {key}")
    for name in ("encoder_metrics", "metrics", "joint_metrics"):
        texts = ((run / f"{name}.jsonl").read_text().splitlines() for run in (one, two))
        for line, other in zip(*texts, strict=True):
            told, repeated = json.loads(line), json.loads(other)
            assert told.pop("seconds") >= 0 <= repeated.pop("seconds")
            assert repeated == pytest.approx(told, rel=1e-3, abs=1e-4)
    assert len(read_rows(two / "validation.csv")) == 3


@pytest.mark.slow
@pytest.mark.parametrize("encoder", [False, True])
def test_two_processes_pretrain_as_one_with_twice_the_batch(tmp_path: Path, head_ct: Path, encoder: bool) -> None:
    """7 series of 6 to 14 slices, the last step with fewer of them than the batches of both processes hold."""
    options = [*make_uneven(tmp_path, head_ct), "training.mode=two-stage", "training.epochs=1",
               f"pretraining={{epochs: 2, learning_rate: 0.003, encoder: {str(encoder).lower()}}}"]
    one, two = tmp_path / "one", tmp_path / "two"
    train(make_experiment(tmp_path, head_ct, *options, "pretraining.batch_size=4"), one)
    config = write_config(tmp_path, head_ct, *options, "pretraining.batch_size=2", "training.devices=2")
    launch([sys.executable, "-m", "seriatim", "train", config, "--output", two])
    assert json.loads((two / "environment.json").read_text())["processes"] == 2
    first, second = (load_file(run / "pretraining.safetensors") for run in (one, two))
    assert first.keys() == second.keys()
    for key, tensor in first.items():
        torch.testing.assert_close(second[key], tensor, rtol=2e-3, atol=2e-5, msg=key)
    texts = ((run / "pretraining_metrics.jsonl").read_text().splitlines() for run in (one, two))
    for line, other in zip(*texts, strict=True):
        told, repeated = json.loads(line), json.loads(other)
        assert told.pop("seconds") >= 0 <= repeated.pop("seconds")
        assert repeated == pytest.approx(told, rel=1e-3, abs=1e-4)
    assert (one / "pretraining.csv").read_bytes() == (two / "pretraining.csv").read_bytes()


@pytest.mark.slow
def test_two_processes_with_batchnorm_judge_the_weights_that_they_keep(tmp_path: Path, head_ct: Path) -> None:
    """Each process has statistics of its own while it learns; validation and the kept file must be of one network."""
    encoder = "network.encoder={kind: torchvision, name: shufflenet_v2_x0_5}"
    options = [*make_uneven(tmp_path, head_ct), encoder, "training.epochs=2", "training.max_slices=4"]
    run = tmp_path / "run"
    config = write_config(tmp_path, head_ct, *options, "training.devices=2", "training.patience=1")
    launch([sys.executable, "-m", "seriatim", "train", config, "--output", run])
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    best = max(lines, key=lambda line: (line["val_auc"], -line["val_log_loss"]))
    described = json.loads((run / "model.json").read_text())["validation"]
    assert described["log_loss"] == pytest.approx(best["val_log_loss"], rel=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["end-to-end", "two-stage"])
def test_two_processes_resume_to_the_same_bits(tmp_path: Path, head_ct: Path, mode: str) -> None:
    options = ["training.devices=2", f"training.mode={mode}", "training.epochs=2", "network.dropout=0.1"]
    config, run = write_config(tmp_path, head_ct, *options), tmp_path / "run"
    launch([sys.executable, "-m", "seriatim", "train", config, "--output", run])
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2]  # one process writes
    assert len(read_rows(run / "manifest.csv")) == 12
    before = (run / "model.safetensors").read_bytes()
    launch([sys.executable, "-m", "seriatim", "train", "--resume", run])
    assert (run / "model.safetensors").read_bytes() == before


@pytest.mark.slow
def test_torchrun_starts_the_same_training(tmp_path: Path, head_ct: Path) -> None:
    """Two nodes of one process each, on loopback, meet and train what two processes of one node train."""
    config = write_config(tmp_path, head_ct, "training.epochs=1")
    alone, meeting = tmp_path / "alone", tmp_path / "meeting"
    sets = ["--set", "training.devices=2"]
    launch([sys.executable, "-m", "seriatim", "train", config, "--output", alone, *sets])
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    nodes = [
        subprocess.Popen(
            [sys.executable, "-m", "torch.distributed.run", "--nnodes=2", f"--node-rank={rank}", "--nproc-per-node=1",
             "--master-addr=127.0.0.1", f"--master-port={port}", "-m", "seriatim", "train", config,
             "--output", meeting, "--set", "training.nodes=2"],
            env=ENVIRONMENT, stderr=subprocess.PIPE, text=True,
        )
        for rank in (0, 1)
    ]  # fmt: skip
    told = [node.communicate(timeout=1200)[1] for node in nodes]
    assert [node.returncode for node in nodes] == [0, 0], told
    assert json.loads((meeting / "environment.json").read_text())["processes"] == 2
    assert (meeting / "model.safetensors").read_bytes() == (alone / "model.safetensors").read_bytes()
