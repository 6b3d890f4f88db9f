"""NRRD headers (teem.sourceforge.net/nrrd/format.html), attached and detached."""

from __future__ import annotations

import re
import shlex
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
NUMBERS = {"char": "1", "short": "2", "int": "4", "longlong": "8"}
ENCODINGS: Mapping[str, Encoding] = {"raw": "raw", "gzip": "gzip", "gz": "gzip", "bzip2": "bzip2", "bz2": "bzip2",
                                     "ascii": "ascii", "text": "ascii", "txt": "ascii", "hex": "hex"}
TO_RAS = {"right-anterior-superior": (1, 1, 1), "ras": (1, 1, 1), "left-anterior-superior": (-1, 1, 1),
          "las": (-1, 1, 1), "left-posterior-superior": (-1, -1, 1), "lps": (-1, -1, 1)}
VOLUME_KINDS = frozenset({"list", "time", "none", "???", "stub", "scalar"})
COLOUR_KINDS = frozenset({"rgb-color", "3-color", "vector"})
"""Of three 8-bit values; ITK writes the colours of a picture as a vector."""
SPACE_KINDS = frozenset({"domain", "space"})
MM_PER_UNIT = {"mm": 1.0, "": 1.0, "um": 1e-3, "µm": 1e-3, "micron": 1e-3, "cm": 10.0, "m": 1000.0}
VECTOR = re.compile(r"none|\([^)]*\)")
TIME_VECTOR = re.compile(r"\((\s*[+-]?0*\.?0*\s*,){3}[^,]+\)")
"""A direction of four parts, of which only the last is not 0."""


def read_nrrd_header(path: Path) -> Stored:
    """Parse the header of an NRRD file.

    Raises:
        RefusedFileError: the header is damaged, or says what is not read.
    """
    with open_file(path) as file:
        head = file.read(MAX_HEADER_BYTES)
    end = re.search(rb"\r?\n\r?\n", head)
    fields = _fields(head[: end.start()] if end else head)
    dtype, sizes = _dtype(fields), _sizes(fields)
    body, start = _place_of_body(path, fields, end.end() if end else None)
    space_axes, colour_axis = _axes(fields, sizes, colours=COLOUR_KINDS if dtype == np.uint8 else frozenset())
    affine, findings = _affine(fields, space_axes)
    return Stored(body=body, start=start, encoding=_encoding(fields), dtype=dtype, sizes=sizes, space_axes=space_axes,
                  colour_axis=colour_axis, affine=affine, findings=tuple(findings))


def _fields(head: bytes) -> dict[str, str]:
    """The fields by name, without spaces; key/value pairs and comments are left out."""
    fields: dict[str, str] = {}
    for line in head.decode("utf-8", "replace").splitlines()[1:]:
        name, colon, value = line.partition(":")
        if line.startswith("#") or not colon or value.startswith("="):
            continue
        key = name.strip().lower().replace(" ", "")
        if key in fields:
            raise RefusedFileError(Code.BAD_VALUE, "The NRRD header has a field twice. Write the file again.")
        fields[key] = value.strip()
    return fields


def _encoding(fields: Mapping[str, str]) -> Encoding:
    try:
        return ENCODINGS[fields.get("encoding", "").lower()]
    except KeyError:
        raise RefusedFileError(Code.UNSUPPORTED, "The encoding of the NRRD file is none that is read.") from None


def _dtype(fields: Mapping[str, str]) -> np.dtype[Any]:
    kind = fields.get("type", "").lower().removesuffix("_t")
    floats = {"float": "f4", "double": "f8"}
    if re.fullmatch(r"u?int(8|16|32|64)", kind):
        dtype = np.dtype(kind)
    elif kind in floats:
        dtype = np.dtype(floats[kind])
    else:
        sign = "u" if kind.startswith("u") else "i"
        plain = re.sub(r"^(unsigned|signed|u)|\s", "", kind)
        name = plain if plain in NUMBERS else plain.removesuffix("int")
        if name not in NUMBERS:
            raise RefusedFileError(Code.UNSUPPORTED, "The NRRD header names no type of number.")
        dtype = np.dtype(sign + NUMBERS[name])
    if dtype.itemsize == 1 or ENCODINGS.get(fields.get("encoding", "").lower()) == "ascii":
        return dtype
    order = {"little": "<", "big": ">"}.get(fields.get("endian", "").lower())
    if order is None:
        raise RefusedFileError(Code.BAD_VALUE, "The NRRD header does not say the byte order (endian).")
    return dtype.newbyteorder(order)  # type: ignore[arg-type]


def _sizes(fields: Mapping[str, str]) -> tuple[int, ...]:
    sizes = tuple(int(number) for number in _numbers(fields.get("sizes", "")))
    if len(sizes) < 2 or str(len(sizes)) != fields.get("dimension"):
        raise RefusedFileError(Code.BAD_VALUE, f"The NRRD header has {len(sizes)} sizes, which is not its dimension.")
    return sizes


def _place_of_body(path: Path, fields: Mapping[str, str], end: int | None) -> tuple[Path, int]:
    name = fields.get("datafile")
    lines, start = int(fields.get("lineskip", 0)), int(fields.get("byteskip", 0))
    if name is not None and (name.upper().startswith("LIST") or re.search(r"%\d*d.*\s-?\d+\s+-?\d+\s+-?\d+", name)):
        raise RefusedFileError(Code.UNSUPPORTED, "The voxels lie in several files. Write the volume as one file.")
    if lines or start < -1 or (start and _encoding(fields) != "raw"):
        raise RefusedFileError(Code.UNSUPPORTED, "Skipped lines and skipped packed bytes (NRRD) are not read.")
    if name is not None:
        return file_beside(path, name), start
    if end is None:
        raise RefusedFileError(Code.TRUNCATED, "The NRRD header does not end. Copy the file again.")
    return path, end + start if start >= 0 else -1


def _axes(fields: Mapping[str, str], sizes: tuple[int, ...], *,
          colours: frozenset[str]) -> tuple[tuple[int, ...], int | None]:
    """The axes of space, and that of the colours."""
    count = len(sizes)
    kinds = [kind.lower() for kind in fields.get("kinds", "").split()] or ["???"] * count
    vectors = VECTOR.findall(fields.get("spacedirections", "").lower())
    if len(kinds) != count or (vectors and len(vectors) != count):
        raise RefusedFileError(Code.BAD_VALUE, f"The NRRD header names {len(kinds)} kinds of axes for {count} axes.")
    for axis, vector in enumerate(vectors):
        if TIME_VECTOR.fullmatch(vector):
            kinds[axis], vectors[axis] = "time", "none"
    known = bool(vectors) or any(kind in SPACE_KINDS for kind in kinds)
    space = [axis for axis in range(count)
             if (vectors[axis] != "none" if vectors else kinds[axis] in SPACE_KINDS or not known)]
    others = [axis for axis in range(count) if axis not in space]
    coloured = [axis for axis in others if kinds[axis] in colours and sizes[axis] == 3]
    unknown = [kinds[axis] for axis in others if axis not in coloured and
               (kinds[axis] not in VOLUME_KINDS or (kinds[axis] == "???" and sizes[axis] > 1))]
    if not 2 <= len(space) <= 3 or len(coloured) > 1 or unknown:
        raise RefusedFileError(
            Code.UNSUPPORTED, f"The axes of the NRRD file ({count}, {len(space)} of them in space) are no grey or RGB "
            "volumes, but vectors or something unknown."
        )
    return tuple(space), coloured[0] if coloured else None


def _affine(fields: Mapping[str, str], axes: tuple[int, ...]) -> tuple[NDArray[np.float64] | None, list[Finding]]:
    if len(axes) == 2:
        return None, []
    signs = TO_RAS.get(fields.get("space", "").lower().removesuffix("-time").removesuffix("t"))
    vectors = VECTOR.findall(fields.get("spacedirections", ""))
    if signs is None or not vectors:
        message = "The NRRD header does not say the directions of its axes in the patient (space, space directions)."
        return None, [find(Code.MISSING_GEOMETRY, message)]
    units = shlex.split(fields.get("spaceunits", ""))[:3] or ["mm"] * 3
    if any(unit not in MM_PER_UNIT for unit in units):
        raise RefusedFileError(Code.UNSUPPORTED, "The space units of the NRRD file are no lengths that are known.")
    columns = [_numbers(vectors[axis].strip("()").replace(",", " ")) for axis in axes]
    origin = _numbers(fields.get("spaceorigin", "(0,0,0)").strip("()").replace(",", " "))
    if any(len(column) < 3 for column in (*columns, origin)):
        raise RefusedFileError(Code.BAD_VALUE, "A vector of the NRRD header has fewer than three parts.")
    affine = np.eye(4)
    affine[:3] = np.array([column[:3] for column in (*columns, origin)]).T
    affine[:3] *= (np.array(signs) * [MM_PER_UNIT[unit] for unit in units])[:, None]
    return affine, []


def _numbers(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split()]
    except ValueError:
        message = "A number in the NRRD header cannot be read. Write the file again."
        raise RefusedFileError(Code.BAD_VALUE, message) from None
