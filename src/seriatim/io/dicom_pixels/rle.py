"""RLE frames whose segments hold more than the header speaks of, which decoders cut off without a word."""

from __future__ import annotations

import importlib
import struct
from collections.abc import Iterator

RLE = "1.2.840.10008.1.2.5"
HEADER_BYTES = 64
MOST_PACKED = 2
"""Packed bytes per pixel byte at most: a byte of its own each, and one before it."""


def count_excess(encoded: bytes, segment_bytes: int) -> int:
    """The bytes that the longest segment of an RLE frame (PS3.5 annex G) holds beyond ``segment_bytes``.

    Zeros at the end of a segment may be padding, and are not counted. A frame that is damaged has no excess here: its
    decoder will tell.
    """
    decode = importlib.import_module("rle.utils").decode_segment
    excess = 0
    for segment in _segments(encoded):
        packed = segment.rstrip(b"\0") + b"\0"  # one zero may be the value of a last run
        if len(packed) > MOST_PACKED * segment_bytes + 2:
            return len(packed) // MOST_PACKED - segment_bytes
        try:
            excess = max(excess, len(decode(packed)) - segment_bytes)
        except ValueError:  # a last literal run that ends in zeros
            continue
    return excess


def _segments(encoded: bytes) -> Iterator[bytes]:
    if len(encoded) < HEADER_BYTES:
        return
    count, *offsets = struct.unpack_from("<16L", encoded)
    starts = offsets[:count]
    for start, end in zip(starts, [*starts[1:], len(encoded)], strict=True):
        yield encoded[start:end]
