"""Small files that promise or unpack to huge images: refused with the reason, and the memory is never taken."""

from __future__ import annotations

import gzip
import io
import os
import struct
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from dicom_files import make_slice, make_stack, random_stack, save, save_stack
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.uid import DeflatedExplicitVRLittleEndian, JPEG2000Lossless, RLELossless

from seriatim.errors import DecoderError
from seriatim.io import Limits, find_series, read_volume
from seriatim.series import Inventory

resource = pytest.importorskip("resource")
SPARE_BYTES = 160 << 20


@contextmanager
def little_memory() -> Iterator[None]:
    """Let this process grow by 160 MiB only (on Linux, where that can be said)."""
    if sys.platform != "linux":
        yield
        return
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * os.sysconf("SC_PAGE_SIZE") + SPARE_BYTES, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def reasons(inventory: Inventory) -> str:
    assert not any(series.usable for series in inventory.series)
    return "; ".join([*(series.reason for series in inventory.series), *(one.reason for one in inventory.skipped)])


def deflated(*, start: bytes = b"", tail: bytes = b"", **values: object) -> bytes:
    """A deflated DICOM file; ``start`` and ``tail`` are added to its data set, ``values`` override attributes."""
    plain = io.BytesIO()
    make_slice(random_stack(1, 4, 4)[0], (0, 0, 0), **values).save_as(plain, enforce_file_format=True)
    raw = plain.getvalue()
    end = 144 + struct.unpack("<L", raw[140:144])[0]
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    body = b"".join(map(packer.compress, (start, raw[end:], tail))) + packer.flush()
    syntax = b"\2\0\x10\0UI\x16\x001.2.840.10008.1.2.1.99"
    meta = raw[144:end].replace(b"\2\0\x10\0UI\x14\x001.2.840.10008.1.2.1\0", syntax)
    return raw[:140] + struct.pack("<L", len(meta)) + meta + body


ZEROS = bytes(210 << 20)


@pytest.mark.parametrize("where", ["after", "before", "promised"])
def test_a_deflated_bomb_is_told_without_its_memory(tmp_path: Path, where: str) -> None:
    long = struct.pack("<L", len(ZEROS)) + ZEROS
    raw = {
        "after": lambda: deflated(tail=b"\xfc\xff\xfc\xffOB\0\0" + long),  # an element that follows the pixel data
        "before": lambda: deflated(start=b"\4\0\0\x10OB\0\0" + long),
        "promised": lambda: deflated(NumberOfFrames=len(ZEROS) // (4 * 4 * 2), PixelData=ZEROS),
    }[where]()
    (tmp_path / "bomb.dcm").write_bytes(raw)
    assert len(raw) < 1 << 20
    with little_memory():
        assert "TOO_LARGE" in reasons(find_series(tmp_path))


def test_deflated_slices_are_read_and_cut_ones_told(tmp_path: Path) -> None:
    stored = random_stack(4)
    datasets = make_stack(stored)
    for dataset in datasets:
        dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    (series,) = find_series(save_stack(datasets, tmp_path)).series
    np.testing.assert_array_equal(read_volume(series).array, stored.astype(int) - 1024)
    path = series.instances[2].path
    path.write_bytes(path.read_bytes()[:-60])
    assert "TRUNCATED" in reasons(find_series(tmp_path))


def jpeg2000(columns: int, rows: int) -> bytes:
    """A JPEG 2000 codestream that claims a size, with one real tile part."""
    encoded = io.BytesIO()
    Image.fromarray(np.zeros((4, 4), dtype=np.uint8)).save(encoded, "JPEG2000", no_jp2=True)
    raw = bytearray(encoded.getvalue())
    place = raw.index(b"\xff\x51") + 6
    raw[place : place + 8] = struct.pack(">LL", columns, rows)
    raw[place + 16 : place + 24] = struct.pack(">LL", columns, rows)
    return bytes(raw)


@pytest.mark.parametrize("claimed", [4, 65535])
def test_a_codestream_that_claims_more_than_its_header(tmp_path: Path, claimed: int) -> None:
    for index in range(3):
        dataset = make_slice(random_stack(1, 4, 4)[0], (0, 0, index), Rows=claimed, Columns=claimed,
                             BitsAllocated=8, BitsStored=8, HighBit=7, SOPInstanceUID=f"1.2.3.{index}")
        dataset.file_meta.TransferSyntaxUID = JPEG2000Lossless
        dataset.PixelData = encapsulate([jpeg2000(65535, 65535)])
        dataset["PixelData"].VR = "OB"
        dataset["PixelData"].is_undefined_length = True
        save(dataset, tmp_path / f"{index}.dcm")
    (series,) = find_series(tmp_path).series
    if claimed == 4:
        with pytest.raises(DecoderError):
            read_volume(series, limits=Limits())
    else:
        assert "TOO_LARGE" in series.reason


def test_an_rle_frame_that_unpacks_to_more_than_its_header_says(tmp_path: Path) -> None:
    segment = b"\x81\0" * 200_000  # 128 zeros each
    for index in range(3):
        dataset = make_slice(random_stack(1, 4, 4)[0], (0, 0, index), BitsAllocated=8, BitsStored=8, HighBit=7,
                             SOPInstanceUID=f"1.2.3.{index}")
        dataset.file_meta.TransferSyntaxUID = RLELossless
        dataset.PixelData = encapsulate([struct.pack("<16L", 1, 64, *[0] * 14) + segment])
        dataset["PixelData"].VR = "OB"
        dataset["PixelData"].is_undefined_length = True
        save(dataset, tmp_path / f"{index}.dcm")
    (series,) = find_series(tmp_path).series
    try:
        assert read_volume(series, limits=Limits()).array.shape == (3, 4, 4)
    except DecoderError as error:
        assert "DECODER_CRASH" not in str(error)  # noqa: PT017 - either is right


def nifti(size: tuple[int, int, int]) -> bytes:
    header = bytearray(352)
    struct.pack_into("<i8h", header, 0, 348, *[0] * 8)
    struct.pack_into("<8h", header, 40, 3, *size, 1, 1, 1, 1)
    struct.pack_into("<2h", header, 70, 4, 16)
    struct.pack_into("<8f", header, 76, 1, 1, 1, 1, 0, 0, 0, 0)
    struct.pack_into("<f", header, 108, 352)
    struct.pack_into("<2h", header, 252, 1, 0)
    header[344:348] = b"n+1\0"
    return bytes(header)


NRRD = b"NRRD0004\ntype: short\ndimension: 3\nsizes: 10000 10000 10000\nencoding: raw\nendian: little\n\n\0\0"
META = (b"ObjectType = Image\nNDims = 3\nDimSize = 10000 10000 10000\nElementType = MET_SHORT\n"
        b"ElementDataFile = LOCAL\n\0\0")


@pytest.mark.parametrize(
    ("name", "make", "reason"),
    [
        ("a.nii", lambda: nifti((32767, 32767, 32767)), "TOO_LARGE"),
        ("a.nii.gz", lambda: gzip.compress(nifti((32767, 32767, 32767)) + ZEROS, 1), "TOO_LARGE"),
        ("a.nii.gz", lambda: gzip.compress(nifti((4, 4, 4)) + ZEROS, 1), ""),
        ("a.nrrd", lambda: NRRD, "TOO_LARGE"),
        ("a.mha", lambda: META, "TOO_LARGE"),
    ],
)
def test_volume_files_that_promise_or_hold_too_much(
    tmp_path: Path, name: str, make: Callable[[], bytes], reason: str
) -> None:
    """Made when the test runs: to pack them takes longer than to collect all tests of this room."""
    (tmp_path / name).write_bytes(make())
    with little_memory():
        inventory = find_series(tmp_path)
    if reason:
        assert reason in reasons(inventory)


def png(columns: int, rows: int) -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">L", len(content)) + kind + content + struct.pack(">L", zlib.crc32(kind + content))

    head = struct.pack(">LLBBBBB", columns, rows, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", b"x\1") + chunk(b"IEND", b"")


def gif(columns: int, rows: int) -> bytes:
    frame = b"\x2c" + struct.pack("<4H", 0, 0, columns, rows) + b"\0\x08\x01\0\0"
    return b"GIF89a" + struct.pack("<2H", columns, rows) + b"\x80\0\0\0\0\0\xff\xff\xff" + frame * 2 + b";"


def tiff(columns: int, rows: int) -> bytes:
    tags = [(256, 4, 1, columns), (257, 4, 1, rows), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (273, 4, 1, 8),
            (277, 3, 1, 1), (278, 4, 1, rows), (279, 4, 1, 64)]
    packed = b"".join(struct.pack("<HHLL", *tag) for tag in tags)
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + packed + bytes(68)


@pytest.mark.parametrize(("ending", "make"), [("png", png), ("gif", gif), ("tif", tiff)])
def test_pictures_that_promise_too_much(tmp_path: Path, ending: str, make: object) -> None:
    for index in range(3):
        (tmp_path / f"{index}.{ending}").write_bytes(make(65000, 65000))
    inventory = find_series(tmp_path, limits=Limits())
    assert reasons(inventory)


def spliced(extra: bytes, *, sparse: int = 0, path: Path) -> None:
    """A DICOM slice with bytes before its pixel data; ``sparse``: the size it claims on disk, in zeros."""
    plain = io.BytesIO()
    make_slice(random_stack(1, 4, 4)[0], (0, 0, 0)).save_as(plain, enforce_file_format=True)
    raw = plain.getvalue()
    place = raw.rindex(b"\xe0\x7f\x10\x00")
    path.write_bytes(raw[:place] + extra + raw[place:])
    if sparse:
        os.truncate(path, sparse)


HUGE, UNDEFINED = 0xF0000000, 0xFFFFFFFF
ITEM_OF_ONE = b"\xfe\xff\x00\xe0\x08\0\0\0" + b"\x08\x00\x10\x00SH\0\0"
HEADER_BOMBS = {
    "an element that is read": (struct.pack("<HH2sHL", 0x5200, 0x9230, b"UN", 0, HUGE), HUGE + 4096),
    "one without a length": (struct.pack("<HH2sHL", 0x5201, 0x1010, b"OB", 0, UNDEFINED), HUGE),
    "many items": (struct.pack("<HH2sHL", 0x5200, 0x9230, b"SQ", 0, 16 * 600_000) + ITEM_OF_ONE * 600_000, 0),
    "items in items": (struct.pack("<HH2sHL", 0x5201, 0x1010, b"UN", 0, UNDEFINED)
                       + b"\xfe\xff\x00\xe0\xff\xff\xff\xff" * 200_000, 0),
}


@pytest.mark.parametrize("bomb", HEADER_BOMBS)
def test_a_header_that_never_ends_costs_one_row(tmp_path: Path, bomb: str) -> None:
    """Without a bound: 4 GB of memory, 20 s, or minutes."""
    save_stack(make_stack(random_stack(4), SeriesInstanceUID="1.2.9"), tmp_path / "whole")
    extra, sparse = HEADER_BOMBS[bomb]
    spliced(extra, sparse=sparse, path=tmp_path / "bomb.dcm")
    with little_memory():
        inventory = find_series(tmp_path)
    assert [series.usable for series in inventory.series] == [True]
    (skipped,) = inventory.skipped
    assert skipped.reason.startswith("TOO_LARGE: the header")


def test_more_pixel_data_than_the_header_says_is_not_read(tmp_path: Path) -> None:
    path = save(make_slice(random_stack(1, 4, 4)[0], (0, 0, 0)), tmp_path / "a.dcm")
    raw = path.read_bytes()
    place = raw.rindex(b"\xe0\x7f\x10\x00") + 8
    path.write_bytes(raw[:place] + struct.pack("<L", HUGE) + raw[place + 4 :])
    os.truncate(path, place + 4 + HUGE)
    with little_memory():
        assert "BAD_VALUE" in reasons(find_series(tmp_path))


def test_a_sparse_file_without_a_uid_is_named_without_its_terabytes(tmp_path: Path) -> None:
    dataset = make_slice(random_stack(1, 4, 4)[0], (0, 0, 0))
    path = save(dataset, tmp_path / "a.dcm")
    raw = path.read_bytes()
    place = raw.index(b"\x08\x00\x18\x00UI")
    path.write_bytes(raw[:place] + raw[place + 8 + struct.unpack("<H", raw[place + 6 : place + 8])[0] :])
    os.truncate(path, 1 << 40)
    with pytest.MonkeyPatch.context() as patch, little_memory():
        patch.setattr("seriatim.io.content.HASHED_BYTES", 1 << 20)
        (series,) = find_series(tmp_path).series
    assert series.instances[0].sop_instance_uid.startswith("2.25.")


def test_two_copies_of_many_frames_are_each_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file was digested anew for each of its frames: two copies of a clip took minutes."""
    import seriatim.io.dicom.duplicates as duplicates

    opened = []
    monkeypatch.setattr(duplicates, "open_inflated", lambda file, real=duplicates.open_inflated: (
        opened.append(file.name), real(file))[1])
    clip = make_slice(random_stack(30), None, NumberOfFrames=30, Modality="US",
                      SOPClassUID="1.2.840.10008.5.1.4.1.1.3.1")
    for name in ("a.dcm", "b.dcm"):
        save(clip, tmp_path / name)
    (series,) = find_series(tmp_path).series
    assert len(series.instances) == 30
    assert len(opened) == 2


def test_a_picture_that_vanishes_while_its_stack_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other folders are found all the same."""
    import seriatim.io.pictures.pictures as pictures

    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        for index in range(3):
            Image.fromarray(np.full((4, 4), index, dtype=np.uint8)).save(tmp_path / folder / f"{index}.png")
    real = pictures.digest_files
    monkeypatch.setattr(pictures, "digest_files", lambda paths: (
        (tmp_path / "a" / "1.png").unlink(missing_ok=True), real(paths))[1])
    inventory = find_series(tmp_path)
    assert [series.path.name for series in inventory.series] == ["b"]
    assert {one.path.name for one in inventory.skipped} == {"0.png", "1.png", "2.png"}
