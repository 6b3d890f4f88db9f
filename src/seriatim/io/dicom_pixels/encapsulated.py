"""Encapsulated pixel data: which bytes are which frame (PS3.5 annex A.4)."""

from __future__ import annotations

from seriatim.errors import DecoderError
from seriatim.io.dicom_pixels.codestream import has_end, starts_frame

ITEM, SEQUENCE_END = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"


class Frames:
    """The compressed frames of one file: ``frames[2]`` is the third, as its fragments joined.

    Frames are told by how a compressed frame begins, never by counting alone: offset tables are often wrong, and a
    frame that is missing or too many would shift all that follow.

    Raises:
        DecoderError: there are not as many frames as the header promises, the items are damaged, or a frame breaks off.
    """

    def __init__(self, value: bytes, *, syntax: str, count: int, closed: bool = False) -> None:
        """``closed``: the value must have its end mark, since it is taken to the end of the file."""
        fragments = [part for part in _split_items(memoryview(value), closed=closed) if len(part)]
        starts = [index for index, part in enumerate(fragments) if starts_frame(part, syntax)]
        if not starts and len(fragments) == count:  # damaged, or of a kind unknown here: its decoder will tell
            starts = list(range(count))
        if len(starts) != count or starts[0] != 0:
            raise DecoderError(f"its pixel data holds {len(starts)} compressed frames in {len(fragments)} fragments, "
                               f"the header promises {count}")
        ends = [*starts[1:], len(fragments)]
        self._frames = [fragments[start:end] for start, end in zip(starts, ends, strict=True)]

    def __len__(self) -> int:
        return len(self._frames)

    def __getitem__(self, frame: int) -> bytes:
        encoded = b"".join(self._frames[frame])
        if not has_end(encoded):
            raise DecoderError(f"its compressed frame {frame + 1} breaks off before the end marker")
        return encoded


def join_fragments(value: bytes) -> bytes:
    """All fragments as one stream, as a video is stored.

    Raises:
        DecoderError: the items are damaged.
    """
    return b"".join(_split_items(memoryview(value), closed=False))


def _split_items(value: memoryview, *, closed: bool) -> list[memoryview]:
    """The fragments: all items but the first, which is the offset table."""
    items, place = [], 0
    while place + 8 <= len(value) and value[place : place + 4] != SEQUENCE_END:
        end = place + 8 + int.from_bytes(value[place + 4 : place + 8], "little")
        if value[place : place + 4] != ITEM or end > len(value):
            raise DecoderError(f"its pixel data is damaged at byte {place}")
        items.append(value[place + 8 : end])
        place = end
    if closed and place + 8 > len(value):
        raise DecoderError("its pixel data has no end")
    return items[1:]


def encapsulate_one(frame: bytes) -> bytes:
    """The pixel data of a file that holds this frame alone, with an empty offset table."""
    padding = b"\0" * (len(frame) % 2)
    length = (len(frame) + len(padding)).to_bytes(4, "little")
    return b"".join((ITEM, bytes(4), ITEM, length, frame, padding))
