"""One preallocated array for the slices of a volume, in the smallest kind of number that holds them all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from seriatim.errors import InputError

INTEGERS: tuple[type[np.integer[Any]], ...] = (np.uint8, np.int16, np.int32, np.int64)


class SliceMemory(Protocol):
    """The memory of the slices of one volume."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def lend(self, index: int) -> NDArray[Any]:
        """The place of a slice, to be filled before another is asked for."""

    def put(self, index: int, pixels: NDArray[Any]) -> None:
        """Copy pixels to the place of a slice."""

    def finish(self) -> NDArray[Any]:
        """All slices."""


Allocate = Callable[[tuple[int, ...], np.dtype[Any]], SliceMemory]


class OwnMemory(SliceMemory):
    """Slices in the memory of this process."""

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self.shape, self.dtype = shape, dtype
        self._array = np.empty(shape, dtype)

    def lend(self, index: int) -> NDArray[Any]:
        return np.asarray(self._array[index])

    def put(self, index: int, pixels: NDArray[Any]) -> None:
        self._array[index] = pixels

    def finish(self) -> NDArray[Any]:
        return self._array


class SliceWriter:
    """Collects slices (H,W) or (H,W,3) into (S,H,W) or (S,H,W,3).

    The result is uint8, int16, int32 or int64 where every value is whole, float32 otherwise. The array starts in the
    kind the first slice needs and is widened when a later slice needs more. ``allocate`` makes the memory, for example
    memory that is shared with another process.
    """

    def __init__(self, *, count: int, allocate: Allocate = OwnMemory) -> None:
        self._count = count
        self._allocate = allocate
        self._memory: SliceMemory | None = None

    def lend(self, index: int, shape: tuple[int, int]) -> NDArray[np.int16] | None:
        """The place of slice ``index``, to be filled with 16-bit values without a copy; None where it holds no such.

        What does not stay within int16 must be given to ``write`` instead.
        """
        if self._memory is None:
            self._memory = self._allocate((self._count, *shape), np.dtype(np.int16))
        fits = self._memory.dtype == np.int16 and self._memory.shape[1:] == shape
        return self._memory.lend(index) if fits else None

    def write(self, index: int, pixels: NDArray[Any]) -> None:
        """Put ``pixels`` at slice ``index``. Raises InputError where the shape differs from the first slice's."""
        kind = _kind_of(pixels)
        if self._memory is None:
            self._memory = self._allocate((self._count, *pixels.shape), kind)
        if pixels.shape != self._memory.shape[1:]:
            raise InputError(f"Slice {index + 1} is {pixels.shape}, the first is {self._memory.shape[1:]}.")
        wide = _wider(self._memory.dtype, kind)
        if wide != self._memory.dtype:
            narrow, self._memory = self._memory.finish(), self._allocate(self._memory.shape, wide)
            for place, values in enumerate(narrow):
                self._memory.put(place, values)
        self._memory.put(index, pixels)

    def finish(self) -> NDArray[Any]:
        """The whole array."""
        if self._memory is None:
            raise InputError("There is no slice to read.")
        return as_whole(self._memory.finish())


def as_whole(array: NDArray[Any]) -> NDArray[Any]:
    """``array`` as integers where every value is whole (and small enough), else as float32.

    8-bit integers stay what they are; others become int16, int32 or int64, the smallest that holds them: the kind does
    not depend on the kind in which a format stores the same values.
    """
    if array.dtype.kind in "iu":
        return array if array.dtype in (np.uint8, np.int16) else array.astype(_smallest(array), copy=False)
    if array.dtype.kind != "f":
        return array
    for part in array:
        if not np.isfinite(part).all() or np.abs(part).max(initial=0) >= 2**24 or (np.rint(part) != part).any():
            return array if array.dtype == np.float32 else array.astype(np.float32)
    whole = array.astype(np.int32)
    return whole.astype(_smallest(whole))


def _smallest(array: NDArray[Any]) -> np.dtype[Any]:
    low, high = (int(array.min()), int(array.max())) if array.size else (0, 0)
    holds = [kind for kind in INTEGERS[1:] if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max]
    return np.dtype(holds[0] if holds else np.float32)


def _kind_of(pixels: NDArray[Any]) -> np.dtype[Any]:
    if pixels.dtype.kind == "b":
        return np.dtype(np.uint8)
    if pixels.dtype.kind == "f":
        return np.dtype(np.float32)
    if pixels.dtype in (np.uint8, np.int16):
        return pixels.dtype.newbyteorder("=")
    low, high = (int(pixels.min()), int(pixels.max())) if pixels.size else (0, 0)
    if pixels.ndim == 2 and low >= np.iinfo(np.int16).min and high <= np.iinfo(np.int16).max:
        return np.dtype(np.int16)
    return np.dtype(next(kind for kind in INTEGERS if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max))


def _wider(first: np.dtype[Any], second: np.dtype[Any]) -> np.dtype[Any]:
    if first == second:
        return first
    if "f" in (first.kind, second.kind):
        return np.dtype(np.float32)
    return np.promote_types(first, second)
