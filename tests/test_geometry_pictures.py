"""The pictures of docs/geometry.md come from a script that stops where the package would make them lie."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_the_script_draws_every_picture_of_the_page(tmp_path: Path) -> None:
    subprocess.run([sys.executable, str(ROOT / "tools/geometry_pictures.py"), str(tmp_path)], check=True, cwd=ROOT)
    page = (ROOT / "docs/geometry.md").read_text(encoding="utf-8")
    drawn = sorted(path.name for path in tmp_path.iterdir())
    assert drawn
    assert all(f"(pictures/{name})" in page for name in drawn)
    assert page.count("](pictures/") == len(drawn)
