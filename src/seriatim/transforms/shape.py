"""A segmentation mask as the network sees it: how deep inside the shape each voxel lies, not how bright it is."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from seriatim.errors import InputError
from seriatim.series import Volume
from seriatim.series.geometry import tilt_degrees
from seriatim.series.spacing import is_even
from seriatim.transforms.in_plane import InPlane, Plan
from seriatim.transforms.orientation import orient
from seriatim.transforms.pieces import Piece, check_finite

MOST_VALUES = 128
"""A mask has no more different numbers; whole-body segmentations have some hundred."""
SLAB = 32
"""Slices whose distances are computed at a time, which bounds the memory of a large mask."""
MOST_TILT_DEGREES = 1.0
"""Distances along the axes of a grid that leans further do not add up."""


class MaskSettings(InPlane):
    """A segmentation of an organ, a vessel or a lesion: its shape in mm, in one channel.

    A voxel of the shape is its Euclidean distance to the nearest voxel outside in 3D (Maurer et al. 2003, IEEE TPAMI
    25(2)), whose ridge is half the local thickness (Hildebrand and Rueegsegger 1997, J Microscopy 185); outside is 0.
    In flat zeros and ones a slice does not tell how thick the shape is across it.
    """

    kind: Literal["mask"] = "mask"
    values: tuple[int, ...] = ()
    """The numbers of the mask that are the shape; without it every number but 0."""
    depth_mm: float = Field(default=8.0, gt=0, le=1000)
    """The distance from the surface, in mm, that becomes 1; whatever lies deeper is 1 too."""

    @property
    def channels(self) -> int:
        return 2 * self.neighbours + 1

    @property
    def modalities(self) -> tuple[str, ...]:
        return ()

    @property
    def whole_series(self) -> str:
        return "preprocessing.kind mask measures distances through the whole series"

    def scaled_by_series(self, volume: Volume) -> bool:  # noqa: ARG002  a distance always looks at other slices
        return True

    def plan(self, volume: Volume) -> Plan:
        """What ``put`` has to know. Raises InputError where the volume is no mask, is empty, or has no size in mm."""
        check_finite(volume)
        inside, spacing_mm = self._find_shape(volume), _slice_row_column(volume)
        depth = measure_depth(inside, spacing_mm, most=self.depth_mm)
        return Plan(placement=self.placement(volume), depth=_orient(depth, volume))

    def put(self, piece: Piece, plan: Plan, *, out: Tensor) -> None:
        """Depth in [0,1] of ``depth_mm``; outside the slice is 0."""
        assert plan.depth is not None
        plan.placement.apply(plan.depth[piece.part].to(out.device) / self.depth_mm, out)

    def _finish(self, slices: Tensor) -> Tensor:
        return slices.clamp(0, 1)

    def _content(self, volume: Volume) -> Tensor:
        return _orient(self._find_shape(volume), volume)

    def _find_shape(self, volume: Volume) -> NDArray[np.bool_]:
        """(S,H,W) as stored, True inside the shape."""
        array = _one_colour(volume)
        present = _count_values(array, volume)
        inside = np.isin(array, self.values) if self.values else array != 0
        outside = volume.find_padding()
        if outside is not None:
            inside &= ~outside
        if not inside.any():
            wanted = f"none of preprocessing.values {list(self.values)}" if self.values else "nothing but 0"
            raise InputError(
                f"BAD_VALUE: the mask {volume.series.series_uid} holds {wanted}: there is no shape to score. Its "
                f"numbers are {', '.join(f'{value:g}' for value in present[:8])}. Check it, or preprocessing.values."
            )
        return inside


def measure_depth(
    inside: NDArray[np.bool_], spacing_mm: tuple[float, float, float], *, most: float
) -> NDArray[np.float32]:
    """The distance in mm of each voxel of a shape to the nearest voxel centre outside it: (S,H,W) -> (S,H,W).

    ``spacing_mm`` is (slice, row, column). 0 outside the shape; no more than ``most``, so that a few slices can be
    computed at a time: none further away than ``most`` matters. The edge of the volume is no surface.
    """
    depth = np.zeros(inside.shape, np.float32)
    reach = math.ceil(most / spacing_mm[0])
    rows, columns = (_bounds(inside, across=across) for across in ((0, 2), (0, 1)))
    near = inside[:, rows, columns]
    for start in range(0, len(near), SLAB):
        low, stop = max(0, start - reach), start + SLAB
        slab = near[low : stop + reach]
        if not slab[start - low : stop - low].any():
            continue
        if slab.all():
            found = np.full(slab.shape, most, np.float32)
        else:
            found = distance_transform_edt(slab, sampling=spacing_mm).astype(np.float32)
        depth[start:stop, rows, columns] = found[start - low : stop - low]
    return np.minimum(depth, np.float32(most))


def _bounds(inside: NDArray[np.bool_], *, across: tuple[int, int]) -> slice:
    """The part of an axis in which the shape lies, and one voxel around it: the nearest outside lies in there."""
    index = np.flatnonzero(inside.any(axis=across))
    return slice(max(0, int(index[0]) - 1), int(index[-1]) + 2)


def _one_colour(volume: Volume) -> NDArray[np.generic]:
    """(S,H,W) of a mask; a grey picture saved in colour is grey."""
    array = volume.array
    if array.ndim == 3:
        return array
    if np.array_equal(array[..., 0], array[..., 1]) and np.array_equal(array[..., 0], array[..., 2]):
        return np.asarray(array[..., 0])
    raise _no_mask(volume, "colours")


def _count_values(array: NDArray[np.generic], volume: Volume) -> NDArray[np.generic]:
    """The different numbers of a mask, ascending. Raises InputError where these are those of an image."""
    present = np.unique(array)
    if len(present) > MOST_VALUES:
        raise _no_mask(volume, f"{len(present)} different numbers")
    if present[0] < 0:
        raise _no_mask(volume, f"the number {present[0]:g}")
    if (present % 1 != 0).any():
        raise _no_mask(volume, "fractions")
    return present


def _no_mask(volume: Volume, holds: str) -> InputError:
    return InputError(
        f"BAD_VALUE: series {volume.series.series_uid} holds {holds}: no segmentation mask, which has 0 outside and "
        f"at most {MOST_VALUES} whole numbers. Give the mask, or use preprocessing.kind intensity or ct."
    )


def _slice_row_column(volume: Volume) -> tuple[float, float, float]:
    """The size of a voxel in mm. Raises InputError where the files do not tell it, or it is not the same throughout."""
    spacing, name = volume.series.spacing_mm, volume.series.series_uid
    if spacing is None:
        raise InputError(
            f"BAD_VALUE: the files of mask {name} do not tell the size of a voxel, and preprocessing.kind mask "
            "measures in mm. Give it as NIfTI or DICOM, or use preprocessing.kind intensity."
        )
    if not is_even(volume.positions):
        steps = np.diff(volume.positions)
        raise InputError(
            f"UNEVEN_SPACING: the slices of mask {name} lie {steps.min():.4g} to {steps.max():.4g} mm apart, and a "
            "distance through them needs one step. Resample it to even slices."
        )
    if volume.affine is not None and tilt_degrees(volume.affine) > MOST_TILT_DEGREES:
        raise InputError(
            f"GANTRY_TILT: the slices of mask {name} lean by {tilt_degrees(volume.affine):.1f} degrees, and distances "
            "along its axes do not add up. Resample it to a grid without tilt."
        )
    column, row, between = spacing
    return between, row, column


def _orient(stack: NDArray[np.generic], volume: Volume) -> Tensor:
    """(S,H,W) as stored -> the same in the radiological view."""
    return torch.as_tensor(orient(stack, volume.affine))
