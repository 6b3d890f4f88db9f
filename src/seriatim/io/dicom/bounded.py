"""Headers are parsed from a file that gives no more bytes than a header may have, however much one claims."""

from __future__ import annotations

from typing import Any, BinaryIO

from seriatim.io.source import size_of

MAX_HEADER_BYTES = 1 << 27
"""Read, not skipped, before the pixel data; the largest that are known, of 4D enhanced MR, have some 30 MiB."""
MAX_ITEMS = 1 << 19
"""Items of one sequence; each costs pydicom about a kilobyte."""
ITEM_TAGS = (b"\xfe\xff\x00\xe0", b"\xff\xfe\xe0\x00")
ITEM_BYTES = 8


class HugeHeaderError(OSError):
    """A header that is too large to be parsed; the message is the reason, with its code."""

    def __init__(self, what: str) -> None:
        super().__init__(f"TOO_LARGE: the header {what}, which no image needs. Export the file again.")


class BoundedFile:
    """An open file to parse a header from; it raises HugeHeaderError instead of reading more than MAX_HEADER_BYTES.

    What a parser reads again counts again, so that going back and forth in a file ends too.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._size = size_of(file)
        self._left = MAX_HEADER_BYTES
        self.seek, self.tell = file.seek, file.tell

    def read(self, count: int = -1) -> bytes:
        """As of any file; the bytes that it has are counted, not those that are asked for."""
        held = max(self._size - self._file.tell(), 0)
        self._left -= held if count < 0 else min(count, held)
        if self._left < 0:
            raise HugeHeaderError(f"has more than {MAX_HEADER_BYTES >> 20} MiB")
        return self._file.read(count)


def check_items(dataset: Any) -> None:
    """Raise HugeHeaderError for a sequence with more items than MAX_ITEMS, before pydicom makes an object of each.

    The dataset is as pydicom read it: sequences of a known length are bytes until they are asked for.
    """
    for tag in dataset.keys():  # noqa: SIM118 - to iterate a dataset parses its elements
        raw = getattr(dataset.get_item(tag), "value", None)
        if isinstance(raw, bytes) and len(raw) > ITEM_BYTES * MAX_ITEMS and max(map(raw.count, ITEM_TAGS)) > MAX_ITEMS:
            raise HugeHeaderError(f"has a sequence of more than {MAX_ITEMS} items")
