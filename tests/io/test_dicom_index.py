"""Files that are filled in from one like them get the planes that pydicom's way gives, or are left to it."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
import pydicom
import pytest
from dicom_files import make_enhanced, make_slice, make_stack, random_stack, save, save_stack
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from seriatim.io.dicom import index as dicom_index
from seriatim.io.dicom.header import read_planes
from seriatim.io.dicom.index import PlaneReader
from seriatim.io.dicom.kinds import NotAnImageError
from seriatim.io.dicom.plane import Plane
from seriatim.io.dicom.series import build_series
from seriatim.io.source import read_head
from seriatim.io.walk import HEAD_BYTES, identify_files

ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared"
EXPLICIT, IMPLICIT, BIG, JPEG = ("1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.2",
                                 "1.2.840.10008.1.2.4.70")
LONG = ("OB", "OW", "OF", "OD", "UN", "UT", "SQ", "UC", "UR", "OL", "OV", "SV", "UV")
SOP_UID, SERIES_UID, NUMBER, POSITION = 0x00080018, 0x0020000E, 0x00200013, 0x00200032
CONTENT_TIME, PATIENT, SLOPE, CHARACTER_SET = 0x00080033, 0x00100020, 0x00281053, 0x00080005

Elements = Mapping[int, tuple[str, bytes]]
CT: Elements = {
    CHARACTER_SET: ("CS", b"ISO_IR 100"), 0x00080008: ("CS", b"ORIGINAL\\PRIMARY\\AXIAL"),
    0x00080016: ("UI", b"1.2.840.10008.5.1.4.1.1.2\0"), SOP_UID: ("UI", b"1.2.3.10"), 0x00080032: ("TM", b"101112.5"),
    CONTENT_TIME: ("TM", b"101113"), 0x00080060: ("CS", b"CT"), 0x00081140: ("SQ", b""),
    0x00100010: ("PN", b"Doe^J "), PATIENT: ("LO", b"P1"), 0x00180050: ("DS", b"2.5 "), 0x00180060: ("DS", b"120 "),
    0x00181210: ("SH", b"H30s"), 0x00190010: ("LO", b"SIEMENS MR HEADER "), 0x0019100C: ("IS", b"0 "),
    0x0020000D: ("UI", b"1.2.3\0"), SERIES_UID: ("UI", b"1.2.3.4\0"), 0x00200011: ("IS", b"3 "),
    0x00200012: ("IS", b"1 "), NUMBER: ("IS", b"7 "), POSITION: ("DS", b"-10\\-20.5\\3e1"),
    0x00200037: ("DS", b"1\\0\\0\\0\\1\\0 "), 0x00200052: ("UI", b"1.2.9\0"), 0x00280002: ("US", b"\1\0"),
    0x00280004: ("CS", b"MONOCHROME2 "), 0x00280010: ("US", b"\4\0"), 0x00280011: ("US", b"\5\0"),
    0x00280030: ("DS", b"0.5\\0.75"), 0x00280100: ("US", b"\x10\0"), 0x00280101: ("US", b"\x10\0"),
    0x00280103: ("US", b"\0\0"), 0x00281052: ("DS", b"-1024 "), SLOPE: ("DS", b"1 "),
    0x00290010: ("LO", b"SIEMENS CSA"), 0x00291010: ("OB", b"SV10 private"),
}
VALUES: Mapping[int, tuple[bytes, ...]] = {
    SOP_UID: (b"1.2.3.11", b"1.2.3.12\0", b"", b"1.2.3 ", b"1.2\\1.3", b"Doe", b"1.2.3.13\0\0"),
    SERIES_UID: (b"1.2.3.5\0", b"", b"1.2.3.4 "), 0x0020000D: (b"1.2.4\0", b""),
    NUMBER: (b"8 ", b"+12", b"", b"1.5 ", b"x ", b"99999999999 ", b" 5", b"1\\2", b"-3"),
    POSITION: (b"1\\2\\3 ", b"-1.25e-3\\0\\1E2", b"1\\2", b"nan\\0\\0", b"", b"1\\2\\x", b" 1\\2\\3", b"1e400\\0\\0",
               b"1_0\\2\\3", b"1\\2\\3\\4 ", b".5\\1\\2", b"1.\\2\\3"),
    CONTENT_TIME: (b"235959.123456 ", b"", b"Doe^J ", b"10:11:12", b"1\\2 ", b"1e5 ", b"101113.25"),
    0x0008002A: (b"20200102101112.25 ", b"20200102101112+0100 "), 0x00200052: (b"1.2\0", b"1.2.9.1\0", b""),
    0x00200011: (b"4 ", b"", b"a "), 0x00200012: (b"2 ", b"2.0 ", b"007 "), 0x00200100: (b"1 ",),
    0x00181060: (b"12.5", b"-1e3", b"nan "), 0x00541300: (b"0.125 ",),
    PATIENT: (b"P2", b"", b"P\xe9", b" P1 ", b"A\\B "),
    SLOPE: (b"2 ", b"0 ", b"", b"x ", b"1e-3", b"0.0 ", b"inf "), 0x00281052: (b"0 ", b"y "),
    CHARACTER_SET: (b"ISO_IR 192", b"utf-16", b"", b"ISO 2022 IR 87"),
    0x00080008: (b"ORIGINAL\\LOCALIZER", b"A\\MOSAIC"),
    0x00200037: (b"1\\0\\0\\0\\1\\0.2", b"0\\1\\0\\0\\0\\-1", b""), 0x00280030: (b"0 ", b"1\\1 ", b"1\\x "),
    0x00280010: (b"\0\0", b"\5\0", b"\4"), 0x00280100: (b"\x08\0", b"\x20\0"), 0x00280008: (b"2 ", b"0 "),
    0x00080016: (b"1.2.840.10008.5.1.4.1.1.7\0", b"1.2.840.10008.5.1.4.1.1.88.11", b""), 0x00080060: (b"MR", b"US"),
    0x0019100A: (b"\2\0",), 0x0019100C: (b"1000", b"\1\0\0\0"), 0x00291010: (b"other", b""), 0x00281050: (b"40",),
    0x00180050: (b"x ", b"3 "),
}
TAILS = (b"", b"", b"", bytes(9), b"junk", b"\xfc\xff\xfc\xffOB\0\0\2\0\0\0\0\0", b"\xff\xfc\xff\xfc", b"\1")
VRS = {0x0008002A: "DT", 0x00200100: "IS", 0x00181060: "DS", 0x00541300: "DS", 0x00280008: "IS", 0x0019100A: "US",
       0x00281050: "DS"}


def element(tag: int, vr: str, value: bytes, syntax: str) -> bytes:
    order = ">" if syntax == BIG else "<"
    value = value[::-1] if syntax == BIG and vr == "US" else value
    head = struct.pack(f"{order}HH", tag >> 16, tag & 0xFFFF)
    if syntax == IMPLICIT:
        return head + struct.pack(f"{order}L", len(value)) + value
    if vr in LONG:
        return head + vr.encode() + b"\0\0" + struct.pack(f"{order}L", len(value)) + value
    return head + vr.encode() + struct.pack(f"{order}H", len(value)) + value


def content(elements: Elements, syntax: str = EXPLICIT, *, pixels: bytes = bytes(40), tail: bytes = b"") -> bytes:
    """A DICOM file, byte by byte: pydicom would mend what is broken."""
    meta = {0x00020002: ("UI", b"1.2.840.10008.5.1.4.1.1.2\0"), 0x00020003: ("UI", elements[SOP_UID][1]),
            0x00020010: ("UI", syntax.encode() + b"\0" * (len(syntax) % 2))}
    body = b"".join(element(tag, vr, value, EXPLICIT) for tag, (vr, value) in meta.items())
    data = b"".join(element(tag, *elements[tag], syntax) for tag in sorted(elements))
    if syntax == JPEG:
        pixels = b"\xe0\x7f\x10\x00OB\0\0\xff\xff\xff\xff" + pixels
    else:
        pixels = element(0x7FE00010, "OW", pixels, syntax)
    length = element(0x00020000, "UL", struct.pack("<L", len(body)), EXPLICIT)
    return bytes(128) + b"DICM" + length + body + data + pixels + tail


def items(*fragments: bytes) -> bytes:
    parts = [b"\xfe\xff\x00\xe0" + struct.pack("<L", len(fragment)) + fragment for fragment in (b"", *fragments)]
    return b"".join(parts) + b"\xfe\xff\xdd\xe0\0\0\0\0"


def outcome(read: Any, *arguments: Any) -> Any:
    """What can be compared: NaN is like NaN, and traits have no order."""
    try:
        planes = read(*arguments)
    except (NotAnImageError, OSError) as error:
        return str(error)
    values = [{field.name: getattr(plane, field.name) for field in fields(plane)} for plane in planes]
    return [{**one, "traits": repr(sorted(one["traits"].items()))} for one in values]


def check_same(reader: PlaneReader, path: Path, data: bytes | None = None) -> None:
    """Both ways give the same planes, or the same reason."""
    if data is not None:
        path.write_bytes(data)
    assert outcome(reader.read, path, *read_head(path, HEAD_BYTES)) == outcome(read_planes, path)


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that were left to pydicom."""
    paths: list[Path] = []
    monkeypatch.setattr(dicom_index, "read_planes", lambda path: paths.append(path) or read_planes(path))
    return paths


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG, JPEG])
def test_the_files_of_a_series_are_filled_in_from_the_first(tmp_path: Path, slow: list[Path], syntax: str) -> None:
    reader = PlaneReader()
    pixels = items(b"some") if syntax == JPEG else bytes(40)
    for index in range(40):
        own = {SOP_UID: ("UI", b"1.2.3.%d" % index), NUMBER: ("IS", b"%d" % (50 - index)),
               POSITION: ("DS", b"-10.5\\20\\%.3f" % (0.7 * index)), CONTENT_TIME: ("TM", b"1011%02d.5" % index),
               0x00281052: ("DS", b"-1%03d" % index), 0x00291010: ("OB", bytes(index))}
        check_same(reader, tmp_path / str(index), content({**CT, **own}, syntax, pixels=pixels))
    assert len(slow) == 1


def test_series_that_differ_in_their_uids_and_patients_alone_are_of_one_kind(tmp_path: Path, slow: list[Path]) -> None:
    reader = PlaneReader()
    for index in range(9):
        own = {SERIES_UID: ("UI", b"1.2.3.4.%d" % index), PATIENT: ("LO", b"P%d" % index),
               0x00200011: ("IS", b"%d" % index)}
        check_same(reader, tmp_path / str(index), content({**CT, **own}))
    assert len(slow) == 1


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG, JPEG])
def test_any_values_give_the_planes_of_pydicom(tmp_path: Path, syntax: str) -> None:
    reader, rng = PlaneReader(), random.Random(syntax)
    for index in range(250):
        elements = dict(CT)
        for tag in rng.sample(sorted(VALUES), rng.randint(1, 3)):
            vr = elements.get(tag, (VRS.get(tag, ""), b""))[0]
            elements[tag] = (vr, rng.choice(VALUES[tag]))
        for tag in rng.sample(sorted(CT), rng.choice((0, 0, 0, 1))):
            elements = {key: value for key, value in elements.items() if key != tag or tag == SOP_UID}
        pixels = items(b"some", b"more") if syntax == JPEG else bytes(40)
        pixels = pixels[: rng.choice((None, None, None, 20))]
        data = content(elements, syntax, pixels=pixels, tail=rng.choice(TAILS))
        data = data[: rng.choice((None, None, None, -1, -30, -60))]
        check_same(reader, tmp_path / str(index % 9), data)


@pytest.mark.parametrize("tag", [SOP_UID, NUMBER, POSITION, CONTENT_TIME, PATIENT, SLOPE, SERIES_UID])
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True)
@given(value=st.one_of(st.binary(max_size=12), st.text("0123456789.+-eE\\ \0", max_size=16).map(str.encode)))
def test_any_bytes_of_its_own_give_the_planes_of_pydicom(tmp_path: Path, tag: int, value: bytes) -> None:
    reader = PlaneReader()
    check_same(reader, tmp_path / "first", content(CT))
    check_same(reader, tmp_path / "second", content({**CT, tag: (CT[tag][0], value)}))


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG, JPEG])
def test_flipped_bytes_never_give_other_planes(tmp_path: Path, syntax: str) -> None:
    reader, rng = PlaneReader(), random.Random(syntax)
    pixels = items(b"some") if syntax == JPEG else bytes(40)
    files = [content({**CT, NUMBER: ("IS", b"%d" % index), SOP_UID: ("UI", b"1.2.3.%d" % index)}, syntax, pixels=pixels)
             for index in range(4)]
    for index, data in enumerate(files):
        check_same(reader, tmp_path / str(index), data)
    for _ in range(400):
        data = bytearray(rng.choice(files))
        for _ in range(rng.choice((1, 1, 1, 2, 5))):
            data[rng.randrange(len(data))] = rng.choice((0, 1, 0x20, 0x30, 0xFF, rng.randrange(256)))
        check_same(reader, tmp_path / "flipped", bytes(data))


def test_unusual_files_are_left_to_pydicom(tmp_path: Path, slow: list[Path]) -> None:
    def datasets() -> Iterable[pydicom.Dataset]:
        yield make_slice(np.zeros((3, 4, 5), "<u2"), None, NumberOfFrames=3, SOPClassUID="1.2.840.10008.5.1.4.1.1.3.1",
                         Modality="US", FrameTime=40)
        yield make_enhanced(random_stack(3), np.zeros((3, 3)), [{}, {}, {}], [1, 2, 3])
        yield make_slice(np.zeros((4, 5), "<u2"), (0, 0, 0), ImageType=["ORIGINAL", "PRIMARY", "MOSAIC"])

    reader = PlaneReader()
    for index, dataset in enumerate(datasets()):
        path = save(dataset, tmp_path / str(index))
        for _ in range(2):
            check_same(reader, path)
    assert len(slow) == 6


def test_a_long_header_is_read_on(tmp_path: Path, slow: list[Path]) -> None:
    reader = PlaneReader()
    for index in range(3):
        long = {0x00291010: ("OB", bytes(HEAD_BYTES)), NUMBER: ("IS", b"%d" % index)}
        check_same(reader, tmp_path / str(index), content({**CT, **long}))
    assert len(slow) == 1


def test_each_file_is_opened_once(tmp_path: Path, slow: list[Path]) -> None:
    from seriatim.io import find_series

    save_stack(make_stack(random_stack(12)), tmp_path)
    assert len(find_series(tmp_path).series[0].instances) == 12
    assert len(slow) == 1


@pytest.mark.shared
@pytest.mark.skipif(not SHARED.exists(), reason="needs the data of ../shared")
def test_real_files_give_the_planes_of_pydicom(slow: list[Path]) -> None:
    reader = PlaneReader()
    files = [one for one in identify_files(SHARED)[0] if one.kind == "dicom"]
    for file in files:
        check_same(reader, file.path)
    assert len(files) > 200
    assert len(slow) < len(files) / 3


def test_the_work_grows_with_the_slices_not_with_their_square() -> None:
    """20,000 slices in one series, in as many folders; many orientations: seconds, where a square is hours."""
    def plane(index: int, turn: float) -> Plane:
        orientation = (float(np.cos(turn)), float(np.sin(turn)), 0.0, 0.0, 0.0, -1.0)
        return Plane(path=Path(f"{index}/IM"), frame=None, sop_instance_uid=f"1.{index}", sop_class_uid="1.2",
                     study_uid="1", series_uid="2", modality="CT", rows=4, columns=5, number=index,
                     position=(0.0, 0.7 * index + (index % 3 == 0) * 0.2, 0.0), orientation=orientation,
                     spacing_mm=(1.0, 1.0))

    started = process_time()
    one = build_series([plane(index, 0.0) for index in range(20_000)], path=Path("folder"))
    many = build_series([plane(index, index / 3000) for index in range(2000)], path=Path("folder"))
    assert process_time() - started < 15
    assert [len(series.instances) for series in one] == [20_000]
    assert sum(len(series.instances) for series in many) == 2000
