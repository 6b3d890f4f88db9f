"""A run that is killed (SIGKILL) at any time, and resumed as a user would, ends to the byte as one that was not."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tiny_runs import write_config

COMMON = ("training.epochs=4", "training.max_slices=12", "network.dropout=0.3", "task.calibration=platt")
AUGMENTATION = "augmentation={rotate_degrees: 20, flip_left_right: true, noise: 5}"
MODES = {
    "end-to-end": ("training.accumulate=2", AUGMENTATION),
    "two-stage": ("training.mode=two-stage", "training.embedding_views=1", AUGMENTATION),
    "stages": ("encoder_stage={epochs: 3, batch_size: 8}", "training.mode=two-stage", "joint_stage={epochs: 2}",
               AUGMENTATION),
}  # fmt: skip
PATIENCE_S = 1200
"""For one run: seconds on a quiet machine, minutes on one that trains something else on every core."""
SAME = ("model.safetensors", "model.json", "validation.csv", "manifest.csv", "split.json", "config.yaml")
KILLER = """
import os, signal, sys
left = [int(sys.argv[1])]
def count(event):
    left[0] -= 1
    if left[0] == 0:
        os.kill(os.getpid(), signal.SIGKILL)
def watch(event, arguments):
    written = event == "open" and ROOT in str(arguments[0]) and set("wa") & set(str(arguments[1]))
    if written or event == "os.rename":
        count(event)
ROOT = sys.argv[2]
sys.addaudithook(watch)
from seriatim.cli import main
sys.argv = ["seriatim", *sys.argv[3:]]
main()
"""
"""Kills itself at the N-th file that it opens for writing below the run, or puts in place: each is a place to break."""


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def arguments(config: Path, run: Path) -> list[str]:
    return ["train", "--resume", str(run)] if (run / "config.yaml").is_file() else [
        "train", str(config), "--output", str(run)]


def finish(config: Path, run: Path) -> None:
    command = [sys.executable, "-m", "seriatim", *arguments(config, run)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE_S, env=environment())
    assert done.returncode == 0, done.stderr


def tell_apart(one: Path, other: Path) -> list[str]:
    """The files of two runs that differ, beside the seconds of their metrics."""
    wrong = [name for name in SAME if (one / name).read_bytes() != (other / name).read_bytes()]
    for path in sorted(one.glob("*metrics.jsonl")):
        lines = [[{key: value for key, value in json.loads(text).items() if key != "seconds"}
                  for text in (run / path.name).read_text().splitlines()] for run in (one, other)]
        if lines[0] != lines[1]:
            wrong.append(path.name)
    return wrong


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("mode", list(MODES))
def test_killed_at_random_times(tmp_path: Path, head_ct: Path, mode: str) -> None:
    config = write_config(tmp_path, head_ct, *COMMON, *MODES[mode])
    started = time.perf_counter()
    finish(config, tmp_path / "whole")
    seconds, chance = time.perf_counter() - started, random.Random(mode)
    for attempt in range(2):
        run = tmp_path / f"killed{attempt}"
        for _ in range(3):
            process = subprocess.Popen([sys.executable, "-m", "seriatim", *arguments(config, run)],
                                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment())
            time.sleep(chance.uniform(0.3, 1) * seconds)
            process.send_signal(signal.SIGKILL)
            process.wait()
        finish(config, run)
        assert tell_apart(tmp_path / "whole", run) == []


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("mode", list(MODES))
def test_killed_while_a_file_is_written(tmp_path: Path, head_ct: Path, mode: str) -> None:
    config = write_config(tmp_path, head_ct, *COMMON, *MODES[mode])
    finish(config, tmp_path / "whole")
    chance, killed = random.Random(mode), 0
    for place in chance.sample(range(1, 50), 6):
        run = tmp_path / f"at{place}"
        command = [sys.executable, "-c", KILLER, str(place), str(run), *arguments(config, run)]
        broken = subprocess.run(command, capture_output=True, check=False, timeout=PATIENCE_S, env=environment())
        killed += broken.returncode == -signal.SIGKILL
        finish(config, run)
        assert tell_apart(tmp_path / "whole", run) == [], place
    assert killed >= 3
