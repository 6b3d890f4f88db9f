"""The walk: nothing outside the root, nothing that blocks, nothing lost in silence."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dicom_files import make_stack, random_stack, save_stack

from seriatim.io import find_series, read_volume
from seriatim.io.source import open_file


def reasons(root: Path) -> dict[str, str]:
    return {os.fspath(one.path.relative_to(root)): one.reason for one in find_series(root).skipped}


def test_links_are_never_followed(tmp_path: Path) -> None:
    outside = save_stack(make_stack(random_stack(3), SeriesInstanceUID="1.2.7"), tmp_path / "outside")
    root = save_stack(make_stack(random_stack(4)), tmp_path / "root" / "real").parent
    (root / "folder_out").symlink_to(outside, target_is_directory=True)
    (root / "file_out.dcm").symlink_to(outside / "IM0000.dcm")
    (root / "up").symlink_to("..", target_is_directory=True)
    (root / "folder_in").symlink_to(root / "real", target_is_directory=True)
    (root / "file_in.dcm").symlink_to(root / "real" / "IM0000.dcm")
    (root / "loop").symlink_to("loop")
    (root / "broken").symlink_to("nowhere")
    (root / "rootish").symlink_to(tmp_path / "root2")  # its name starts like the root's
    (tmp_path / "root2").mkdir()
    (series,) = find_series(root).series
    assert len(series.instances) == 4
    told = reasons(root)
    assert {name for name, reason in told.items() if "leads out" in reason} == {
        "folder_out", "file_out.dcm", "up", "rootish"
    }
    assert {name for name, reason in told.items() if "own place" in reason} == {"folder_in", "file_in.dcm"}
    assert {told["broken"], told["loop"]} == {"a link that leads nowhere"}


def test_a_link_that_is_named_itself_is_read(tmp_path: Path) -> None:
    save_stack(make_stack(random_stack(4)), tmp_path / "real")
    (tmp_path / "link").symlink_to("real", target_is_directory=True)
    (series,) = find_series(tmp_path / "link").series
    assert len(read_volume(series).array) == 4


def test_pipes_and_sockets_are_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "pipe.dcm")
    with socket.socket(socket.AF_UNIX) as listener:
        monkeypatch.chdir(tmp_path)  # the address of a socket is short
        listener.bind("socket.dcm")
        assert reasons(tmp_path) == {"pipe.dcm": "not a regular file", "socket.dcm": "not a regular file"}
    assert find_series(tmp_path / "pipe.dcm").skipped[0].reason == "not a regular file"


def test_a_folder_that_cannot_be_opened_is_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_stack(make_stack(random_stack(4)), tmp_path / "open")
    (tmp_path / "closed").mkdir()
    scan = os.scandir

    def refuse(folder: Any) -> Iterator[os.DirEntry[str]]:
        if Path(folder).name == "closed":
            raise PermissionError(13, "Permission denied", str(folder))
        return scan(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    found = find_series(tmp_path)
    assert len(found.series) == 1
    assert [(one.path.name, one.reason) for one in found.skipped] == [
        ("closed", "a folder that cannot be opened: Permission denied")
    ]


def test_a_file_that_vanishes_is_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_stack(make_stack(random_stack(4)), tmp_path)
    opened = os.open

    def vanish(path: Any, *arguments: Any) -> int:
        if Path(path).name == "IM0002.dcm":
            Path(path).unlink(missing_ok=True)
        return opened(path, *arguments)

    monkeypatch.setattr(os, "open", vanish)
    assert reasons(tmp_path) == {"IM0002.dcm": "cannot be opened: No such file or directory"}


def test_a_pipe_that_is_opened_by_name_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "voxels.raw")
    header = "NDims = 3\nDimSize = 2 2 2\nElementType = MET_UCHAR\nElementDataFile = voxels.raw\n"
    (tmp_path / "a.mhd").write_text(f"ObjectType = Image\n{header}")
    (series,) = find_series(tmp_path).series
    assert not series.usable
    with pytest.raises(OSError, match="not a regular file"):
        open_file(tmp_path / "voxels.raw")


@pytest.mark.filterwarnings("ignore:Invalid value")
def test_a_dicomdir_is_left_out_and_its_references_are_not_followed(tmp_path: Path) -> None:
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, MediaStorageDirectoryStorage

    save_stack(make_stack(random_stack(3), SeriesInstanceUID="1.2.7"), tmp_path / "outside")
    root = save_stack(make_stack(random_stack(4)), tmp_path / "root" / "DICOM").parent
    directory = Dataset()
    directory.file_meta = FileMetaDataset()
    directory.file_meta.MediaStorageSOPClassUID = MediaStorageDirectoryStorage
    directory.file_meta.MediaStorageSOPInstanceUID = "1.2.99"
    directory.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    record = Dataset()
    record.DirectoryRecordType, record.ReferencedFileID = "IMAGE", ["..", "outside", "IM0000.dcm"]
    directory.FileSetID, directory.DirectoryRecordSequence = "X", [record]
    directory.save_as(root / "DICOMDIR", enforce_file_format=True)
    (series,) = find_series(root).series
    assert len(series.instances) == 4
    assert reasons(root) == {"DICOMDIR": "not an image: DICOMDIR"}


def test_names_that_are_not_utf8_are_read(tmp_path: Path) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/pat\xff\xe4"))
    save_stack(make_stack(random_stack(4)), folder)
    (series,) = find_series(tmp_path).series
    assert len(read_volume(series).array) == 4
    assert stat.S_ISREG(series.instances[0].path.stat().st_mode)


@pytest.mark.parametrize(("name", "head", "word"), [
    ("brain.mgz", b"\x1f\x8b\x08\0", "FreeSurfer"), ("t1.mnc", b"\x89HDF\r\n", "MINC"),
    ("scan.PAR", b"# === DATA DESCRIPTION FILE ===", "PAR/REC"), ("scan.REC", b"\0" * 64, "PAR/REC"),
    ("a+orig.BRIK.gz", b"\x1f\x8b\x08\0", "AFNI"), ("pet.v", b"MATRIX72v\0", "ECAT"), ("x.npy", b"\x93NUMPY", "array"),
])
def test_formats_that_are_not_read_are_named_with_what_to_do(tmp_path: Path, name: str, head: bytes, word: str) -> None:
    (tmp_path / name).write_bytes(head)
    (left,) = find_series(tmp_path).skipped
    assert word in left.reason
