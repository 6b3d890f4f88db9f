"""Turn stored slices into the radiological view, so that a flipped axis never reaches the network."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from seriatim.series.geometry import DisplayOrientation, display_orientation


def orient(array: NDArray[np.generic], affine: NDArray[np.float64] | None) -> NDArray[np.generic]:
    """(S,H,W) or (S,H,W,3) as stored -> the same, transposed and flipped in plane only; as it is without geometry."""
    return array if affine is None else turn(array, display_orientation(affine))


def turn(array: NDArray[np.generic], orientation: DisplayOrientation) -> NDArray[np.generic]:
    """Apply a display orientation to a stack (S,H,W) or (S,H,W,3)."""
    if orientation.transpose:
        array = np.swapaxes(array, 1, 2)
    if orientation.flip_rows:
        array = array[:, ::-1]
    if orientation.flip_columns:
        array = array[:, :, ::-1]
    return np.ascontiguousarray(array)


def turn_back(array: NDArray[np.generic], affine: NDArray[np.float64] | None) -> NDArray[np.generic]:
    """What ``orient`` turned, (S,H,W) or (S,H,W,3), as stored again."""
    if affine is None:
        return array
    orientation = display_orientation(affine)
    if orientation.flip_columns:
        array = array[:, :, ::-1]
    if orientation.flip_rows:
        array = array[:, ::-1]
    return np.ascontiguousarray(np.swapaxes(array, 1, 2) if orientation.transpose else array)
