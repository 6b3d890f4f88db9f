"""Geometry of slices in RAS+ mm: the direction rule, positions along the normal, affines, display orientation.

The direction rule (docs/geometry.md): slices ascend towards +S, +A or +R, whichever the slice normal is nearest to
(Superior before Anterior before Right on a tie). So the same anatomy gives the same sequence whatever the file order.

Every such rule has an edge: turning a normal by 180 degrees reverses it, so somewhere on the way it must jump. Here the
edge lies where two components of opposite sign differ by ``TIE_TOLERANCE``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Matrix = NDArray[np.float64]

Plane = Literal["axial", "coronal", "sagittal"]

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
TIE_TOLERANCE = 0.0111455
"""Parts of a direction that differ by less are a tie: it lies within 0.45 degrees of 45 degrees between two axes.

So cosines of 45 degrees that were rounded, to two digits even, are a tie, and noise cannot turn one. The edge lies at
45.4516 degrees: between the angles that a console takes (whole degrees and tenths), and halfway between two cosines
of 2 to 6 digits, far enough from each for the noise of float32.
"""
POSITIVE, NEGATIVE = "RAS", "LPI"


def unit(vector: ArrayLike) -> Matrix:
    """The vector at length 1. Raises ValueError for a vector of length 0 or with non-finite parts."""
    array = np.asarray(vector, dtype=np.float64)
    length = float(np.linalg.norm(array))
    if not np.isfinite(length) or length < 1e-12:
        raise ValueError(f"{array.tolist()} has no direction.")
    return array / length


def slice_normal(column_axis: ArrayLike, row_axis: ArrayLike) -> Matrix:
    """The unit normal (3,) of a plane spanned by two in-plane directions, turned by the direction rule. RAS+."""
    normal = unit(_cross(unit(column_axis), unit(row_axis)))
    return normal * direction_sign(normal)


def _cross(first: Matrix, second: Matrix) -> Matrix:
    """The vector product, as np.cross gives it, which takes ten times as long for one pair of vectors."""
    (a, b, c), (d, e, f) = first.tolist(), second.tolist()
    return np.array([b * f - c * e, c * d - a * f, a * e - b * d])


def direction_sign(normal: ArrayLike) -> float:
    """+1 if ``normal`` (RAS+) already points the way slices ascend, else -1."""
    components = np.asarray(normal, dtype=np.float64)
    if not np.isfinite(components).all() or not components.any():
        raise ValueError(f"{components.tolist()} has no direction.")
    return 1.0 if components[_nearest_axis(components)] > 0 else -1.0


def affine_normal(affine: Matrix) -> Matrix:
    """The unit slice normal (3,) of an index (column, row, slice) -> RAS+ affine, by the direction rule."""
    return slice_normal(affine[:3, 0], affine[:3, 1])


def positions_along_normal(affine: Matrix, count: int) -> Matrix:
    """(S,) mm along the normal for ``count`` evenly spaced slices of an affine."""
    normal = affine_normal(affine)
    return np.asarray(affine[:3, 3] @ normal + np.arange(count) * float(affine[:3, 2] @ normal))


def spacing_of(affine: Matrix) -> tuple[float, float, float]:
    """(column, row, slice) spacing in mm; the slice spacing is the distance between planes, also under gantry tilt."""
    column, row = (float(np.linalg.norm(affine[:3, axis])) for axis in (0, 1))
    return column, row, abs(float(affine[:3, 2] @ affine_normal(affine)))


def tilt_degrees(affine: Matrix) -> float:
    """The angle between the slice step and the slice normal: 0 for an orthogonal volume, the gantry tilt otherwise."""
    step = unit(affine[:3, 2])
    return float(np.degrees(np.arccos(np.clip(abs(step @ affine_normal(affine)), 0.0, 1.0))))


@dataclass(frozen=True, slots=True, kw_only=True)
class DisplayOrientation:
    """How to turn stored slices into the radiological view, by transposing and flipping only.

    Axial slices show patient left on the right and posterior at the bottom; coronal, left on the right and inferior at
    the bottom; sagittal, posterior on the right and inferior at the bottom. ``transpose`` comes before the flips.
    ``letters`` are the patient directions at the (left, right, top, bottom) edges of the turned slice.
    """

    transpose: bool
    flip_rows: bool
    flip_columns: bool
    letters: tuple[str, str, str, str]


def display_orientation(affine: Matrix) -> DisplayOrientation:
    """The turn that brings the slices of ``affine`` into the radiological view."""
    across, down = {"axial": (0, 1), "coronal": (0, 2), "sagittal": (1, 2)}[plane_of(affine)]
    column, row = unit(affine[:3, 0]), unit(affine[:3, 1])
    fit = abs(column[across]) + abs(row[down]) - abs(column[down]) - abs(row[across])
    # on a tie (turned by 45 degrees in plane) the axis of equal signs goes across, whichever is stored first
    tie = abs(fit) <= 2 * TIE_TOLERANCE
    transpose = bool(column[across] * column[down] < row[across] * row[down]) if tie else bool(fit < 0)
    if transpose:
        column, row = row, column
    flip_columns, flip_rows = bool(column[across] > 0), bool(row[down] > 0)
    right, bottom = (-column if flip_columns else column), (-row if flip_rows else row)
    letters = (letter(-right), letter(right), letter(-bottom), letter(bottom))
    return DisplayOrientation(transpose=transpose, flip_rows=flip_rows, flip_columns=flip_columns, letters=letters)


def plane_of(affine: Matrix) -> Plane:
    """The anatomical plane that the slices of ``affine`` are nearest to; axial before coronal before sagittal."""
    names: tuple[Plane, ...] = ("sagittal", "coronal", "axial")
    return names[_nearest_axis(affine_normal(affine))]


def letter(direction: ArrayLike) -> str:
    """The patient direction (R, L, A, P, S or I) nearest to a RAS+ vector; S or I before A or P on a tie."""
    components = unit(direction)
    axis = _nearest_axis(components)
    return (POSITIVE if components[axis] > 0 else NEGATIVE)[axis]


def _nearest_axis(direction: Matrix) -> int:
    """The axis (0 to 2: right, anterior, superior) a unit vector is nearest to; the last of them on a tie."""
    size = np.abs(direction)
    return max(axis for axis in (0, 1, 2) if size[axis] >= size.max() - TIE_TOLERANCE)
