"""The chain of pages in a TIFF or BigTIFF file (TIFF 6.0, section 2). Readers stop at a broken link without a word."""

from __future__ import annotations

import struct
from typing import BinaryIO

from seriatim.io.source import size_of

WIDTH_TAG, LENGTH_TAG = 256, 257
MAX_PAGES, MAX_ENTRIES = 1 << 20, 4096


def walk_pages(file: BinaryIO) -> tuple[int, bool]:
    """The whole pages before the chain ends, and whether it ends as it should."""
    head = file.read(16)
    order = {b"II": "<", b"MM": ">"}.get(head[:2])
    if order is None or len(head) < 16:
        return 0, False
    big = struct.unpack(f"{order}H", head[2:4])[0] == 43
    place = struct.unpack(f"{order}Q", head[8:16])[0] if big else struct.unpack(f"{order}I", head[4:8])[0]
    total, pages, seen = size_of(file), 0, set()
    while place and pages < MAX_PAGES:
        following = _next_page(file, place, order, big=big) if 8 <= place < total and place not in seen else None
        if following is None:
            return pages, False
        seen.add(place)
        pages, place = pages + 1, following
    return pages, True


def _next_page(file: BinaryIO, place: int, order: str, *, big: bool) -> int | None:
    """Where the next page's directory lies, 0 after the last; None where the one at ``place`` is no picture's."""
    count_layout, entry_bytes, next_layout = (f"{order}Q", 20, f"{order}Q") if big else (f"{order}H", 12, f"{order}I")
    file.seek(place)
    raw = file.read(struct.calcsize(count_layout))
    if len(raw) < struct.calcsize(count_layout):
        return None
    count = struct.unpack(count_layout, raw)[0]
    if not 1 <= count <= MAX_ENTRIES:
        return None
    entries = file.read(count * entry_bytes)
    following = file.read(struct.calcsize(next_layout))
    if len(entries) < count * entry_bytes or len(following) < struct.calcsize(next_layout):
        return None
    fields = dict(struct.unpack_from(f"{order}2H", entries, entry_bytes * index) for index in range(count))
    picture = {WIDTH_TAG, LENGTH_TAG} <= fields.keys() and 0 not in fields.values()  # no field has type 0
    return int(struct.unpack(next_layout, following)[0]) if picture else None
