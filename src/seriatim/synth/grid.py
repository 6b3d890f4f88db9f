"""The voxels of a phantom: where each lies in head coordinates, and how to paint soft-edged shapes on them.

Head coordinates are mm, x to patient left, y to posterior, z to superior (DICOM's LPS, turned with the head), with the
origin near the third ventricle. Volumes are float32 (Z,Y,X).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Field: TypeAlias = NDArray[np.floating[Any]]
"""float32 in use; numpy's stubs cannot follow that through arithmetic."""
Point: TypeAlias = tuple[float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """A regular grid of samples in scanner coordinates, seen by a head that is moved and turned.

    ``origin_mm`` is the scanner position (x, y, z) of voxel (0,0,0), ``spacing_mm`` the step along (x, y, z), ``shape``
    is (Z,Y,X), ``rotation`` (3,3) turns head into scanner coordinates, ``centre_mm`` is where the head's origin lies.
    """

    shape: tuple[int, int, int]
    origin_mm: NDArray[np.float64]
    spacing_mm: NDArray[np.float64]
    rotation: NDArray[np.float64]
    centre_mm: NDArray[np.float64]
    coordinates: tuple[Field, Field, Field] = field(init=False)
    """Head coordinates (x, y, z) of every voxel, each (Z,Y,X)."""

    def __post_init__(self) -> None:
        axes = [self.axis(number) - self.centre_mm[number] for number in range(3)]
        along_x, along_y, along_z = (values.astype(np.float32) for values in axes)
        turn = self.rotation.astype(np.float32)
        coordinates = tuple(
            turn[2, k] * along_z[:, None, None] + turn[1, k] * along_y[None, :, None] + turn[0, k] * along_x[None, None]
            for k in range(3)
        )
        object.__setattr__(self, "coordinates", coordinates)

    def axis(self, number: int) -> NDArray[np.float64]:
        """Scanner coordinate in mm of every sample along axis 0 (x), 1 (y) or 2 (z)."""
        samples = np.arange(self.shape[2 - number])
        return np.asarray(self.origin_mm[number] + samples * self.spacing_mm[number])

    @property
    def edge_mm(self) -> float:
        """The width over which an edge turns from nothing to full: one pixel."""
        return float(self.spacing_mm[0])

    def box(self, centre: Point, reach_mm: float) -> tuple[slice, slice, slice]:
        """The voxels (z, y, x slices) that may lie within ``reach_mm`` of a point in head coordinates."""
        middle = (self.rotation @ np.asarray(centre) + self.centre_mm - self.origin_mm) / self.spacing_mm
        reach = reach_mm / self.spacing_mm + 1
        low = np.floor(middle - reach).astype(int)
        high = np.ceil(middle + reach).astype(int) + 1
        return (
            slice(max(int(low[2]), 0), max(int(high[2]), 0)),
            slice(max(int(low[1]), 0), max(int(high[1]), 0)),
            slice(max(int(low[0]), 0), max(int(high[0]), 0)),
        )

    def soft(self, depth_mm: Field) -> Field:
        """How much of each voxel is covered, 0 to 1, from the depth inside a shape in mm."""
        return np.asarray(np.clip(depth_mm / np.float32(self.edge_mm) + np.float32(0.5), 0, 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Ellipsoid:
    """A soft ellipsoid in head coordinates; ``turn_deg`` turns it in the axial plane."""

    centre: Point
    axes: Point
    turn_deg: float = 0.0

    def coverage(self, grid: Grid) -> tuple[tuple[slice, slice, slice], Field]:
        """The box of voxels it may touch and its coverage (0 to 1) there."""
        box = grid.box(self.centre, max(self.axes) + 2 * grid.edge_mm)
        x, y, z = (
            coordinate[box] - np.float32(middle)
            for coordinate, middle in zip(grid.coordinates, self.centre, strict=True)
        )
        cos, sin = (np.float32(f(np.radians(self.turn_deg))) for f in (np.cos, np.sin))
        along, across = cos * x + sin * y, cos * y - sin * x
        a, b, c = (np.float32(axis) for axis in self.axes)
        radius = np.sqrt((along / a) ** 2 + (across / b) ** 2 + (z / c) ** 2)
        return box, grid.soft((1 - radius) * np.float32(min(self.axes)))


def paint(values: Field, coverage: Field, value: float | Field) -> None:
    """Blend ``value`` into ``values`` in place, by coverage."""
    values += coverage * (np.asarray(value, dtype=np.float32) - values)


def smooth_noise(grid: Grid, rng: np.random.Generator, *, wave_mm: float) -> Field:
    """A smooth random field (Z,Y,X) of mean 0 and standard deviation near 1, features about ``wave_mm`` wide.

    A cubic B-spline over a random lattice: exact on any machine, since no matrix library is involved.
    """
    steps = [np.abs(grid.spacing_mm[2 - axis]) * 2 / wave_mm for axis in range(3)]
    counts = [int(np.ceil(size * step)) + 4 for size, step in zip(grid.shape, steps, strict=True)]
    values = rng.standard_normal(counts, dtype=np.float32)
    for axis, (size, step) in enumerate(zip(grid.shape, steps, strict=True)):
        values = _interpolate(values, axis, np.arange(size) * step)
    return values * np.float32(2.9)


def _interpolate(values: Field, axis: int, at: NDArray[np.float64]) -> Field:
    whole = np.floor(at).astype(int)
    t = (at - whole).astype(np.float32)
    weights = ((1 - t) ** 3 / 6, (3 * t**3 - 6 * t**2 + 4) / 6, (-3 * t**3 + 3 * t**2 + 3 * t + 1) / 6, t**3 / 6)
    shape = [1, 1, 1]
    shape[axis] = len(at)
    taps = (values.take(whole + k, axis=axis) * weight.reshape(shape) for k, weight in enumerate(weights))
    return np.asarray(sum(taps), dtype=np.float32)
