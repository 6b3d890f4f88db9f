"""The quick walk over a DICOM head finds what pydicom finds, or says that it will not."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np
import pydicom
import pytest
from dicom_files import make_slice
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from seriatim.io.dicom.walk import Head, HeadTooShortError, HeadWalker

SOP_UID, POSITION, ROWS, TYPE = 0x00080018, 0x00200032, 0x00280010, 0x00080008
SYNTAXES = (ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian)


def write(dataset: Dataset, syntax: str = ExplicitVRLittleEndian) -> bytes:
    dataset.file_meta.TransferSyntaxUID = syntax
    if syntax == ExplicitVRBigEndian:
        dataset["PixelData"].VR = "OW"
    buffer = BytesIO()
    pydicom.dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()


def walk(data: bytes, walker: HeadWalker | None = None) -> Head | None:
    return (walker or HeadWalker(frozenset({ROWS, TYPE}), frozenset({SOP_UID, POSITION}))).walk(data)


def nested(**values: Any) -> Dataset:
    dataset = Dataset()
    inner = Dataset()
    inner.ReferencedSOPInstanceUID = "1.2.3"
    dataset.ReferencedImageSequence = Sequence([inner, Dataset()])
    for name, value in values.items():
        setattr(dataset, name, value)
    return dataset


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("undefined", [True, False])
def test_elements_and_pixels_stand_where_pydicom_finds_them(syntax: str, *, undefined: bool) -> None:
    dataset = make_slice(np.zeros((4, 5), "<u2"), (1.5, 2.25, -3.0), SOPInstanceUID="1.2.3.44",
                         SourceImageSequence=Sequence([nested(), nested()]))
    dataset["SourceImageSequence"].is_undefined_length = undefined
    for item in dataset.SourceImageSequence:
        item.is_undefined_length_sequence_item = undefined
    data = write(dataset, syntax)
    head = walk(data)
    plain = pydicom.dcmread(BytesIO(data))
    assert head is not None
    assert head.own[SOP_UID][1] == b"1.2.3.44"
    assert head.own[POSITION][1].strip() == b"1.5\\2.25\\-3.0"
    assert (head.pixel_tag, head.pixel_length) == (0x7FE00010, 40)
    assert data[head.pixel_start :] == plain.PixelData
    assert head.syntax.decode() == syntax


def test_what_was_met_before_is_found_again() -> None:
    walker = HeadWalker(frozenset({ROWS, TYPE}), frozenset({SOP_UID, POSITION}))
    shared = 0
    for index in range(30):
        dataset = make_slice(np.zeros((4, 5), "<u2"), (0, 0, index), SOPInstanceUID=f"1.2.{index}", PatientAge="050Y",
                             StationName=f"CT{index // 9}", ImageType=["ORIGINAL", f"SET{index // 7}"])
        data = write(dataset)
        again, first = walk(data, walker), walk(data)
        assert again is not None
        assert first is not None
        assert (again.own, again.fixed, again.syntax) == (first.own, first.fixed, first.syntax)
        assert (again.pixel_start, again.pixel_length) == (first.pixel_start, first.pixel_length)
        shared += len(again.shared)
    assert shared > 20


def test_what_is_unusual_is_left_to_pydicom() -> None:
    data = write(make_slice(np.zeros((4, 5), "<u2"), (0, 0, 0)))
    rows = data.index(b"\x28\x00\x10\x00US")
    for place, byte in ((128, b"X"), (rows + 4, b"ZZ"), (rows, b"\x00\x00"), (rows + 6, b"\xff\x7f")):
        changed = data[:place] + byte + data[place + len(byte) :]
        try:
            assert walk(changed) is None
        except HeadTooShortError:
            assert place == rows + 6


def test_a_head_without_its_pixels_is_too_short() -> None:
    data = write(make_slice(np.zeros((4, 5), "<u2"), (0, 0, 0)))
    for length in (140, 300, data.index(b"\xe0\x7f\x10\x00") + 3):
        with pytest.raises(HeadTooShortError):
            walk(data[:length])
