"""seriatim inspect: its table, its JSON, its exit codes, and that it stays light."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from dicom_files import make_stack, random_stack, save_stack
from rich.console import Console

from seriatim.cli.inventory import describe_findings, describe_series
from seriatim.io import find_series
from seriatim.series import Code, Inventory, find

LIGHT = """
import sys
from seriatim.cli import main
try:
    main()
finally:
    heavy = {"torch", "monai"} & set(sys.modules)
    assert not heavy, heavy
"""


def inspect(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", LIGHT, "inspect", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "data"
    save_stack(make_stack(random_stack(5)), root / "good", seed=1)
    (root / "notes.txt").write_text("hello")
    return root


def test_a_row_per_series_and_a_reason_per_file(folder: Path, tmp_path: Path) -> None:
    result = inspect(folder, "--json", tmp_path / "found.json")
    assert result.returncode == 0, result.stderr
    (row,) = [line for line in result.stdout.splitlines() if line.strip().startswith("good")]
    for cell in ("CT", "5", "5 x 6", "0.75 x 0.5 x 2.5", "I to S", "yes"):
        assert cell in row
    assert "left out, not an image: 1 (notes.txt)" in result.stdout
    assert "SECRET" not in (result.stdout + result.stderr).upper()
    content = json.loads((tmp_path / "found.json").read_text())
    assert content["series"][0]["slices"] == 5
    assert content["series"][0]["order"] == "I to S"
    assert [Path(one["path"]).name for one in content["skipped"]] == ["notes.txt"]
    assert "SECRET" not in (tmp_path / "found.json").read_text().upper()


def test_exit_codes_and_reasons_are_told_in_full_when_piped(folder: Path, tmp_path: Path) -> None:
    datasets = make_stack(random_stack(6), SeriesInstanceUID="1.2.3.5")
    del datasets[2]
    save_stack(datasets, folder / "gap")
    result = inspect(folder)
    assert result.returncode == 8
    assert "refused, GAP: 1 (gap): Slices 2-3 are 5 mm apart, expected 2.5 mm." in result.stdout
    assert inspect(folder / "gap").returncode == 3
    (tmp_path / "empty").mkdir()
    empty = inspect(tmp_path / "empty")
    assert empty.returncode == 3
    assert empty.stdout.startswith("no series found, 0 files left out")
    missing = inspect(tmp_path / "nothing")
    assert missing.returncode == 2
    assert "does not exist" in missing.stderr
    assert "Traceback" not in missing.stderr


def test_a_4d_series_is_shown_as_films_where_frames_are_asked_for(tmp_path: Path) -> None:
    for time in range(3):
        datasets = make_stack(random_stack(4, seed=time), TriggerTime=40 * time)
        for index, dataset in enumerate(datasets):
            dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.{time}.{index}"
        save_stack(datasets, tmp_path / "cine" / str(time))
    result = inspect(tmp_path / "cine", "--frames")
    assert result.returncode == 0, result.stderr
    rows = [line.split() for line in result.stdout.splitlines() if "slice" in line and " time " in line]
    assert [row[4] for row in rows] == ["3"] * 4
    assert "3 of 3 series usable" in inspect(tmp_path / "cine").stdout


@pytest.mark.parametrize(("width", "header"), [(80, "series modality slices spacing mm order usable"), (120, None)])
def test_nothing_is_cut_off_in_a_terminal(folder: Path, width: int, header: str | None) -> None:
    name = "a_folder_with_a_name_that_is_far_too_long_for_one_line_of_a_terminal"
    save_stack(make_stack(random_stack(6), SeriesInstanceUID="1.2.3.5"), folder / name)
    inventory = find_series(folder)
    console = Console(width=width, file=StringIO(), legacy_windows=False)
    console.print(describe_series(inventory, width=width))
    lines = console.file.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    assert name in "".join(line.split("  ")[0].strip() for line in lines)
    assert " ".join(lines[1].split()) == (header or "series modality slices size spacing mm order findings usable")


def test_what_was_kept_is_told_once_per_code(folder: Path) -> None:
    (found,) = find_series(folder).series
    tilted = tuple(
        replace(found, path=folder / str(number), findings=(find(Code.GANTRY_TILT, f"Sheared by {number} degrees."),))
        for number in range(1, 8)
    )
    assert list(describe_findings(Inventory(root=folder, series=tilted))) == [
        "kept, GANTRY_TILT: 7 (1, 2, 3, 4, 5 and 2 more): for example: Sheared by 1 degrees."
    ]
