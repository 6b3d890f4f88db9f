"""Copies of one DICOM instance: the same slice twice is one slice; two slices at one place are not."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pydicom

from seriatim.errors import SeriatimError
from seriatim.io.archive.archive import Stamp, stamp_of
from seriatim.io.content import digest_files, digest_part
from seriatim.io.dicom.bounded import BoundedFile
from seriatim.io.dicom.extent import find_extent
from seriatim.io.dicom.inflate import open_inflated
from seriatim.io.dicom.plane import Plane
from seriatim.io.dicom.values import reading
from seriatim.io.dicom_pixels.read import read_picture
from seriatim.io.isolation.limits import Limits, run
from seriatim.io.source import open_file
from seriatim.series.findings import Code, Finding, find

KINDS = frozenset({Code.DERIVED, Code.NOT_A_SERIES})
"""What is refused for its kind is not damaged."""
SIZE_TAGS = ["SamplesPerPixel", "PhotometricInterpretation", "NumberOfFrames", "Rows", "Columns", "BitsAllocated"]
"""What the length of pixel data follows from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """A left-out copy and the plane (path, frame) that stays in its place."""

    plane: Plane
    kept: tuple[Path, int | None]


def drop_copies(planes: Sequence[Plane], *, limits: Limits | None = None) -> tuple[list[Plane], list[Copy]]:
    """Keep one of the planes that share a SOP Instance UID, a frame and a position; the whole one before a damaged one.

    Planes that share a UID but lie elsewhere (a broken anonymiser) are not copies. Nor are those of other pixels.
    """
    kept: dict[object, Plane] = {}
    others: list[Plane] = []
    dropped: list[Copy] = []
    for plane in sorted(planes, key=lambda plane: (len(plane.findings), str(plane.path), plane.frame or 0)):
        key = (plane.sop_instance_uid, plane.frame, plane.position, plane.rows, plane.columns)
        first = kept.setdefault(key, plane)
        if first is plane:
            continue
        if _is_damaged(plane) or _have_same_pixels(plane, first, limits):
            dropped.append(Copy(plane=plane, kept=(first.path, first.frame)))
        else:
            others.append(plane)
    return [*kept.values(), *others], dropped


def drop_same_pixels(planes: Sequence[Plane]) -> tuple[list[Plane], list[Finding]]:
    """Keep one of the planes of one position whose pixels are byte for byte the same, whatever their UIDs."""
    kept: dict[object, Plane] = {}
    for plane in sorted(planes, key=lambda plane: (plane.sop_instance_uid, plane.frame or 0)):
        kept.setdefault((plane.position, plane.stored, pixel_digest(plane.path), plane.frame), plane)
    copies = len(planes) - len(kept)
    message = f"{copies} slices with the position and the pixels of another were left out."
    return list(kept.values()), [find(Code.DUPLICATE_SLICE, message, copies=copies)] if copies else []


def pixel_digest(path: Path) -> bytes:
    """A digest of the stored pixel data of a file; of the whole file where it cannot be parsed."""
    return _digest_pixels(path, stamp_of(path))


@lru_cache
def _digest_pixels(path: Path, stamp: Stamp) -> bytes:  # noqa: ARG001 - part of the cache key
    """Kept, since each frame of a file asks for it; read in parts, since a file may be huge."""
    try:
        with reading(), open_file(path) as raw:
            file = open_inflated(raw)
            dataset = pydicom.dcmread(BoundedFile(file), force=True, stop_before_pixels=True, specific_tags=SIZE_TAGS)
            extent = find_extent(file, dataset)
            if extent is not None:
                digest = hashlib.sha256()
                digest_part(file, extent.start, extent.end, digest)
                return digest.digest()
    except Exception:  # noqa: BLE001, S110 - a file that cannot be parsed is only equal to itself
        pass
    return digest_files([path])


def _have_same_pixels(plane: Plane, other: Plane, limits: Limits | None) -> bool:
    """True where the stored pixels are the same bytes with the same meaning, or decode to the same values.

    So a copy in another transfer syntax is a copy, and one with another rescale is none.
    """
    if plane.stored == other.stored and pixel_digest(plane.path) == pixel_digest(other.path):
        return True
    try:
        return run(have_same_values, limits, [plane.path, other.path], [plane.frame or 0, other.frame or 0])
    except (SeriatimError, OSError, MemoryError):
        return False


def have_same_values(paths: list[Path], frames: list[int]) -> bool:
    """True where two frames of two files hold the same real-world values; False where one cannot be read."""
    try:
        first, second = (read_picture(path, frame) for path, frame in zip(paths, frames, strict=True))
    except Exception:  # noqa: BLE001 - what cannot be read is not known to be the same
        return False
    return np.array_equal(first, second)


def _is_damaged(plane: Plane) -> bool:
    return any(finding.action == "refuse" and finding.code not in KINDS for finding in plane.findings)
