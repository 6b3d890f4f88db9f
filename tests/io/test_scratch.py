"""Temporary folders of workers: what a killed process left is removed, what a living one holds is not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from seriatim.io.isolation import scratch
from seriatim.io.isolation.scratch import Scratch, remove_left

HOLD = "from seriatim.io.isolation.scratch import Scratch; one = Scratch(); print(one.folder, flush=True); input()"


@pytest.fixture(autouse=True)
def _own_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))


def age(folder: Path) -> None:
    os.utime(folder, (0, 0))


def test_what_a_killed_process_left_is_removed_and_what_a_living_one_holds_is_not(tmp_path: Path) -> None:
    other = subprocess.Popen([sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None
    folder = Path(other.stdout.readline().strip())
    (folder / "unpacked.nii").write_bytes(b"pixels")
    age(folder)
    remove_left()
    assert (folder / "unpacked.nii").is_file()
    other.send_signal(signal.SIGKILL)
    other.communicate()
    remove_left()
    assert not folder.exists()


def test_young_folders_and_links_are_left_alone(tmp_path: Path) -> None:
    young, elsewhere = tmp_path / f"{scratch.PREFIX}young", tmp_path / "elsewhere"
    young.mkdir()
    elsewhere.mkdir()
    (tmp_path / f"{scratch.PREFIX}link").symlink_to(elsewhere)
    os.utime(tmp_path / f"{scratch.PREFIX}link", (0, 0), follow_symlinks=False)
    remove_left()
    assert young.is_dir()
    assert elsewhere.is_dir()


def test_a_folder_goes_with_its_worker(tmp_path: Path) -> None:
    one = Scratch()
    (Path(one.folder) / "left").write_bytes(b"")
    one.remove()
    assert not list(tmp_path.iterdir())
