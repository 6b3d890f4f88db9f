"""Volume files (NIfTI, NRRD, MetaImage) -> Series: stored slices, turned by the direction rule."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from seriatim.errors import InputError
from seriatim.io.content import make_uid
from seriatim.series.findings import Code, Finding, find
from seriatim.series.geometry import affine_normal, positions_along_normal, spacing_of, tilt_degrees, unit
from seriatim.series.series import Format, Instance, Series

MIN_VOXEL_MM, MAX_VOXEL_MM = 1e-3, 200.0
MIN_TILT_DEGREES = 0.5
MAX_IN_PLANE_COSINE = 1e-2
SMALLEST_SHARE = 1e-2
"""Of the box that three axes span, at least so much must be left: else they lie in one plane."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """What the header of a volume file says: stored size and affine, slice axis last.

    ``affine`` is index (column, row, stored slice) -> RAS+ mm, None where the file has no usable geometry.
    """

    path: Path
    format: Format
    digest: bytes
    columns: int
    rows: int
    slices: int
    volumes: int
    affine: NDArray[np.float64] | None
    findings: tuple[Finding, ...] = field(default=())


def series_of_grid(grid: Grid) -> list[Series]:
    """One series per volume. ``Instance.frame`` is the stored slice, counted through all volumes of the file."""
    affine, problems = grid.affine, list(grid.findings)
    if affine is not None and not is_placement(affine):
        problems.append(find(Code.BAD_VALUE, "The header places no voxels: its affine is singular or not finite."))
    elif affine is not None and (shear := _in_plane_cosine(affine)) > MAX_IN_PLANE_COSINE:
        message = f"Rows and columns are not perpendicular (cosine {shear:.2g}): pixels are shown without that shear."
        problems.append(replace(find(Code.BAD_VALUE, message, cosine=shear), action="keep"))
    if affine is not None:
        problems += _check_scale(affine)
    if grid.slices == 1:
        single = find(Code.NOT_A_SERIES, "There is only one slice, a sequence of length 1.")
        problems.append(replace(single, action="keep"))
    if any(finding.action == "refuse" for finding in problems):
        affine = None
    order = np.arange(grid.slices)
    positions = order.astype(np.float64)
    if affine is not None:
        if float(affine[:3, 2] @ affine_normal(affine)) < 0:
            order, affine = order[::-1], reverse_slices(affine, grid.slices)
        positions = positions_along_normal(affine, grid.slices)
        if grid.slices > 1 and (tilt := tilt_degrees(affine)) > MIN_TILT_DEGREES:
            problems.append(find(Code.GANTRY_TILT, f"Slices are sheared by {tilt:.3g} degrees.", degrees=tilt))
    return [_series(grid, affine, tuple(problems), (volume, order, positions)) for volume in range(grid.volumes)]


def stored_place(series: Series, size: tuple[int, int, int, int]) -> tuple[int, list[int]]:
    """Which volume of the file a series is, and its stored slices in the order of its instances.

    ``size`` is what the header says now: columns, rows, slices, volumes. Raises InputError where it changed.
    """
    columns, rows, slices, volumes = size
    frames = [instance.frame or 0 for instance in series.instances]
    if (rows, columns) != (series.rows, series.columns) or max(frames) >= slices * volumes:
        raise InputError(f"{series.path} changed since it was discovered. Run find_series again.")
    return frames[0] // slices, [frame % slices for frame in frames]


def _check_scale(affine: NDArray[np.float64]) -> list[Finding]:
    """A note where voxels are of a size that no patient's have: the unit of the header may be wrong."""
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    if not (np.isfinite(lengths).all() and (lengths.min() < MIN_VOXEL_MM or lengths.max() > MAX_VOXEL_MM)):
        return []
    message = f"A voxel is {lengths[0]:.4g} x {lengths[1]:.4g} x {lengths[2]:.4g} mm. Check the unit of the header."
    return [replace(find(Code.BAD_VALUE, message), action="keep")]


def reverse_slices(affine: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """The affine of the same voxels with the slice axis counted from the other end."""
    turned = affine.copy()
    turned[:3, 3] = affine[:3, 3] + (count - 1) * affine[:3, 2]
    turned[:3, 2] = -affine[:3, 2]
    return turned


def is_placement(affine: NDArray[np.float64]) -> bool:
    """True where an affine gives every voxel a place and a volume."""
    if not np.isfinite(affine).all():
        return False
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    return bool(lengths.min() > 1e-9) and abs(float(np.linalg.det(affine[:3, :3] / lengths))) >= SMALLEST_SHARE


def _in_plane_cosine(affine: NDArray[np.float64]) -> float:
    column, row = unit(affine[:3, 0]), unit(affine[:3, 1])
    return abs(float(column @ row))


def _series(grid: Grid, affine: NDArray[np.float64] | None, findings: tuple[Finding, ...],
            placing: tuple[int, NDArray[np.int64], NDArray[np.float64]]) -> Series:
    volume, order, positions = placing
    instances = tuple(
        Instance(path=grid.path, sop_instance_uid=make_uid(grid.digest, "instance", volume, int(index)),
                 frame=volume * grid.slices + int(index), position=float(position))
        for index, position in zip(order, positions, strict=True)
    )
    return Series(
        study_uid=make_uid(grid.digest, "study"), series_uid=make_uid(grid.digest, "series"), modality="OT",
        axis="space", format=grid.format, path=grid.path, instances=instances, rows=grid.rows, columns=grid.columns,
        affine=affine, spacing_mm=None if affine is None else spacing_of(affine),
        volume=f"t {volume + 1}" if grid.volumes > 1 else "", findings=findings,
    )
