"""NumPy's NPZ files, array by array and row by row, without unpickling (numpy.lib.format, NEP 1)."""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from seriatim.errors import InputError

ENDING = ".npy"
BROKEN = (OSError, EOFError, ValueError, KeyError, RuntimeError, NotImplementedError, zipfile.BadZipFile, zlib.error)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredArray:
    """What the header of one array says."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]


def list_arrays(path: Path) -> dict[str, StoredArray]:
    """The arrays of an NPZ file by name, from their headers alone.

    Raises:
        InputError: it is no NPZ file, or an array holds Python objects, which only unpickling could read.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if name.endswith(ENDING)]
            found = {}
            for name in names:
                with archive.open(name) as member:
                    found[name.removesuffix(ENDING)] = _read_header(member)
    except BROKEN as error:
        raise _damaged(path) from error
    for name, array in found.items():
        if array.dtype.hasobject:
            raise InputError(f"{path.name}: the array {name!r} holds Python objects, which are never unpickled.")
    return found


def iterate_rows(path: Path, name: str) -> Iterator[NDArray[Any]]:
    """``array[0]``, ``array[1]``, ... of one array in C order, read one after the other: no bomb fills the memory.

    Raises:
        InputError: the array is missing, in Fortran order, shorter than its header says, or fails its checksum.
    """
    if name not in (found := list_arrays(path)):
        raise InputError(f"{path.name} holds no array {name!r}; it has {', '.join(found)}.")
    count, *shape = found[name].shape
    row_bytes = math.prod(shape) * found[name].dtype.itemsize
    try:
        with zipfile.ZipFile(path) as archive, archive.open(name + ENDING) as member:
            _read_header(member)
            for _ in range(count):
                row = np.frombuffer(member.read(row_bytes), found[name].dtype)
                yield row.reshape(shape)
            if member.read(1):  # the end is reached, so that the checksum is compared
                raise InputError(f"{path.name}: {name!r} holds more than its header says. Download it again.")
    except BROKEN as error:
        raise _damaged(path) from error


def _read_header(member: IO[bytes]) -> StoredArray:
    version = npy.read_magic(member)
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, fortran, dtype = read(member)
    if fortran and len(shape) > 1:
        raise ValueError("Fortran order")
    return StoredArray(shape=shape, dtype=dtype)


def _damaged(path: Path) -> InputError:
    return InputError(f"{path.name} is no whole NPZ file of plain arrays. Download it again.")
