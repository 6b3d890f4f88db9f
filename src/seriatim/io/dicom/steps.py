"""Steps from one DICOM element to the next, in bytes (PS3.5 sections 7.1 and 7.5); what is odd is refused."""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct

from pydicom.datadict import dictionary_VR
from pydicom.valuerep import EXPLICIT_VR_LENGTH_32, VR

UNDEFINED = 0xFFFFFFFF
ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
LAST_META, LAST_TAG = 0x0002FFFF, 0x7FE00010
PIXEL_TAGS = frozenset({0x7FE00008, 0x7FE00009, LAST_TAG})
CHARACTER_SET = 0x00080005
LONG_VRS = frozenset(str(vr).encode() for vr in EXPLICIT_VR_LENGTH_32)
SHORT_VRS = frozenset(str(vr).encode() for vr in VR) - LONG_VRS
MAX_DEPTH = 16

Step = tuple[int, bytes, int, int]
"""Tag, VR (b"" in implicit VR), and where the value starts and ends: UNDEFINED where it ends with a delimiter."""


class UnusualError(Exception):
    """A header for pydicom, which knows many ways of being wrong."""


def _explicit(order: str) -> Callable[[bytes, int], Step]:
    short, long = Struct(f"{order}HH2sH").unpack_from, Struct(f"{order}L").unpack_from

    def step(data: bytes, place: int) -> Step:
        group, element, vr, length = short(data, place)
        tag = group << 16 | element
        if vr in SHORT_VRS:
            return tag, vr, place + 8, place + 8 + length
        if vr not in LONG_VRS or tag > LAST_TAG:
            raise UnusualError
        (length,) = long(data, place + 8)
        return tag, vr, place + 12, UNDEFINED if length == UNDEFINED else place + 12 + length

    return step


def _implicit(data: bytes, place: int) -> Step:
    group, element, length = TAG_AND_LENGTH["<"](data, place)
    tag = group << 16 | element
    if tag > LAST_TAG:
        raise UnusualError
    return tag, b"", place + 8, UNDEFINED if length == UNDEFINED else place + 8 + length


TAG_AND_LENGTH = {order: Struct(f"{order}HHL").unpack_from for order in "<>"}
STEPS = {"meta": _explicit("<"), "explicit": _explicit("<"), "big": _explicit(">"), "implicit": _implicit}


def skip_sequence(data: bytes, place: int, element: tuple[int, bytes], encoding: str) -> int:
    """Where a sequence of undefined length ends, whose first item is at ``place``.

    Raises:
        UnusualError: it is no sequence, or its items do not fit it.
        struct.error: the bytes end first.
    """
    return _skip_sequence(data, place, element, (encoding, 0))


def _skip_sequence(data: bytes, place: int, element: tuple[int, bytes], state: tuple[str, int]) -> int:
    encoding, depth = state
    unpack = TAG_AND_LENGTH[">" if encoding == "big" else "<"]
    if depth > MAX_DEPTH or not _is_sequence(*element):
        raise UnusualError
    while True:
        group, number, length = unpack(data, place)
        tag = group << 16 | number
        place += 8
        if tag == SEQUENCE_END and length == 0:
            return place
        if tag != ITEM:
            raise UnusualError
        place = _skip_item(data, place, UNDEFINED if length == UNDEFINED else place + length, (encoding, depth + 1))


def _skip_item(data: bytes, place: int, end: int, state: tuple[str, int]) -> int:
    encoding = state[0]
    unpack, step = TAG_AND_LENGTH[">" if encoding == "big" else "<"], STEPS[encoding]
    while place < end:
        group, number, length = unpack(data, place)
        tag = group << 16 | number
        if tag == ITEM_END and length == 0 and end == UNDEFINED:
            return place + 8
        if tag == CHARACTER_SET or group == 0xFFFE:
            raise UnusualError
        tag, vr, start, place = step(data, place)
        if place == UNDEFINED:
            place = _skip_sequence(data, start, (tag, vr), state)
    if place > end:
        raise UnusualError
    return place


def _is_sequence(tag: int, vr: bytes) -> bool:
    """True where an element of undefined length is one; a private one without a VR may be anything."""
    if vr:
        return vr == b"SQ"
    try:
        return str(dictionary_VR(tag)) == "SQ"
    except KeyError:
        return False
