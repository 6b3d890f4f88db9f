"""Plane: one 2D image of a DICOM file, with what is needed to place it in a volume."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from seriatim.io.dicom.concatenation import Part
from seriatim.io.dicom.kinds import Role
from seriatim.series.findings import Code, Finding, find
from seriatim.series.geometry import LPS_TO_RAS

Trait = float | str
AXIS_TOLERANCE = 1e-2


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """How a file stores its values: BitsAllocated, BitsStored, HighBit and PixelRepresentation are the ``layout``.

    ``rescale`` is slope and intercept, None where the file has none.
    """

    photometric: str = ""
    layout: tuple[int | None, ...] = ()
    rescale: tuple[float | None, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Plane:
    """One image plane. Coordinates are DICOM's own: LPS, mm, of the centre of the first pixel.

    ``frame`` is the 0-based frame of a multi-frame file, None in a single-frame file. ``spacing_mm`` is (between rows,
    between columns) as in Pixel Spacing. ``time_s`` is set for the frames of a clip, ``clip`` tells clips apart.
    ``part`` is set where the file is a part of a concatenation. ``traits`` are the values that tell one volume of a
    series from another. ``patient`` is a digest, only compared. ``findings`` are what is wrong with the file that holds
    the plane.
    """

    path: Path
    frame: int | None
    sop_instance_uid: str
    sop_class_uid: str
    study_uid: str
    series_uid: str
    modality: str
    patient: str = field(default="", repr=False)
    rows: int
    columns: int
    position: tuple[float, ...] | None = None
    orientation: tuple[float, ...] | None = None
    spacing_mm: tuple[float, ...] | None = None
    time_s: float | None = None
    clip: str = ""
    part: Part | None = None
    number: int = 0
    role: Role = ""
    body_parts: tuple[str, ...] = ()
    colour: bool = False
    thickness_mm: float | None = None
    stored: Stored = Stored()
    traits: Mapping[str, Trait] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()

    @property
    def placed(self) -> bool:
        """True where the plane has a place in space."""
        return self.position is not None and self.orientation is not None and self.spacing_mm is not None

    @property
    def axes_ras(self) -> NDArray[np.float64]:
        """(2,3) unit vectors of increasing column and of increasing row index, RAS+."""
        if self.orientation is None:
            raise ValueError("A plane without a place has no axes.")
        return _axes_ras(self.orientation)

    @property
    def normal_ras(self) -> NDArray[np.float64]:
        """(3,) what is perpendicular to both axes, RAS+."""
        if self.orientation is None:
            raise ValueError("A plane without a place has no normal.")
        return _normal_ras(self.orientation)


@lru_cache
def _axes_ras(orientation: tuple[float, ...]) -> NDArray[np.float64]:
    axes = np.asarray(orientation, dtype=np.float64).reshape(2, 3)
    axes = np.asarray(axes / np.linalg.norm(axes, axis=1, keepdims=True) @ LPS_TO_RAS[:3, :3])
    axes.flags.writeable = False  # planes share it
    return axes


@lru_cache
def _normal_ras(orientation: tuple[float, ...]) -> NDArray[np.float64]:
    normal = np.cross(*_axes_ras(orientation))
    normal.flags.writeable = False
    return normal


def origins_of(planes: Sequence[Plane]) -> NDArray[np.float64]:
    """(S,3) the centres of the first pixels of placed planes, RAS+ mm."""
    return np.asarray(np.array([plane.position for plane in planes], dtype=np.float64) * np.diag(LPS_TO_RAS)[:3])


def along(origins: NDArray[np.float64], normal: NDArray[np.float64]) -> NDArray[np.float64]:
    """(S,) mm along a normal; equal origins give equal values to the last bit, which a matrix product may not."""
    return np.asarray(origins[:, 0] * normal[0] + origins[:, 1] * normal[1] + origins[:, 2] * normal[2])


def check_orientation(values: tuple[float, ...]) -> str:
    """Why six direction cosines are no orientation; "" where they are one."""
    axes = np.asarray(values, dtype=np.float64).reshape(2, 3)
    lengths = np.linalg.norm(axes, axis=1)
    if (np.abs(lengths - 1) > AXIS_TOLERANCE).any():
        return f"ImageOrientationPatient has axes of length {lengths[0]:.4g} and {lengths[1]:.4g}, expected 1."
    if abs(float(axes[0] @ axes[1])) > AXIS_TOLERANCE:
        return f"ImageOrientationPatient has axes that are not perpendicular (cosine {float(axes[0] @ axes[1]):.4g})."
    return ""


def check_geometry(orientation: tuple[float, ...] | None, spacing_mm: tuple[float, ...] | None) -> list[Finding]:
    """BAD_VALUE findings for an orientation that is none and a pixel spacing that is not positive."""
    problems = []
    if orientation is not None and (reason := check_orientation(orientation)):
        problems.append(find(Code.BAD_VALUE, reason))
    if spacing_mm is not None and min(spacing_mm) <= 0:
        problems.append(find(Code.BAD_VALUE, f"PixelSpacing is {spacing_mm[0]:g} x {spacing_mm[1]:g} mm."))
    return problems
