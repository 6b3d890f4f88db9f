"""Voxels as they lie in the data of an NRRD or MetaImage file: where they start, how they are packed, what they are."""

from __future__ import annotations

import bz2
import gzip
import itertools
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray

from seriatim.errors import DecoderError
from seriatim.io.refused import RefusedFileError
from seriatim.io.source import check_whole, open_file, size_of
from seriatim.series.findings import Code, Finding

Encoding = Literal["raw", "zlib", "gzip", "bzip2", "ascii", "hex"]
BROKEN = (OSError, EOFError, zlib.error, gzip.BadGzipFile, ValueError)
PART_BYTES = 1 << 22
MAX_VOXELS = 1 << 34
MAX_TEXT_BYTES = 1 << 28
HEX_SPACE = re.compile(rb"\s+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """The header of an NRRD or MetaImage file.

    ``body`` holds the voxels from byte ``start`` (-1: they are its last bytes) on. ``sizes`` are those of all axes, the
    fastest first; ``space_axes`` say which of them are columns, rows and slices, ``colour_axis`` which one holds red,
    green and blue; the others count volumes. ``affine`` is index (column, row, slice) -> RAS+ mm.
    """

    body: Path
    start: int
    encoding: Encoding
    dtype: np.dtype[Any]
    sizes: tuple[int, ...]
    space_axes: tuple[int, ...]
    colour_axis: int | None
    affine: NDArray[np.float64] | None
    findings: tuple[Finding, ...] = field(default=())

    @property
    def values(self) -> int:
        return int(np.prod(self.sizes, dtype=object))

    @property
    def size(self) -> tuple[int, int, int, int]:
        """Columns, rows, slices, volumes."""
        space = [self.sizes[axis] for axis in self.space_axes] + [1]
        colours = 3 if self.colour_axis is not None else 1
        return space[0], space[1], space[2], self.values // (space[0] * space[1] * space[2] * colours)

    def arrange(self, values: NDArray[Any]) -> NDArray[Any]:
        """Values as stored -> (volumes, slices, rows, columns), and the colours last."""
        columns, rows, slices, volumes = self.size
        last = [*reversed(self.space_axes), *([] if self.colour_axis is None else [self.colour_axis])]
        others = [axis for axis in reversed(range(len(self.sizes))) if axis not in last]
        count = len(self.sizes)
        array = values.reshape(self.sizes[::-1]).transpose([count - 1 - axis for axis in (*others, *last)])
        colours = () if self.colour_axis is None else (3,)
        return array.reshape(volumes, slices, rows, columns, *colours)


def check_stored(stored: Stored) -> None:
    """Refuse what is no image of numbers or colours, and what memory cannot hold.

    Raises:
        RefusedFileError: with the reason.
    """
    if min(stored.sizes) < 1:
        raise RefusedFileError(Code.BAD_VALUE, f"The header says {list(stored.sizes)} voxels.")
    if stored.values > MAX_VOXELS:
        raise RefusedFileError(Code.TOO_LARGE, f"{list(stored.sizes)} voxels do not fit memory.")
    if stored.colour_axis is not None and stored.dtype != np.uint8:
        raise RefusedFileError(Code.UNSUPPORTED, f"Colours of {stored.dtype.name} are not read, only of 8 bits.")


def count_held(stored: Stored) -> int:
    """The bytes of voxels that the file holds once unpacked; counting stops one after those that are needed."""
    needed = stored.values * stored.dtype.itemsize
    with open_file(stored.body) as file:
        if stored.encoding == "raw":
            return size_of(file) - max(stored.start, 0)
        held = 0
        try:
            for part in _unpack(file, stored):
                held += len(part)
                if held > needed:
                    break
        except BROKEN:
            return min(held, needed - 1)
        return held


def read_stored(stored: Stored, *, first: int = 0, count: int | None = None) -> NDArray[Any]:
    """``count`` values from value ``first`` on, flat; of packed voxels always all.

    Raises:
        DecoderError: the file is truncated or damaged.
    """
    count = stored.values if count is None else count
    needed = count * stored.dtype.itemsize
    try:
        with open_file(stored.body) as file:
            if stored.encoding == "raw":
                start = stored.start if stored.start >= 0 else size_of(file) - stored.values * stored.dtype.itemsize
                file.seek(start + first * stored.dtype.itemsize)
                raw = file.read(needed) if size_of(file) - file.tell() >= needed else b""
            else:
                raw = _gather(_unpack(file, stored), needed)
            check_whole(file)
    except BROKEN as error:
        raise DecoderError(f"{stored.body} is truncated or damaged: {error}. Copy it again.") from error
    if len(raw) < needed:
        raise DecoderError(f"{stored.body} is truncated: it lacks some of {needed} bytes of voxels. Copy it again.")
    return np.frombuffer(raw, dtype=stored.dtype, count=count)


def file_beside(header: Path, name: str) -> Path:
    """The file that a header names, which must lie in the header's folder or below.

    Raises:
        RefusedFileError: it lies elsewhere, or is missing.
    """
    pure = PurePosixPath(name)
    outside = pure.is_absolute() or PureWindowsPath(name).anchor or ".." in PureWindowsPath(name).parts
    body = header.parent / pure
    if outside or not body.resolve().is_relative_to(header.parent.resolve()):
        raise RefusedFileError(Code.UNSUPPORTED, "The header names a data file outside of its folder. Put it beside.")
    try:
        open_file(body).close()
    except OSError as error:
        message = "The data file that the header names is missing or cannot be opened. Put it beside."
        raise RefusedFileError(Code.TRUNCATED, message) from error
    return body


def _gather(parts: Iterator[bytes], needed: int) -> bytes:
    """The first ``needed`` bytes; one more is asked for, so that the checksum at the end is read."""
    held = bytearray()
    for part in parts:
        held += part
        if len(held) > needed:
            break
    return bytes(held[:needed])


def _unpack(file: BinaryIO, stored: Stored) -> Iterator[bytes]:
    file.seek(stored.start)
    if stored.encoding == "zlib":
        return _inflate(file)
    if stored.encoding in ("ascii", "hex"):
        return iter([_from_text(file, stored)])
    stream: Any = gzip.GzipFile(fileobj=file) if stored.encoding == "gzip" else bz2.BZ2File(file)
    read: Callable[[], bytes] = lambda: stream.read(PART_BYTES)  # noqa: E731 - iter needs a function
    return iter(read, b"")


def _inflate(file: BinaryIO) -> Iterator[bytes]:
    """Parts of a zlib or gzip stream, each bounded, so that a bomb is told before it is unpacked."""
    inflater = zlib.decompressobj(zlib.MAX_WBITS | 32)
    for packed in itertools.chain(iter(lambda: file.read(PART_BYTES), b""), [b""]):
        left = packed
        while left and not inflater.eof:
            yield inflater.decompress(left, PART_BYTES)
            left = inflater.unconsumed_tail
    if not inflater.eof:
        raise EOFError("the compressed stream ends early")


def _from_text(file: BinaryIO, stored: Stored) -> bytes:
    text = file.read(MAX_TEXT_BYTES)
    if stored.encoding == "hex":
        return bytes.fromhex(HEX_SPACE.sub(b"", text).decode("ascii"))
    numbers = text.replace(b",", b" ").split()[: stored.values]
    wide = np.array(numbers, dtype=np.float64 if stored.dtype.kind == "f" else np.int64)
    if (wide.astype(stored.dtype) != wide).any() and stored.dtype.kind != "f":
        raise ValueError("a number does not fit the type of the voxels")
    return wide.astype(stored.dtype).tobytes()

