"""What an explanation says as volumes on the grid of the images, for SimpleITK, 3D Slicer, niivue and others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seriatim.explanation.alignment import resize_heat
from seriatim.explanation.anomaly import FrameExplanation
from seriatim.explanation.explanation import Explanation
from seriatim.io.tables.outputs import make_folder
from seriatim.io.volumes.nifti_write import write_nifti
from seriatim.series import Volume
from seriatim.transforms.orientation import orient, turn_back
from seriatim.transforms.placement import resize

FOLDER = "nifti"


def write_volumes(volume: Volume, explanation: Explanation | FrameExplanation, stem: Path) -> tuple[str, ...]:
    """Write each volume of ``make_volumes`` into the folder ``nifti`` beside ``stem``, as ``<stem>_<name>.nii.gz``.

    Returns:
        The names; none where the series has no geometry, as clips have none.

    Raises:
        OutputError: a file cannot be written.
    """
    if volume.affine is None:
        return ()
    folder, names = make_folder(stem.parent / FOLDER), []
    for name, values in make_volumes(volume, explanation):
        write_nifti(folder / f"{stem.name}_{name}.nii.gz", values, affine=volume.affine, description=f"seriatim {name}")
        names.append(name)
    return tuple(names)


def make_volumes(
    volume: Volume, explanation: Explanation | FrameExplanation
) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """By name, (S,H,W) on the grid of ``volume.array``.

    Numbers of slices are even over each: ``attention``, and the attribution shown first by its own name; of an anomaly
    model ``anomaly_score``. Maps of pixels are 0 on slices without one: ``grad_cam`` and others on the slices shown;
    of an anomaly model ``anomaly`` on all frames.
    """
    shape = volume.array.shape[:3]
    if isinstance(explanation, FrameExplanation):
        numbers, maps = {"anomaly_score": explanation.scores.levels}, _map_frames(explanation)
    else:
        shown = explanation.shown_attribution
        numbers = {"attention": explanation.attention, shown: explanation.attribution()}
        maps = {name: dict(zip(explanation.top, torch.from_numpy(heat), strict=True))
                for name, heat in explanation.pixel_maps.items()}
    for name, values in numbers.items():
        yield name, np.broadcast_to(values.astype(np.float32)[:, None, None], shape)
    for name, heat in maps.items():
        found = np.zeros(shape, dtype=np.float32)
        found[sorted(heat)] = map_stored(heat, volume)
        yield name, found


def map_stored(heat: Mapping[int, Tensor], volume: Volume, *, most_side: int | None = None) -> NDArray[np.float32]:
    """Maps over slices as they are turned for display, by slice index -> (T,h,w) on the slices as stored, ascending.

    The grid is that of the slices, or one of at most ``most_side`` along an edge that covers the same area.
    """
    rows, columns = orient(volume.array[:1], volume.affine).shape[1:3]
    size = (rows, columns) if most_side is None else (min(rows, most_side), min(columns, most_side))
    turned = resize(torch.stack([heat[index] for index in sorted(heat)]).float(), size).numpy()
    return np.asarray(turn_back(turned, volume.affine), dtype=np.float32)


def map_places(explanation: FrameExplanation, indices: list[int]) -> dict[int, Tensor]:
    """How unlike normal each place of some frames is, over the frames as they are turned for display."""
    places = explanation.places
    assert places is not None
    levels = resize_heat(torch.from_numpy(places.levels[indices]).float(), places.grid, size=places.placement.size)
    return dict(zip(indices, places.placement.invert(levels), strict=True))


def _map_frames(explanation: FrameExplanation) -> dict[str, dict[int, Tensor]]:
    if explanation.places is None:
        return {}
    return {"anomaly": map_places(explanation, list(range(len(explanation.frames))))}
