"""The zoo of real files: every case right or rightly refused. (python -m pytest -m shared tests/io/test_zoo.py)"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ZOO = ROOT.parent / "shared" / "zoo"


@pytest.mark.shared
@pytest.mark.skipif(not ZOO.exists(), reason="needs the zoo of ../shared")
def test_every_case_is_right_or_rightly_refused(tmp_path: Path) -> None:
    command = [sys.executable, ZOO / "check_reference.py", "--zoo", ZOO, "--loader", "tools.zoo_loader:load",
               "--json", tmp_path / "verdicts.json"]
    subprocess.run([str(part) for part in command], cwd=ROOT, check=True, capture_output=True, timeout=240)
    cases = json.loads((tmp_path / "verdicts.json").read_text())["cases"]
    bad = {name: case["detail"] for name, case in cases.items() if case["verdict"] not in ("right", "refused_ok")}
    assert not bad
    assert len(cases) >= 17
