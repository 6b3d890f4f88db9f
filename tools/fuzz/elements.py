"""Where each element of a DICOM data set lies in its bytes: written apart from pydicom, which is under test."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from pydicom.datadict import dictionary_VR, keyword_for_tag

UNDEFINED = 0xFFFFFFFF
LONG_VRS = frozenset({b"OB", b"OW", b"OF", b"OD", b"OL", b"OV", b"SQ", b"UC", b"UR", b"UT", b"UN", b"SV", b"UV"})
PIXELS = 0x7FE00010


@dataclass(frozen=True, slots=True)
class Element:
    """One element: byte offsets of its start, of its value and of its end, and how deep it is nested."""

    tag: int
    vr: str
    start: int
    value: int
    end: int
    depth: int
    undefined: bool
    encoding: tuple[bool, bool]

    @property
    def keyword(self) -> str:
        return keyword_for_tag(self.tag) or f"{self.tag:08X}"

    @property
    def length_field(self) -> tuple[int, int]:
        """Offset and bytes of the length field."""
        size = 4 if self.encoding[0] or self.vr.encode() in LONG_VRS else 2
        return self.value - size, size

    def encode(self, value: bytes, vr: str = "") -> bytes:
        """The bytes of this element with another value, padded to even length (and another VR)."""
        implicit, little = self.encoding
        order = "<" if little else ">"
        vr = vr or self.vr
        value += (b"\0" if vr in ("UI", "OB", "UN", "OW", "SQ") else b" ") * (len(value) % 2)
        tag = struct.pack(f"{order}HH", self.tag >> 16, self.tag & 0xFFFF)
        if implicit:
            return tag + struct.pack(f"{order}L", len(value)) + value
        if vr.encode() in LONG_VRS:
            return tag + vr.encode() + b"\0\0" + struct.pack(f"{order}L", len(value)) + value
        return tag + vr.encode() + struct.pack(f"{order}H", min(len(value), 0xFFFF)) + value


def parse_file(data: bytes) -> list[Element]:
    """Every element of a well-formed part-10 file, nested ones after the sequence that holds them."""
    meta = list(_parse(data, (132, len(data)), (False, True), 0, meta=True))
    syntax = next(data[one.value : one.end].strip(b"\0 ").decode() for one in meta if one.tag == 0x00020010)
    encoding = (syntax == "1.2.840.10008.1.2", syntax != "1.2.840.10008.1.2.2")
    return [*meta, *_parse(data, (meta[-1].end, len(data)), encoding, 0)]


def fragments(data: bytes, pixels: Element) -> list[tuple[int, int]]:
    """(start, end) of each item of encapsulated pixel data, its 8-byte header included; the offset table first."""
    found, place = [], pixels.value
    while data[place : place + 4] == b"\xfe\xff\x00\xe0":
        end = place + 8 + struct.unpack_from("<L", data, place + 4)[0]
        found.append((place, end))
        place = end
    return found


def _parse(data: bytes, span: tuple[int, int], encoding: tuple[bool, bool], depth: int,
           *, meta: bool = False) -> Iterator[Element]:
    place, stop = span
    while place + 8 <= stop:
        tag, vr, length, value = _header(data, place, encoding)
        if (meta and tag >> 16 != 2) or tag == 0xFFFEE00D:
            return
        undefined = length == UNDEFINED
        inner: list[Element] = []
        if vr == "SQ":
            inner, end = _parse_items(data, value, stop if undefined else value + length, encoding, depth)
        elif undefined:
            end = _end_of_fragments(data, value)
        else:
            end = value + length
        yield Element(tag, vr, place, value, end, depth, undefined, encoding)
        yield from inner
        place = end


def _header(data: bytes, place: int, encoding: tuple[bool, bool]) -> tuple[int, str, int, int]:
    implicit, little = encoding
    order = "<" if little else ">"
    group, element = struct.unpack_from(f"{order}HH", data, place)
    tag = group << 16 | element
    if group == 0xFFFE or implicit:
        length = struct.unpack_from(f"{order}L", data, place + 4)[0]
        return tag, _known_vr(tag), length, place + 8
    vr = data[place + 4 : place + 6]
    if vr in LONG_VRS:
        return tag, vr.decode(), struct.unpack_from(f"{order}L", data, place + 8)[0], place + 12
    return tag, vr.decode(), struct.unpack_from(f"{order}H", data, place + 6)[0], place + 8


def _known_vr(tag: int) -> str:
    try:
        return dictionary_VR(tag)[:2]
    except KeyError:
        return "UN"


def _parse_items(data: bytes, place: int, stop: int, encoding: tuple[bool, bool],
                 depth: int) -> tuple[list[Element], int]:
    inner: list[Element] = []
    while place + 8 <= stop:
        tag, _, length, value = _header(data, place, encoding)
        if tag == 0xFFFEE0DD:
            return inner, value
        if length == UNDEFINED:
            own = list(_parse(data, (value, stop), encoding, depth + 1))
            inner += own
            place = (max(one.end for one in own) if own else value) + 8
        else:
            inner += _parse(data, (value, value + length), encoding, depth + 1)
            place = value + length
    return inner, place


def _end_of_fragments(data: bytes, place: int) -> int:
    while data[place : place + 4] == b"\xfe\xff\x00\xe0":
        place += 8 + struct.unpack_from("<L", data, place + 4)[0]
    return place + 8
