"""What all kinds of synthetic data promise: the same bytes from the same seed, clean splits, no overwriting."""

from __future__ import annotations

import csv
import hashlib
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from seriatim.cli.synth import run
from seriatim.errors import ConfigError, OutputError
from seriatim.synth import KINDS, synthesize
from seriatim.synth.truth import is_positive, patient_of, split_of


def digests(folder: Path) -> dict[str, str]:
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


@pytest.mark.parametrize("kind", KINDS)
def test_same_seed_gives_the_same_bytes_and_a_larger_count_only_adds(kind: str, tmp_path: Path) -> None:
    synthesize(kind, tmp_path / "a", count=2, seed=5, size=32)
    synthesize(kind, tmp_path / "b", count=3, seed=5, size=32)
    synthesize(kind, tmp_path / "c", count=2, seed=6, size=32)
    first, longer, other = (digests(tmp_path / name) for name in "abc")
    tables = {"labels.csv", "slices.csv"}
    assert all(longer[path] == digest for path, digest in first.items() if path not in tables)
    assert not set(first.values()) & set(other.values())
    for table in tables:
        assert (tmp_path / "b" / table).read_text().startswith((tmp_path / "a" / table).read_text())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [12, 80, 300])
def test_splits_share_no_patient_and_hold_both_classes(kind: str, count: int) -> None:
    patients = [patient_of(index) for index in range(count)]
    assert patients == sorted(patients)
    assert len(set(patients)) == count - count // 11
    for split in ("train", "val", "test"):
        members = {patient for patient in patients if split_of(patient) == split}
        positive = sum(is_positive(0, kind, patient) for patient in members)
        assert abs(2 * positive - len(members)) <= 1
        assert members
    if count >= 80:
        assert 0.5 < sum(split_of(patient) == "train" for patient in patients) / count < 0.65


def test_refuses_a_folder_that_is_in_use(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match="--force"):
        synthesize("ultrasound", tmp_path, count=1, size=32)
    with pytest.raises(OutputError, match="left alone"):
        synthesize("ultrasound", tmp_path, count=1, size=32, force=True)
    assert digests(tmp_path).keys() == {"notes.txt"}


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(OutputError, match="folder"):
            synthesize("ultrasound", path, count=1, size=32)


def test_force_replaces_the_set_and_nothing_else(tmp_path: Path) -> None:
    synthesize("ultrasound", tmp_path, count=2, size=32)
    (tmp_path / "notes.txt").write_text("mine")
    synthesize("ultrasound", tmp_path, count=1, size=32, force=True)
    with (tmp_path / "labels.csv").open(newline="") as file:
        assert [row["path"] for row in csv.DictReader(file)] == ["series/0000"]
    assert digests(tmp_path).keys() == {"labels.csv", "slices.csv", "series/0000/clip.dcm", "notes.txt"}


@pytest.mark.parametrize(
    ("kind", "arguments", "said"),
    [
        ("head-mr", {}, "head-ct, ultrasound"),
        ("head-ct", {"count": 0}, "count"),
        ("head-ct", {"seed": -1}, "seed"),
        ("head-ct", {"size": 33}, "size"),
    ],
)
def test_wrong_arguments_name_the_legal_ones_and_write_nothing(
    kind: str, arguments: dict[str, int], said: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=said):
        synthesize(kind, tmp_path / "set", **{"count": 1, **arguments})
    assert not (tmp_path / "set").exists()


def test_command_says_in_one_line_what_it_wrote(tmp_path: Path) -> None:
    app = typer.Typer()
    app.command()(run)
    options = ["--count", "2", "--seed", "1", "--size", "32"]
    result = CliRunner().invoke(app, ["ultrasound", str(tmp_path / "set"), *options])
    assert result.exit_code == 0
    assert result.output.count("\n") == 1
    assert "2 series of 2 patients" in result.output
    assert "1 positive" in result.output


def test_help_shows_an_example() -> None:
    app = typer.Typer()
    app.command()(run)
    assert "seriatim synth head-ct" in CliRunner().invoke(app, ["--help"]).output


def test_imports_no_torch() -> None:
    code = "import sys, seriatim.synth; sys.exit(any(name in sys.modules for name in ('torch', 'monai', 'scipy')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
