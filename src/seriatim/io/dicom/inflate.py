"""Deflated DICOM (PS3.5 section A.5), inflated with a bound: pydicom inflates a file whatever it grows to."""

from __future__ import annotations

import io
import zlib
from typing import Any, BinaryIO

import pydicom
from pydicom.filereader import _read_file_meta_info, read_preamble

from seriatim.io.archive.zip_index import MAX_RATIO, UNCHECKED_BYTES
from seriatim.io.dicom.bounded import BoundedFile
from seriatim.io.dicom.extent import DEFLATED, expected_bytes
from seriatim.io.dicom.values import BadValueError
from seriatim.io.source import size_of

PLAIN = b"1.2.840.10008.1.2.1\0\0\0"
"""Explicit VR little endian, as long as the UID it stands in for: what a deflated data set is once it is inflated."""
META_BYTES = 1 << 16
HEADER_BYTES = SLACK_BYTES = 1 << 24
LONG_LENGTHS = (b"OB", b"OW", b"OF", b"OD", b"OL", b"OV", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV")


class InflateError(OSError):
    """A file inflates to more than it may; the message is the reason, with its code."""


def open_inflated(file: BinaryIO) -> BinaryIO:
    """The file itself; of a deflated one its inflated content, as a file in explicit VR little endian.

    It is inflated no further than the pixel data that its header promises, and a little for what may follow; and where
    that is much, to no more than `MAX_RATIO` times its size. What is cut or broken ends early, as in any other file.

    Raises:
        InflateError: there is more in it.
    """
    file.seek(0)
    end = _meta_end(file)
    file.seek(0)
    if not end:
        return file
    meta = file.read(end).replace(DEFLATED.encode(), PLAIN, 1)
    most = max(UNCHECKED_BYTES, MAX_RATIO * size_of(file))
    inflated = _Inflated(file)
    head = meta + inflated.take(HEADER_BYTES)
    if inflated.at_end():
        return io.BytesIO(head)
    left = min(_promised_bytes(head) + SLACK_BYTES, most) - len(head)
    body = inflated.take(max(left, 0))
    if not inflated.at_end():
        size = (len(head) + len(body)) >> 20
        raise InflateError(f"TOO_LARGE: a deflated file grows to more than {size} MiB, which is more than its header "
                           f"promises or {MAX_RATIO} times its size. Export it again, not deflated.")
    return io.BytesIO(head + body)


class _Inflated:
    """The inflated content of a file from its place on, a part at a time."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        self._ended = False

    def at_end(self) -> bool:
        return self._ended

    def take(self, count: int) -> bytes:
        """The next ``count`` bytes, fewer where it ends."""
        parts, held = [], 0
        while held < count and not self._ended:
            raw = self._inflater.unconsumed_tail or self._file.read(1 << 16)
            try:
                part = self._inflater.decompress(raw, count - held)
            except zlib.error:
                part, raw = b"", b""
            parts.append(part)
            held += len(part)
            self._ended = not raw or self._inflater.eof
        return b"".join(parts)


def _promised_bytes(head: bytes) -> int:
    """The length of header and pixel data that the start of a file promises; 0 where it does not tell."""
    file = io.BytesIO(head)
    try:
        dataset = pydicom.dcmread(file, force=True, stop_before_pixels=True)
        return file.tell() + expected_bytes(dataset)
    except (BadValueError, EOFError, OSError, ValueError, TypeError, AttributeError, KeyError, NotImplementedError):
        return 0


def _meta_end(file: BinaryIO) -> int:
    """Where the deflated data set starts; 0 where the file is not deflated."""
    head = file.read(META_BYTES)
    end = _walk_meta(head)
    if end and DEFLATED.encode() not in head[:end]:
        return 0
    file.seek(0)  # rare, or unusual: as pydicom reads it
    bounded: Any = BoundedFile(file)
    read_preamble(bounded, force=True)
    meta = _read_file_meta_info(bounded)
    return file.tell() if str(meta.get("TransferSyntaxUID", "")) == DEFLATED else 0


def _walk_meta(head: bytes) -> int:
    """Where the file meta information ends; 0 where that cannot be told quickly."""
    place = 132 if head[128:132] == b"DICM" else 0
    while head[place : place + 2] == b"\2\0":
        long = head[place + 4 : place + 6] in LONG_LENGTHS
        start = place + (12 if long else 8)
        place = start + int.from_bytes(head[start - 4 if long else start - 2 : start], "little")
    return place if place + 2 <= len(head) else 0
