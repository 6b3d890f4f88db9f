"""Gzip files whose content has a known size: unpacked whole and checked, and never far beyond that size (RFC 1952)."""

from __future__ import annotations

import importlib
import importlib.util
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

GZIP = b"\x1f\x8b"
PART_BYTES = 1 << 20
GZIP_WINDOW = 31
LARGEST_QUICK = 1 << 32


class GzipError(Exception):
    """A gzip file is truncated, damaged, or holds far more than it should; the message says which."""


def unpack(packed: bytes, size: int) -> NDArray[np.uint8]:
    """(size,) the first ``size`` bytes of the content, after the checksums of all of it were compared.

    libdeflate (in imagecodecs, where it is installed) unpacks a file of one member that holds just this size, zlib all
    others.

    Raises:
        GzipError: it is truncated or damaged, holds less than ``size`` bytes or more than twice as many, or something
            other than zeros follows it.
    """
    content = np.empty(size, np.uint8)
    if not _unpack_quickly(packed, content):
        _unpack_in_parts(packed, content)
    return content


def _unpack_quickly(packed: bytes, content: NDArray[np.uint8]) -> bool:
    """True where the file is one whole member of just this size; zlib tells what is wrong with others."""
    size = len(content)
    if not 0 < size < LARGEST_QUICK or int.from_bytes(packed[-4:], "little") != size:
        return False
    if importlib.util.find_spec("imagecodecs") is None:
        return False
    imagecodecs = importlib.import_module("imagecodecs")
    try:
        return len(imagecodecs.gzip_decode(packed, out=content)) == size
    except RuntimeError:  # imagecodecs' errors
        return False


def _unpack_in_parts(packed: bytes, content: NDArray[np.uint8]) -> None:
    held, most = 0, 2 * len(content) + PART_BYTES
    rest: Any = memoryview(packed)
    while len(rest) and not (held and not any(rest[:PART_BYTES])):  # zeros may pad a file
        member = zlib.decompressobj(GZIP_WINDOW)
        while not member.eof:
            try:
                part = member.decompress(rest, PART_BYTES)
            except zlib.error as error:
                raise GzipError(f"damaged after {held} bytes of content ({error})") from error
            rest = member.unused_data if member.eof else member.unconsumed_tail
            if not part and not member.eof and not len(rest):
                raise GzipError(f"it breaks off after {held} bytes of content")
            kept = content[held : held + len(part)]
            kept[:] = np.frombuffer(part, np.uint8)[: len(kept)]
            held += len(part)
            if held > most:
                raise GzipError(f"its content goes on after {held} bytes, the header promises {len(content)}")
    if held < len(content):
        raise GzipError(f"it holds {held} of {len(content)} bytes")
