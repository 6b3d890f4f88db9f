"""DICOM files byte by byte: every legal encoding, and every illegal one, without the library's opinion."""

from __future__ import annotations

import struct
from typing import Any

from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.tag import Tag

EXPLICIT, IMPLICIT, BIG = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.2"
UNDEFINED = 0xFFFFFFFF
ITEM, ITEM_END, SEQUENCE_END = b"\xfe\xff\x00\xe0", b"\xfe\xff\x0d\xe0", b"\xfe\xff\xdd\xe0"


def put_raw(dataset: Dataset, keyword: str, value: bytes, vr: str | None = None) -> None:
    """Set an attribute to bytes as they are, padded to an even length."""
    tag = Tag(keyword)
    if vr is None:
        vr = dataset[tag].VR if tag in dataset else DataElement(tag, *_blank(tag)).VR
    pad = b"\0" if vr in ("UI", "UN", "OB", "OW") else b" "
    value += pad * (len(value) % 2)
    dataset._dict[tag] = RawDataElement(tag, vr, len(value), value, 0, False, True, True)  # type: ignore[index]


def _blank(tag: Any) -> tuple[str, None]:
    from pydicom.datadict import dictionary_VR

    return dictionary_VR(tag), None


def encode(dataset: Dataset, pixels: bytes | None, *, syntax: str = EXPLICIT, vr: str = "OW", head: str = "whole",
           before: bytes = b"", after: bytes = b"", encapsulated: bool = False) -> bytes:
    """A file: head ("whole", "no preamble", "no meta"), data set, ``before``, pixel data, ``after``."""
    body = encode_body(dataset, syntax) + before
    if pixels is not None:
        body += pixel_element(pixels, syntax=syntax, vr=vr, encapsulated=encapsulated)
    body += after
    if head == "no meta":
        return body
    meta = encode_meta(dataset, syntax)
    return meta if head == "only meta" else (b"" if head == "no preamble" else bytes(128) + b"DICM") + meta + body


def encode_body(dataset: Dataset, syntax: str) -> bytes:
    """The data set without its file head."""
    body = b""
    for tag in sorted(dataset.keys()):
        held = dataset.get_item(tag)
        if isinstance(held, RawDataElement):
            body += _raw_element(held, syntax)
            continue
        buffer, alone = DicomBytesIO(), Dataset()
        buffer.is_little_endian, buffer.is_implicit_VR = syntax != BIG, syntax == IMPLICIT
        alone[tag] = held
        write_dataset(buffer, alone)
        body += buffer.getvalue()
    return body


def _raw_element(held: RawDataElement, syntax: str) -> bytes:
    value, vr = held.value or b"", str(held.VR)
    order = ">" if syntax == BIG else "<"
    head = struct.pack(f"{order}HH", held.tag.group, held.tag.element)
    if syntax == IMPLICIT:
        return head + struct.pack("<L", len(value)) + value
    if vr in ("OB", "OW", "UN"):
        return head + struct.pack(f"{order}2sHL", vr.encode(), 0, len(value)) + value
    return head + struct.pack(f"{order}2sH", vr.encode(), len(value)) + value


def encode_meta(dataset: Dataset, syntax: str) -> bytes:
    """File meta information, group 2, always explicit little endian (PS3.10 7.1)."""
    def text(element: int, vr: bytes, value: bytes) -> bytes:
        value += b"\0" * (len(value) % 2)
        return struct.pack("<HH2sH", 2, element, vr, len(value)) + value

    body = struct.pack("<HH2sHL", 2, 1, b"OB", 0, 2) + b"\0\1"
    for element, keyword in ((2, "SOPClassUID"), (3, "SOPInstanceUID")):
        value = str(dataset.get(keyword) or "") if keyword in dataset else ""
        body += text(element, b"UI", value.encode())
    body += text(0x10, b"UI", syntax.encode()) + text(0x12, b"UI", b"1.2.3.44")
    return struct.pack("<HH2sHL", 2, 0, b"UL", 4, len(body)) + body


def pixel_element(pixels: bytes, *, syntax: str = EXPLICIT, vr: str = "OW", encapsulated: bool = False,
                  tag: tuple[int, int] = (0x7FE0, 0x0010)) -> bytes:
    """Pixel Data; ``encapsulated`` takes items as they are and writes an undefined length."""
    order = ">" if syntax == BIG else "<"
    length = UNDEFINED if encapsulated else len(pixels) + len(pixels) % 2
    value = pixels if encapsulated else pixels + b"\0" * (len(pixels) % 2)
    if syntax == IMPLICIT:
        return struct.pack(f"{order}HHL", *tag, length) + value
    return struct.pack(f"{order}HH2sHL", *tag, vr.encode(), 0, length) + value


def fragments(streams: list[bytes], *, table: bool = True) -> bytes:
    """Items of encapsulated pixel data with an offset table, closed."""
    offset = struct.pack("<L", 0) if table else b""
    items = [offset, *(stream + b"\0" * (len(stream) % 2) for stream in streams)]
    return b"".join(ITEM + struct.pack("<L", len(one)) + one for one in items) + SEQUENCE_END + bytes(4)


def element(tag: tuple[int, int], vr: bytes, value: bytes) -> bytes:
    """One explicit little endian element as bytes."""
    if vr in (b"OB", b"OW", b"UN", b"SQ", b"OF", b"UT"):
        return struct.pack("<HH2sHL", *tag, vr, 0, len(value)) + value
    return struct.pack("<HH2sH", *tag, vr, len(value)) + value
