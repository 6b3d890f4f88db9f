"""A folder that is searched again: only what is new or changed is read, and what is found is as in a first search."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from dicom_files import make_stack, random_stack, save_stack

from seriatim.io import find_series, walk
from seriatim.io.dicom import header, index
from seriatim.io.dicom import known as known_files
from seriatim.io.dicom.known import KnownFiles
from seriatim.io.discover import find_many


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of files whose first bytes were read."""
    names: list[str] = []
    read_head = walk.read_head

    def tell(path: Path, count: int) -> tuple[bytes, int]:
        names.append(path.name)
        return read_head(path, count)

    monkeypatch.setattr(walk, "read_head", tell)
    monkeypatch.setattr(known_files, "YOUNG_NS", -(10**15))  # what these tests make is old
    return names


@pytest.fixture
def series(head_ct: Path, tmp_path: Path) -> Path:
    """A folder with series in folders, and files that are none."""
    folder = shutil.copytree(head_ct, tmp_path / "cases")
    (folder / "notes.txt").write_text("no image")
    (folder / "broken.dcm").write_bytes(bytes(128) + b"DICM" + b"\xff" * 60)
    return folder


def find_again(folder: Path, known: KnownFiles, opened: list[str]) -> set[str]:
    """Search once more, compare with a fresh search, and tell which files were opened."""
    opened.clear()
    found = find_many(folder, known=known)
    names = set(opened)
    fresh = find_series(folder)
    assert [repr(one) for one in found.series] == [repr(one) for one in fresh.series]
    assert list(found.skipped) == list(fresh.skipped)
    return names - {"notes.txt", "broken.dcm", "labels.csv", "slices.csv"}


def first_slices(folder: Path) -> list[Path]:
    one = next(one for one in find_series(folder).series if len(one.instances) > 2)
    return [instance.path for instance in one.instances]


def test_only_new_and_changed_files_are_read(series, opened):
    known, slices = KnownFiles(), first_slices(series)
    assert len(find_again(series, known, opened)) > len(slices)
    assert find_again(series, known, opened) == set()
    shutil.copy(slices[0], slices[0].with_name("new.dcm"))
    assert find_again(series, known, opened) == {"new.dcm"}
    slices[1].rename(slices[1].with_name("moved.dcm"))
    slices[2].unlink()
    assert find_again(series, known, opened) == {"moved.dcm"}
    assert find_again(series, known, opened) == set()


def test_another_file_of_the_same_size_and_time_is_read(series, opened):
    known, slices = KnownFiles(), first_slices(series)
    find_again(series, known, opened)
    before = slices[0].stat()
    slices[0].write_bytes(slices[0].read_bytes()[:-2] + b"zz")
    os.utime(slices[0], ns=(before.st_atime_ns, before.st_mtime_ns))
    assert find_again(series, known, opened) == {slices[0].name}


def test_a_young_file_is_read_again(series, opened, monkeypatch):
    known, slices = KnownFiles(), first_slices(series)
    monkeypatch.setattr(known_files, "YOUNG_NS", 10**15)
    find_again(series, known, opened)
    assert slices[0].name in find_again(series, known, opened)


def test_what_is_known_is_bounded_by_what_is_there(series, opened, monkeypatch):
    known = KnownFiles()
    monkeypatch.setattr(known_files, "SPARE", -1000)
    find_again(series, known, opened)
    assert find_again(series, known, opened) != set()  # forgotten, and read anew



def test_frames_over_time_read_no_header_again(tmp_path, opened, monkeypatch):
    for time in range(3):
        stack = make_stack(random_stack(4, seed=time), Modality="MR", TriggerTime=40 * time)
        for place, dataset in enumerate(stack):
            dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.{time}.{place}"
            dataset.InstanceNumber = 4 * time + place + 1
        save_stack(stack, tmp_path / "in" / str(time))
    known = KnownFiles()
    first = find_many(tmp_path / "in", known=known, sequence="frames")
    assert len(opened) == 12
    opened.clear()
    for module in (header, index):
        monkeypatch.setattr(module, "read_planes", lambda path: pytest.fail(f"{path} was read again"))
    again = find_many(tmp_path / "in", known=known, sequence="frames")
    assert not opened
    assert [repr(one) for one in again.series] == [repr(one) for one in first.series]
    monkeypatch.undo()
    fresh = find_series(tmp_path / "in", sequence="frames").series
    assert [repr(one) for one in fresh] == [repr(one) for one in first.series]
    assert [len(one.instances) for one in fresh] == [3] * 4
