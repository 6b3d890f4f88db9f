"""What a compressed frame says of itself: its size, its samples, its colours. Nothing is decoded."""

from __future__ import annotations

import struct
from dataclasses import dataclass

JPEG, J2K, JP2 = b"\xff\xd8", b"\xff\x4f\xff\x51", b"\x00\x00\x00\x0cjP  "
JXL, JXL_BOX = b"\xff\x0a", b"\x00\x00\x00\x0cJXL "
SOF = (*range(0xC0, 0xC4), *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0), 0xF7)
STANDALONE = (0x01, *range(0xD0, 0xD8))
START_OF_SCAN, ADOBE = 0xDA, 0xEE
END = b"\xff\xd9"
MAX_PADDING = 64
"""Bytes that may follow the end marker: to an even length, or to a whole block."""
RLE_HEADER_BYTES = 64
MAX_SEGMENTS = 15


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeStream:
    """The head of a JPEG, JPEG-LS or JPEG 2000 code stream. ``rows`` is 0 where the stream tells them at its end.

    ``adobe`` is the colour transform of the Adobe marker (0: none, 1: YCbCr), None where there is no such marker.
    """

    rows: int
    columns: int
    components: int
    precision: int
    ids: bytes = b""
    adobe: int | None = None


def starts_frame(part: bytes | memoryview, syntax: str) -> bool:
    """True where the bytes begin like a compressed frame of the transfer syntax, and not inside of one."""
    head = bytes(part[:RLE_HEADER_BYTES])
    if syntax == "1.2.840.10008.1.2.5":
        return _starts_rle(head)
    if syntax.startswith("1.2.840.10008.1.2.4.11"):
        return head.startswith((JXL, JXL_BOX, JPEG))
    if syntax.startswith(("1.2.840.10008.1.2.4.9", "1.2.840.10008.1.2.4.20")):
        return head.startswith((J2K, JP2))
    return head[:3] == JPEG + b"\xff"


def read_codestream(encoded: bytes) -> CodeStream | None:
    """The head of a frame, None where it is of another kind or damaged."""
    try:
        if encoded.startswith(JPEG + b"\xff"):
            return _read_jpeg(encoded)
        start = 0 if encoded.startswith(J2K) else encoded.find(J2K, 0, 4096) if encoded.startswith(JP2) else -1
        return _read_j2k(encoded, start) if start >= 0 else None
    except (struct.error, IndexError):
        return None


def has_end(encoded: bytes) -> bool:
    """True where a JPEG, JPEG-LS or JPEG 2000 frame is closed (ITU-T T.81 B.2.1, T.87, ISO 15444-1 A.4.4), or is none.

    Some decoders fill up what is missing. The marker cannot stand inside of coded data; padding may follow it.
    """
    return not encoded.startswith((JPEG + b"\xff", J2K, JP2)) or END in encoded[-MAX_PADDING:]


def _starts_rle(head: bytes) -> bool:
    """An RLE frame starts with the number of segments and their ascending offsets (PS3.5 annex G.5)."""
    if len(head) < RLE_HEADER_BYTES:
        return False
    count, *offsets = struct.unpack("<16L", head)
    used, rest = offsets[:count], offsets[count:]
    ascending = bool(used) and used[0] == RLE_HEADER_BYTES and used == sorted(set(used))
    return count <= MAX_SEGMENTS and ascending and not any(rest)


def _read_jpeg(encoded: bytes) -> CodeStream | None:
    """ITU-T T.81 B.2 and T.87 C.2: markers up to the start of the scan."""
    place, adobe, frame = 2, None, None
    while place < len(encoded):
        if encoded[place] != 0xFF:
            return None
        marker = encoded[place + 1]
        if marker == 0xFF or marker in STANDALONE:
            place += 1 if marker == 0xFF else 2
            continue
        (length,) = struct.unpack_from(">H", encoded, place + 2)
        body = encoded[place + 4 : place + 2 + length]
        if marker == ADOBE and body.startswith(b"Adobe") and len(body) >= 12:
            adobe = body[11]
        elif marker in SOF:
            precision, rows, columns, components = struct.unpack_from(">BHHB", body)
            frame = (rows, columns, components, precision, body[6 : 6 + 3 * components : 3])
        elif marker == START_OF_SCAN:
            break
        place += 2 + length
    if frame is None:
        return None
    rows, columns, components, precision, ids = frame
    return CodeStream(rows=rows, columns=columns, components=components, precision=precision, ids=ids, adobe=adobe)


def _read_j2k(encoded: bytes, start: int) -> CodeStream:
    """ISO 15444-1 A.5.1: the SIZ marker."""
    right, bottom, left, top = struct.unpack_from(">4L", encoded, start + 8)
    (components,) = struct.unpack_from(">H", encoded, start + 40)
    precision = (encoded[start + 42] & 0x7F) + 1
    return CodeStream(rows=bottom - top, columns=right - left, components=components, precision=precision)
