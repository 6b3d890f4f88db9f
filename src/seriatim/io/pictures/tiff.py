"""The chain of pages in a TIFF or BigTIFF file (TIFF 6.0, section 2). Readers stop at a broken link without a word."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import BinaryIO

from seriatim.io.source import size_of

WIDTH_TAG, LENGTH_TAG, OTHER_PAGES_TAG = 256, 257, 330
BLOCK_TAGS = ((273, 279), (324, 325))
"""Places and lengths of strips, and of tiles."""
BLOCKS = frozenset(tag for pair in BLOCK_TAGS for tag in pair)
TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
NUMBERS = {3: "H", 4: "L", 16: "Q"}
MAX_PAGES, MAX_ENTRIES, MAX_BLOCKS = 1 << 20, 4096, 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Pages:
    """The whole pages before the chain ends, if it ends as it should, and the bytes after all that a page points to.

    ``unused`` is 0 where pages have others within them, which are not looked at.
    """

    count: int
    whole: bool
    unused: int


@dataclass(frozen=True, slots=True)
class _Layout:
    """The byte order of a file, and the sizes of its numbers: those of TIFF, or of BigTIFF."""

    order: str
    count: str
    offset: str

    @property
    def entry_bytes(self) -> int:
        return 4 + 2 * struct.calcsize(self.order + self.offset)

    def unpack(self, code: str, raw: bytes) -> tuple[int, ...]:
        return struct.unpack(f"{self.order}{len(raw) // struct.calcsize(self.order + code)}{code}", raw)


def walk_pages(file: BinaryIO) -> Pages:
    """Follow the links from page to page."""
    head = file.read(16)
    order = {b"II": "<", b"MM": ">"}.get(head[:2])
    if order is None or len(head) < 16:
        return Pages(count=0, whole=False, unused=0)
    big = struct.unpack(f"{order}H", head[2:4])[0] == 43
    layout = _Layout(order, "Q" if big else "H", "Q" if big else "L")
    place = layout.unpack(layout.offset, head[8:16] if big else head[4:8])[0]
    total, count, used = size_of(file), 0, 0
    seen: set[int] = set()
    while place and count < MAX_PAGES:
        found = _read_page(file, place, layout) if 8 <= place < total and place not in seen else None
        if found is None:
            return Pages(count=count, whole=False, unused=0)
        seen.add(place)
        count += 1
        place, end = found
        used = max(used, end or total)
    return Pages(count=count, whole=True, unused=max(total - used, 0))


def _read_page(file: BinaryIO, place: int, layout: _Layout) -> tuple[int, int] | None:
    """Where the next page's directory lies, 0 after the last, and the end of all that this one points to, 0 where that
    is not known; None where the directory is no picture's.
    """
    file.seek(place)
    raw = file.read(struct.calcsize(layout.order + layout.count))
    count = layout.unpack(layout.count, raw)[0] if len(raw) == struct.calcsize(layout.order + layout.count) else 0
    if not 1 <= count <= MAX_ENTRIES:
        return None
    entries = file.read(count * layout.entry_bytes)
    link = struct.calcsize(layout.order + layout.offset)
    following = file.read(link)
    end = file.tell()
    if len(entries) < count * layout.entry_bytes or len(following) < link:
        return None
    fields = [entries[at : at + layout.entry_bytes] for at in range(0, len(entries), layout.entry_bytes)]
    kinds: dict[int, int] = dict(struct.unpack(f"{layout.order}2H", field[:4]) for field in fields)
    if not {WIDTH_TAG, LENGTH_TAG} <= kinds.keys() or 0 in kinds.values():  # no field has type 0
        return None
    return layout.unpack(layout.offset, following)[0], _find_end(file, fields, layout, end)


def _find_end(file: BinaryIO, fields: list[bytes], layout: _Layout, end: int) -> int:
    """The end of the values and of the strips or tiles of a page; 0 where it is not known."""
    values: dict[int, tuple[int, ...]] = {}
    for field in fields:
        tag, kind = layout.unpack("H", field[:4])
        inline = field[4 + len(field[4:]) // 2 :]
        size = TYPE_BYTES.get(kind, 0) * layout.unpack(layout.offset, field[4 : 4 + len(inline)])[0]
        start = layout.unpack(layout.offset, inline)[0]
        if tag == OTHER_PAGES_TAG or kind not in TYPE_BYTES:
            return 0
        if size > len(inline):
            end = max(end, start + size)
        if tag in BLOCKS and kind in NUMBERS and size <= MAX_BLOCKS:
            file.seek(start)
            raw = inline[:size] if size <= len(inline) else file.read(size)
            values[tag] = layout.unpack(NUMBERS[kind], raw) if len(raw) == size else ()
    for places, lengths in BLOCK_TAGS:
        for start, length in zip(values.get(places, ()), values.get(lengths, ()), strict=False):
            end = max(end, start + length)
    return end
