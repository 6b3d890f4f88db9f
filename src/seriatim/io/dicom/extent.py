"""Where the pixel data of a DICOM file lies, and whether all that is promised is there. Nothing is decoded."""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from typing import Any, BinaryIO

from seriatim.io.dicom.values import get_integer, get_text
from seriatim.io.source import size_of
from seriatim.series.findings import Code, Finding, find

NATIVE = frozenset({"", "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"})
MAX_TRAILER = 1 << 24
"""No padding or signature after the pixel data is longer, bytes."""
DEFLATED = "1.2.840.10008.1.2.1.99"
UNDEFINED = 0xFFFFFFFF
ITEM, SEQUENCE_END = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"
PIXEL_VRS = {0x0010: ("PixelData", "OW"), 0x0009: ("DoubleFloatPixelData", "OD"), 0x0008: ("FloatPixelData", "OF")}
LONG_VRS = (b"OB", b"OW", b"OF", b"OD", b"UN", b"OV", b"OL")


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """The value of the pixel data element: where it starts and ends in the file, and whether it is all there."""

    keyword: str
    vr: str
    start: int
    end: int
    encapsulated: bool
    whole: bool
    needed: int


def find_extent(file: BinaryIO, dataset: Any) -> Extent | None:
    """The pixel data of a file that stands where pydicom stopped; None where there is none.

    Uncompressed data is whole where it has the bytes the header promises (PS3.5 section 8.1.1), encapsulated data where
    every item is whole and the sequence is closed (annex A.4).
    """
    size = size_of(file)
    little, implicit = dataset.original_encoding[1] is not False, dataset.original_encoding[0] is not False
    found = _read_element(file, little=little, implicit=implicit)
    if found is None:
        return None
    keyword, vr, length = found
    start = file.tell()
    if length == UNDEFINED:
        whole = skip_items(file, size)
        return Extent(keyword=keyword, vr=vr, start=start, end=file.tell(), encapsulated=True, whole=whole, needed=0)
    needed = expected_bytes(dataset)
    end = min(start + length, size)
    if file.read(4) == ITEM and (end - start < needed or _syntax(dataset) not in NATIVE):  # but with a defined length
        whole = start + length <= size
        return Extent(keyword=keyword, vr=vr, start=start, end=end, encapsulated=True, whole=whole, needed=0)
    whole = start + length <= size and length >= needed
    return Extent(keyword=keyword, vr=vr, start=start, end=end, encapsulated=False, whole=whole, needed=needed)


def check_extent(file: BinaryIO, dataset: Any) -> list[Finding]:
    """What is wrong with the pixel data element: TRUNCATED, or BAD_VALUE where it contradicts the header."""
    start = file.tell()
    extent = find_extent(file, dataset)
    if extent is None:
        file.seek(start)
        return [find(Code.TRUNCATED, "A file has a header but no pixel data. Copy or export it again.")]
    file.seek(extent.end)
    tail = file.read(8) if extent.whole else b""
    file.seek(start)
    if extent.whole:
        return _check_whole(extent, dataset, tail) or _check_excess(file, extent, start)
    held = extent.end - extent.start
    promised = f" of {extent.needed}" if extent.needed else ""
    message = f"A file holds {held}{promised} bytes of pixel data. Copy or export it again."
    return [find(Code.TRUNCATED, message, held=held)]


def _check_whole(extent: Extent, dataset: Any, tail: bytes) -> list[Finding]:
    """BAD_VALUE for pixel data that is all there and does not fit the header, or what follows it (``tail``)."""
    if extent.encapsulated and _syntax(dataset) in NATIVE:
        message = "The pixel data is encapsulated, the transfer syntax says that it is not compressed. Export it again."
        return [find(Code.BAD_VALUE, message)]
    if tail.strip(b"\0") and not follows(tail, little=dataset.original_encoding[1] is not False):
        message = "What follows the pixel data is no element: bytes may be lost or added within. Compare the file."
        return [replace(find(Code.BAD_VALUE, message), action="keep")]
    return []


def follows(tail: bytes, *, little: bool) -> bool:
    """True where an element begins (its first 8 bytes) that may stand after the pixel data: tags ascend (PS3.5 7.1)."""
    group = int.from_bytes(tail[:2], "little" if little else "big")
    known = group in (0x7FE0, 0xFFFA, 0xFFFC) or (group > 0x7FE0 and group % 2 == 1)
    return known and len(tail) == 8 and (tail[4:6].isalpha() or int.from_bytes(tail[4:], "little") < MAX_TRAILER)


def _syntax(dataset: Any) -> str:
    return get_text(dataset.file_meta, "TransferSyntaxUID") if hasattr(dataset, "file_meta") else ""


def _check_excess(file: BinaryIO, extent: Extent, start: int) -> list[Finding]:
    """BAD_VALUE where uncompressed data goes on after what the header promises, with more than padding."""
    if extent.encapsulated or extent.end - extent.start <= extent.needed + 1:
        return []
    if extent.end - extent.start - extent.needed <= MAX_TRAILER:  # else more than padding, whatever it holds
        file.seek(extent.start + extent.needed)
        more = file.read(extent.end - file.tell())
        file.seek(start)
        if not any(more):
            return []
    held = extent.end - extent.start
    message = f"A file holds {held} bytes of pixel data, the header speaks of {extent.needed}: one of them is wrong."
    return [find(Code.BAD_VALUE, message, held=held)]


def expected_bytes(dataset: Any) -> int:
    """The bytes of uncompressed pixel data that the header promises."""
    samples = get_integer(dataset, "SamplesPerPixel", 1)
    pixels = get_integer(dataset, "Rows", 0) * get_integer(dataset, "Columns", 0)
    pixels *= max(get_integer(dataset, "NumberOfFrames", 1), 1)
    if get_text(dataset, "PhotometricInterpretation") == "YBR_FULL_422":
        samples = 2
    return (pixels * samples * get_integer(dataset, "BitsAllocated", 16) + 7) // 8


def _read_element(file: BinaryIO, *, little: bool, implicit: bool) -> tuple[str, str, int] | None:
    """Keyword, VR and length of the pixel data element at the file's place, leaving the file at its value."""
    order = "<" if little else ">"
    head = file.read(8)
    if len(head) < 8:
        return None
    group, element = struct.unpack(f"{order}HH", head[:4])
    if group != 0x7FE0 or element not in PIXEL_VRS:
        return None
    keyword, vr = PIXEL_VRS[element]
    if implicit or not head[4:6].isalpha():
        return keyword, vr, int(struct.unpack(f"{order}L", head[4:])[0])
    if head[4:6] not in LONG_VRS:
        return keyword, vr, int(struct.unpack(f"{order}H", head[6:])[0])
    tail = file.read(4)
    return (keyword, head[4:6].decode(), int(struct.unpack(f"{order}L", tail)[0])) if len(tail) == 4 else None


def skip_items(file: BinaryIO, size: int) -> bool:
    """Go to the end of the items; True where each is whole and the sequence is closed."""
    while True:
        place = file.tell()
        head = file.read(8)
        if head[:4] == SEQUENCE_END and len(head) == 8:
            return True
        end = file.tell() + int.from_bytes(head[4:], "little")
        if head[:4] != ITEM or len(head) < 8 or end > size:
            file.seek(place)
            return False
        file.seek(end)
