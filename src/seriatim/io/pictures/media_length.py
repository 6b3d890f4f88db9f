"""How long a media file says it is. A demuxer that meets the end too early takes it for the end of the clip."""

from __future__ import annotations

from typing import BinaryIO

from seriatim.io.source import size_of

BOX_LISTS = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")
EBML, SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"
ASF_HEADER = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
ASF_FILE = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")


def missing_bytes(file: BinaryIO) -> int:
    """The bytes that the file lacks of what its own boxes or headers say; 0 where they say nothing."""
    file.seek(0)
    head = file.read(32)
    if head[4:8] in BOX_LISTS:
        end = _end_of_boxes(file)
    elif head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        end = _end_of_chunks(file)
    elif head.startswith(EBML):
        end = _end_of_segment(file)
    elif head.startswith(ASF_HEADER):
        end = _end_of_asf(file)
    else:
        end = 0
    return max(0, end - size_of(file))


def _end_of_boxes(file: BinaryIO) -> int:
    """Of MP4 and MOV (ISO/IEC 14496-12, 4.2)."""
    place, total = 0, size_of(file)
    while place + 8 <= total:
        file.seek(place)
        head = file.read(16)
        size = int.from_bytes(head[:4], "big")
        if size == 1:
            size = int.from_bytes(head[8:16], "big")
        if size < 8:  # 0: up to the end; less: no box
            return total
        place += size
    return place


def _end_of_chunks(file: BinaryIO) -> int:
    """Of AVI: one RIFF chunk after the other (OpenDML)."""
    place, total = 0, size_of(file)
    while place + 8 <= total:
        file.seek(place)
        head = file.read(8)
        if head[:4] != b"RIFF":
            return place
        size = int.from_bytes(head[4:], "little")
        place += 8 + size + size % 2
    return place if place > total + 1 else min(place, total)


def _end_of_segment(file: BinaryIO) -> int:
    """Of Matroska and WebM: the segment after the EBML header (RFC 8794); 0 where its length is not known."""
    place = 0
    for name in (EBML, SEGMENT):
        file.seek(place)
        if file.read(4) != name:
            return 0
        first = file.read(1)
        if not first or not first[0]:
            return 0
        width = 9 - first[0].bit_length()
        raw = bytes([first[0] & ((1 << (8 - width)) - 1)]) + file.read(width - 1)
        size = int.from_bytes(raw, "big")
        if size == (1 << (7 * width)) - 1:
            return 0
        place = file.tell() + size
    return place


def _end_of_asf(file: BinaryIO) -> int:
    """Of WMV: the File Size of the File Properties Object (ASF specification, 3.2)."""
    file.seek(0)
    head = file.read(1 << 16)
    place = head.find(ASF_FILE)
    return int.from_bytes(head[place + 40 : place + 48], "little") if place > 0 else 0
