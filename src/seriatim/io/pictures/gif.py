"""The blocks of a GIF file (GIF89a specification): what it holds, and whether it ends as it should."""

from __future__ import annotations

from dataclasses import dataclass
from typing import BinaryIO

HEADER_BYTES = 13
EXTENSION, PICTURE, TRAILER = b"\x21", b"\x2c", b"\x3b"


@dataclass(frozen=True, slots=True, kw_only=True)
class GifBlocks:
    """The pictures whose data is whole, whether the file has its end, and if the first picture fills the screen."""

    frames: int
    whole: bool
    filled: bool


def read_gif_blocks(file: BinaryIO) -> GifBlocks:
    """Walk through the blocks. Readers take a file that was cut short for a whole one."""
    head = file.read(HEADER_BYTES)
    file.seek(_table_bytes(head[10]) if len(head) == HEADER_BYTES else 0, 1)
    count, filled = 0, True
    while (kind := file.read(1)) in (EXTENSION, PICTURE):
        if kind == PICTURE:
            place = file.read(9)
            if len(place) < 9:
                return GifBlocks(frames=count, whole=False, filled=filled)
            filled = filled and (count > 0 or place[:8] == bytes(4) + head[6:10])
            file.seek(_table_bytes(place[8]), 1)
        file.read(1)  # the size of a code, or the kind of extension
        if not _skip_blocks(file):
            return GifBlocks(frames=count, whole=False, filled=filled)
        count += kind == PICTURE
    return GifBlocks(frames=count, whole=kind == TRAILER, filled=filled)


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
