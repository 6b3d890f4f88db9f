"""Does a DICOM file hold all the pixel data it promises? Told from lengths, without decoding."""

from __future__ import annotations

import os
import struct
from typing import Any, BinaryIO

from seriatim.io.dicom_values import get_integer, get_text
from seriatim.series.findings import Code, Finding, find

DEFLATED = "1.2.840.10008.1.2.1.99"
UNDEFINED = 0xFFFFFFFF
ITEM, SEQUENCE_END = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"
PIXEL_ELEMENTS = (0x0010, 0x0009, 0x0008)
LONG_VRS = (b"OB", b"OW", b"OF", b"OD", b"UN", b"OV", b"OL")


def check_extent(file: BinaryIO, dataset: Any) -> list[Finding]:
    """TRUNCATED where the pixel data is missing or shorter than the header promises.

    ``file`` stands where pydicom stopped: at the pixel data element.
    """
    syntax = get_text(dataset.file_meta, "TransferSyntaxUID") if hasattr(dataset, "file_meta") else ""
    if syntax == DEFLATED:
        return []  # it is inflated as a whole; reading the pixels checks it
    start = file.tell()
    size = os.fstat(file.fileno()).st_size
    little, implicit = dataset.original_encoding[1] is not False, dataset.original_encoding[0] is not False
    length = _read_pixel_length(file, little=little, implicit=implicit)
    if length is None:
        return [find(Code.TRUNCATED, "A file has a header but no pixel data. Copy or export it again.")]
    if length == UNDEFINED:
        return [] if _has_all_items(file, size) else [_truncated(size - start, None)]
    needed = expected_bytes(dataset)
    held = min(length, size - file.tell())
    return [_truncated(held, needed)] if held < needed or held < length else []


def expected_bytes(dataset: Any) -> int:
    """The bytes of uncompressed pixel data that the header promises (PS3.5 section 8.1.1)."""
    samples = get_integer(dataset, "SamplesPerPixel", 1)
    pixels = get_integer(dataset, "Rows", 0) * get_integer(dataset, "Columns", 0)
    pixels *= max(get_integer(dataset, "NumberOfFrames", 1), 1)
    if get_text(dataset, "PhotometricInterpretation") == "YBR_FULL_422":
        samples = 2
    return (pixels * samples * get_integer(dataset, "BitsAllocated", 16) + 7) // 8


def _read_pixel_length(file: BinaryIO, *, little: bool, implicit: bool) -> int | None:
    """The length of the pixel data element at the file's place, leaving the file at its value; None where it is none."""
    order = "<" if little else ">"
    head = file.read(8)
    if len(head) < 8:
        return None
    group, element = struct.unpack(f"{order}HH", head[:4])
    if group != 0x7FE0 or element not in PIXEL_ELEMENTS:
        return None
    if implicit:
        return int(struct.unpack(f"{order}L", head[4:])[0])
    if head[4:6] not in LONG_VRS:
        return int(struct.unpack(f"{order}H", head[6:])[0])
    tail = file.read(4)
    return int(struct.unpack(f"{order}L", tail)[0]) if len(tail) == 4 else None


def _has_all_items(file: BinaryIO, size: int) -> bool:
    """True where every item of encapsulated pixel data (PS3.5 annex A.4) is whole and the sequence is closed."""
    while True:
        head = file.read(8)
        if len(head) < 8:
            return False
        if head[:4] == SEQUENCE_END:
            return True
        if head[:4] != ITEM:
            return False
        end = file.tell() + int.from_bytes(head[4:], "little")
        if end > size:
            return False
        file.seek(end)


def _truncated(held: int, needed: int | None) -> Finding:
    promised = "" if needed is None else f" of {needed}"
    return find(Code.TRUNCATED, f"A file holds {held}{promised} bytes of pixel data. Copy or export it again.", held=held)
