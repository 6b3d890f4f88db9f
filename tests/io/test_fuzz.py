"""A small dose of the fuzzer (make fuzz) on every run: the same mutants each time."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
COUNT, SEED = 110, 20000


def test_damaged_files_are_read_right_or_refused_or_told() -> None:
    command = [sys.executable, "-m", "tools.fuzz", "--count", str(COUNT), "--seed", str(SEED)]
    paths = {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, **paths}, capture_output=True, text=True, check=False)
    told = f"{done.stdout}{done.stderr[-2000:]}"
    assert done.returncode == 0, f"Replay a line with: python -m tools.fuzz --replay ID\n{told}"
