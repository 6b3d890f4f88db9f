"""MetaImage headers (.mha, .mhd): keys and values up to ElementDataFile (itk.org, MetaIO)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seriatim.io.refused import RefusedFileError
from seriatim.io.source import open_file
from seriatim.io.volumes.stored import Encoding, Stored, file_beside
from seriatim.series.findings import Code, Finding, find

MAX_HEADER_BYTES = 1 << 20
TYPES = {"CHAR": "i1", "UCHAR": "u1", "SHORT": "i2", "USHORT": "u2", "INT": "i4", "UINT": "u4", "LONG": "i4",
         "ULONG": "u4", "LONG_LONG": "i8", "ULONG_LONG": "u8", "FLOAT": "f4", "DOUBLE": "f8"}
LAST_KEY = "elementdatafile"
AXIS_TOLERANCE = 1e-2


def read_meta_header(path: Path) -> Stored:
    """Parse the header of a MetaImage file.

    Raises:
        RefusedFileError: the header is damaged, or says what is not read.
    """
    with open_file(path) as file:
        head = file.read(MAX_HEADER_BYTES)
    keys, end = _keys(head)
    sizes = tuple(int(size) for size in _numbers(keys, "dimsize"))
    if not 2 <= len(sizes) <= 5 or str(len(sizes)) != keys.get("ndims"):
        raise RefusedFileError(Code.BAD_VALUE, f"The MetaImage header has {len(sizes)} sizes, not NDims.")
    body, start = _place_of_body(path, keys, end)
    channels = int(keys.get("elementnumberofchannels", "1"))
    if channels not in (1, 3):
        raise RefusedFileError(Code.UNSUPPORTED, f"Voxels of {channels} values are neither grey nor RGB.")
    colour = channels == 3
    affine, findings = _affine(keys, len(sizes))
    return Stored(body=body, start=start, encoding=_encoding(keys), dtype=_dtype(keys),
                  sizes=(3, *sizes) if colour else sizes,
                  space_axes=tuple(axis + colour for axis in range(min(3, len(sizes)))),
                  colour_axis=0 if colour else None, affine=affine, findings=tuple(findings))


def _keys(head: bytes) -> tuple[dict[str, str], int]:
    """The keys in lower case, and where the voxels start in this file."""
    keys: dict[str, str] = {}
    place = 0
    while LAST_KEY not in keys:
        end = head.find(b"\n", place)
        line = head[place : end if end >= 0 else len(head)].decode("latin-1")
        key, equals, value = line.partition("=")
        if key.strip().lower() in keys:
            raise RefusedFileError(Code.BAD_VALUE, "The MetaImage header has a key twice. Write the file again.")
        if equals:
            keys[key.strip().lower()] = value.strip()
        if end < 0 and LAST_KEY not in keys:
            raise RefusedFileError(Code.TRUNCATED, "The MetaImage header does not end. Copy the file again.")
        place = end + 1 if end >= 0 else len(head)
    return keys, place


def _encoding(keys: Mapping[str, str]) -> Encoding:
    if not _is_true(keys, "binarydata", default="true"):
        return "ascii"
    return "zlib" if _is_true(keys, "compresseddata") else "raw"


def _dtype(keys: Mapping[str, str]) -> np.dtype[Any]:
    kind = TYPES.get(keys.get("elementtype", "").upper().removeprefix("MET_").removesuffix("_ARRAY"))
    if kind is None:
        raise RefusedFileError(Code.UNSUPPORTED, "The MetaImage header names no type of number.")
    big = _is_true(keys, "binarydatabyteordermsb") or _is_true(keys, "elementbyteordermsb")
    return np.dtype((">" if big else "<") + kind)


def _place_of_body(path: Path, keys: Mapping[str, str], end: int) -> tuple[Path, int]:
    name, skip = keys[LAST_KEY], int(keys.get("headersize", "0"))
    if name.upper().startswith("LIST") or "%" in name:
        raise RefusedFileError(Code.UNSUPPORTED, "The voxels lie in several files. Write the volume as one file.")
    if name.upper() == "LOCAL":
        if skip:
            raise RefusedFileError(Code.UNSUPPORTED, "A HeaderSize in a file of its own is not read.")
        return path, end
    if skip < -1 or (skip and _encoding(keys) != "raw"):
        raise RefusedFileError(Code.UNSUPPORTED, f"HeaderSize {skip} is not read.")
    return file_beside(path, name), skip


def _affine(keys: Mapping[str, str], count: int) -> tuple[NDArray[np.float64] | None, list[Finding]]:
    """Rows of TransformMatrix are the directions of the axes, in LPS."""
    if count == 2:
        return None, []
    spacing = _numbers(keys, "elementspacing") or _numbers(keys, "elementsize")
    matrix = _numbers(keys, "transformmatrix") or _numbers(keys, "rotation") or _numbers(keys, "orientation")
    origin = _numbers(keys, "offset") or _numbers(keys, "origin") or _numbers(keys, "position") or [0.0] * count
    if not spacing or not matrix:
        message = "The MetaImage header lacks ElementSpacing or TransformMatrix: nothing says where the axes point."
        return None, [find(Code.MISSING_GEOMETRY, message)]
    if (len(spacing), len(matrix), len(origin)) != (count, count * count, count):
        raise RefusedFileError(Code.BAD_VALUE, f"ElementSpacing, TransformMatrix or Offset do not fit {count} axes.")
    directions = np.array(matrix).reshape(count, count)[:3, :3].T
    lengths = np.linalg.norm(directions, axis=0)
    if not (np.abs(lengths - 1) <= AXIS_TOLERANCE).all() or not min(spacing[:3]) > 0:
        message = (f"TransformMatrix has axes of length {', '.join(f'{length:.4g}' for length in lengths)}, not 1; "
                   f"ElementSpacing is {', '.join(f'{value:g}' for value in spacing[:3])}.")
        raise RefusedFileError(Code.BAD_VALUE, message)
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = directions * np.array(spacing[:3]), origin[:3]
    affine[:2] *= -1  # LPS to RAS
    return affine, []


def _numbers(keys: Mapping[str, str], name: str) -> list[float]:
    try:
        return [float(part) for part in keys.get(name, "").split()]
    except ValueError:
        message = "A number in the MetaImage header cannot be read. Write the file again."
        raise RefusedFileError(Code.BAD_VALUE, message) from None


def _is_true(keys: Mapping[str, str], name: str, *, default: str = "false") -> bool:
    return keys.get(name, default).lower() in ("true", "t", "1", "yes")
