"""Copies of one DICOM instance: the same slice twice is one slice; two slices at one place are not."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom

from seriatim.io.dicom_pixels import read_picture
from seriatim.io.dicom_plane import Plane
from seriatim.io.dicom_values import reading
from seriatim.io.source import read_bytes
from seriatim.series.findings import Code, Finding, find


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """A left-out copy and the plane (path, frame) that stays in its place."""

    plane: Plane
    kept: tuple[Path, int | None]


def drop_copies(planes: Sequence[Plane]) -> tuple[list[Plane], list[Copy]]:
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
        if _is_damaged(plane) or have_same_pixels(plane, first):
            dropped.append(Copy(plane=plane, kept=(first.path, first.frame)))
        else:
            others.append(plane)
    return [*kept.values(), *others], dropped


def drop_same_pixels(planes: Sequence[Plane]) -> tuple[list[Plane], list[Finding]]:
    """Keep one of the planes of one position whose pixels are byte for byte the same, whatever their UIDs."""
    kept: dict[object, Plane] = {}
    for plane in sorted(planes, key=lambda plane: (plane.sop_instance_uid, plane.frame or 0)):
        kept.setdefault((plane.position, pixel_digest(plane.path), plane.frame), plane)
    copies = len(planes) - len(kept)
    message = f"{copies} slices with the position and the pixels of another were left out."
    return list(kept.values()), [find(Code.DUPLICATE_SLICE, message, copies=copies)] if copies else []


def pixel_digest(path: Path) -> bytes:
    """A digest of the stored pixel data of a file; of the whole file where it cannot be parsed."""
    try:
        with reading():
            dataset = pydicom.dcmread(path, force=True, specific_tags=["PixelData"])
        return hashlib.sha256(dataset.PixelData).digest()
    except Exception:  # noqa: BLE001 - a file that cannot be parsed is only equal to itself
        return hashlib.sha256(read_bytes(path)).digest()


def have_same_pixels(plane: Plane, other: Plane) -> bool:
    """True where the stored pixel data are the same bytes, or decode to the same values (a copy in another syntax)."""
    return pixel_digest(plane.path) == pixel_digest(other.path) or _same_values(plane, other)


def _same_values(plane: Plane, other: Plane) -> bool:
    try:
        first, second = (read_picture(one.path, one.frame or 0) for one in (plane, other))
    except Exception:  # noqa: BLE001 - what cannot be read is not known to be the same
        return False
    return np.array_equal(first, second)


def _is_damaged(plane: Plane) -> bool:
    return any(finding.action == "refuse" for finding in plane.findings)
