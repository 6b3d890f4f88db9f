"""Pixels in shared memory: written slice by slice by a worker process, mapped by the process that asked for them.

They lie in a memory file that has no name: nothing is copied through a pipe, and the system frees it when the last
process that holds it ends, however it ends.
"""

from __future__ import annotations

import contextlib
import fcntl
import math
import mmap
import os
import tempfile
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seriatim.io.isolation.wire import WireError
from seriatim.io.values import SliceMemory

WRITE_STEP = 1 << 30
DTYPES = frozenset({"|u1", "|i1", "<u2", "<i2", "<u4", "<i4", "<u8", "<i8", "<f4", "<f8"})


class SharedMemory:
    """Makes the memory of volumes as memory files, and knows the file of an array again."""

    def __init__(self) -> None:
        self._made: list[SharedSlices] = []

    def __enter__(self) -> SharedMemory:
        return self

    def __exit__(self, *_: object) -> None:
        for slices in self._made:
            os.close(slices.descriptor)

    def allocate(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> SharedSlices:
        """Memory for slices. Raises MemoryError where there is no room."""
        slices = SharedSlices(shape, dtype)
        self._made.append(slices)
        return slices

    def share(self, array: NDArray[Any]) -> int:
        """A descriptor, the caller's to close, of the memory file that holds an array: its own, or that of a copy.

        Raises:
            MemoryError: there is no room.
        """
        try:
            own = next((one for one in self._made if one.array is array), None)
            return share_array(array) if own is None else os.dup(own.descriptor)
        except OSError as error:
            raise MemoryError from error


class SharedSlices(SliceMemory):
    """Slices of a volume that is to be shared.

    To write into a file is quicker than to fill its mapping, which faults at every page: each slice is made in a
    buffer that stays in the cache of the processor, and written when it is done.
    """

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self.shape, self.dtype = shape, dtype
        self.descriptor = _open_nameless()
        try:
            size = math.prod(shape) * dtype.itemsize
            os.ftruncate(self.descriptor, size)
            memory = mmap.mmap(self.descriptor, size, access=mmap.ACCESS_COPY)  # to read; never writes to the file
        except (OSError, ValueError) as error:  # ValueError: a length of 0
            os.close(self.descriptor)
            raise MemoryError from error
        self.array = np.frombuffer(memory, dtype=dtype).reshape(shape)
        self._buffer = np.empty(shape[1:], dtype=dtype)
        self._lent: int | None = None

    def lend(self, index: int) -> NDArray[Any]:
        if self._lent not in (None, index):
            self._write_lent()
        self._lent = index
        return self._buffer

    def put(self, index: int, pixels: NDArray[Any]) -> None:
        self.lend(index)[...] = pixels

    def finish(self) -> NDArray[Any]:
        self._write_lent()
        return self.array

    def _write_lent(self) -> None:
        if self._lent is None:
            return
        try:
            _write(self.descriptor, _bytes_of(self._buffer), self._lent * self._buffer.nbytes)
        except OSError as error:
            raise MemoryError from error
        self._lent = None


def share_array(array: NDArray[Any]) -> int:
    """The descriptor of a nameless memory file (of a nameless disk file where the system has none) with the pixels.

    Raises:
        OSError: there is no room.
    """
    descriptor = _open_nameless()
    try:
        whole = _bytes_of(np.ascontiguousarray(array))
        _write(descriptor, whole, 0)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _bytes_of(array: NDArray[Any]) -> memoryview:
    return array.reshape(-1).view(np.uint8).data


def _open_nameless() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("seriatim", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def _write(descriptor: int, part: memoryview, place: int) -> None:
    while part:
        count = os.pwrite(descriptor, part[:WRITE_STEP], place)
        part, place = part[count:], place + count


def map_array(descriptor: int, *, dtype: str, shape: tuple[int, ...]) -> NDArray[Any]:
    """The pixels in a memory file that another process made, freed with the array.

    The array may be written to; what is written stays in this process.

    Raises:
        WireError: the dtype is not one of pixels, or the file does not hold just as many bytes.
    """
    if dtype not in DTYPES or not shape or min(shape) < 1:
        raise WireError(f"no array: {dtype} {shape}")
    kind = np.dtype(dtype)
    needed = math.prod(shape) * kind.itemsize
    sealed = _seal(descriptor)
    if os.fstat(descriptor).st_size != needed:
        raise WireError(f"{os.fstat(descriptor).st_size} bytes instead of {needed}")
    if not sealed:  # it could still be cut short, which would end this process: take a copy
        array = np.empty(shape, dtype=kind)
        _read_into(descriptor, array)
        return array
    memory = mmap.mmap(descriptor, needed, access=mmap.ACCESS_COPY)
    return np.frombuffer(memory, dtype=kind).reshape(shape)


def _seal(descriptor: int) -> bool:
    """Fix content and size of a memory file, so that its maker cannot change them; False where that cannot be."""
    with contextlib.suppress(AttributeError, OSError):
        seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
        return True
    return False


def _read_into(descriptor: int, array: NDArray[Any]) -> None:
    left, place = _bytes_of(array), 0
    while left:
        count = os.preadv(descriptor, [left[:WRITE_STEP]], place)
        if not count:
            raise WireError("the pixels end too early")
        left, place = left[count:], place + count
