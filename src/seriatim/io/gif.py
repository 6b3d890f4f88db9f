"""The blocks of a GIF file (GIF89a specification): how many pictures it holds, and whether it ends as it should."""

from __future__ import annotations

from typing import BinaryIO

HEADER_BYTES = 13
EXTENSION, PICTURE, TRAILER = b"\x21", b"\x2c", b"\x3b"


def count_gif_frames(file: BinaryIO) -> tuple[int, bool]:
    """The pictures whose data is whole, and whether the file has its end. Readers take a file cut short for whole."""
    head = file.read(HEADER_BYTES)
    if len(head) < HEADER_BYTES:
        return 0, False
    file.seek(_table_bytes(head[10]), 1)
    count = 0
    while (kind := file.read(1)) in (EXTENSION, PICTURE):
        if kind == PICTURE:
            place = file.read(9)
            if len(place) < 9:
                return count, False
            file.seek(_table_bytes(place[8]), 1)
        file.read(1)  # the size of a code, or the kind of extension
        if not _skip_blocks(file):
            return count, False
        count += kind == PICTURE
    return count, kind == TRAILER


def _table_bytes(flags: int) -> int:
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _skip_blocks(file: BinaryIO) -> bool:
    """Skip sub-blocks up to the empty one; False where the file ends before."""
    while size := file.read(1):
        if size == b"\0":
            return True
        if len(file.read(size[0])) < size[0]:
            return False
    return False
