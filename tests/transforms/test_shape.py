"""Segmentation masks: distances in mm, the same however they are stored and cut, and nothing that is no mask."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from fake_cuda import FakeCuda
from seriatim.errors import InputError
from seriatim.series import Instance, Series, Volume
from seriatim.trained.prepared import prepare_series
from seriatim.trained.stored import StoredSeries
from seriatim.transforms import MaskSettings
from seriatim.transforms import shape as shape_room
from seriatim.transforms.shape import measure_depth

SPACING = (3.0, 0.5, 0.8)  # slice, row, column


def make_mask(
    array: NDArray[np.generic], *, spacing: tuple[float, float, float] | None = (1.0, 1.0, 1.0), step: float = 1.0
) -> Volume:
    """A mask whose voxels measure ``spacing`` (slice, row, column) mm."""
    sizes = None if spacing is None else spacing[::-1]
    affine = None if sizes is None else np.diag([-sizes[0], -sizes[1], sizes[2], 1.0])
    instances = tuple(
        Instance(path=Path("x"), sop_instance_uid=str(place), frame=None, position=step * place)
        for place in range(len(array))
    )
    series = Series(study_uid="1", series_uid="2", modality="SEG", axis="space", format="nifti", path=Path("x"),
                    instances=instances, rows=array.shape[1], columns=array.shape[2], affine=affine,
                    spacing_mm=sizes)
    return Volume(array=array, affine=affine, positions=series.positions, series=series)


def blobs(rng: np.random.Generator, size: tuple[int, int, int] = (14, 20, 22)) -> NDArray[np.uint8]:
    """A random shape, which may touch the edges."""
    grid = np.stack(np.meshgrid(*map(np.arange, size), indexing="ij"), axis=-1)
    inside = np.zeros(size, bool)
    for _ in range(3):
        centre, radius = rng.uniform(0, size), rng.uniform(2, 6)
        inside |= (((grid - centre) / [0.6, 1, 1.2]) ** 2).sum(-1) < radius**2
    return inside.astype(np.uint8)


def plain_depth(inside: NDArray[np.bool_], spacing: tuple[float, float, float]) -> NDArray[np.float64]:
    """Each voxel against every voxel outside."""
    depth, outside = np.zeros(inside.shape), np.argwhere(~inside) * spacing
    for voxel in np.argwhere(inside):
        depth[tuple(voxel)] = np.sqrt((((voxel * spacing) - outside) ** 2).sum(1)).min()
    return depth


@pytest.mark.parametrize("seed", range(4))
def test_distances_are_those_to_the_nearest_voxel_outside_in_mm(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shape_room, "SLAB", 3)
    inside = blobs(np.random.default_rng(seed)).astype(bool)
    expected = plain_depth(inside, SPACING)
    for most in (0.7, 2.0, 4.0, 100.0):
        found = measure_depth(inside, SPACING, most=most)
        assert np.allclose(found, np.minimum(expected, most), atol=1e-5)


def test_a_shape_without_any_outside_in_reach_is_as_deep_as_can_be() -> None:
    inside = np.ones((6, 8, 8), bool)
    inside[0, 0, 0] = False
    depth = measure_depth(inside, (1.0, 1.0, 1.0), most=3.0)
    assert depth[0, 0, 1] == 1
    assert depth[5, 7, 7] == 3
    assert (measure_depth(np.ones((3, 4, 4), bool), (1.0, 1.0, 1.0), most=3.0) == 3).all()


def test_the_network_sees_depth_over_depth_mm() -> None:
    array = np.zeros((9, 32, 32), np.uint8)
    array[2:7, 8:24, 8:24] = 1
    slices = MaskSettings(size=32, depth_mm=4).finish(MaskSettings(size=32, depth_mm=4).prepare(make_mask(array)))
    assert slices.shape == (9, 1, 32, 32)
    assert float(slices[4, 0, 16, 16]) == 0.75, "3 mm through the slices, though 8 in plane"
    assert float(slices[2, 0, 16, 16]) == 0.25
    assert float(slices[4, 0, 9, 16]) == 0.5
    assert float(slices[0].max()) == 0
    assert float(slices[4, 0, 7, 7]) == 0


def test_thick_slices_make_a_shape_thicker() -> None:
    array = np.zeros((5, 32, 32), np.uint8)
    array[1:4, 4:28, 4:28] = 255
    settings = MaskSettings(size=32, depth_mm=20)
    thin, thick = (settings.prepare(make_mask(array, spacing=(mm, 1.0, 1.0), step=mm)) for mm in (1.0, 5.0))
    assert float(thin[2, 16, 16]) * 20 == pytest.approx(2)
    assert float(thick[2, 16, 16]) * 20 == pytest.approx(10)


@pytest.mark.parametrize("axis", [1, 2])
def test_the_same_shape_stored_the_other_way_round_gives_the_same_input(axis: int) -> None:
    array = blobs(np.random.default_rng(1), (8, 24, 30))
    volume, settings = make_mask(array), MaskSettings(size=32, neighbours=1)
    affine = volume.affine
    assert affine is not None
    turned = affine.copy()
    turned[:3, 3] = affine[:3, 2 - axis] * (array.shape[axis] - 1)
    turned[:3, 2 - axis] *= -1
    flipped = replace(volume, array=np.flip(array, axis).copy(), affine=turned)
    assert torch.equal(settings.finish(settings.prepare(flipped)), settings.finish(settings.prepare(volume)))


def test_only_the_values_asked_for_are_the_shape() -> None:
    array = np.zeros((3, 32, 32), np.int16)
    array[:, 4:10, 4:10], array[:, 20:30, 20:30] = 1, 7
    volume = make_mask(array)
    assert torch.equal(MaskSettings(size=32).prepare(volume) > 0, torch.from_numpy(array > 0))
    assert torch.equal(MaskSettings(size=32, values=(7,)).prepare(volume) > 0, torch.from_numpy(array == 7))
    with pytest.raises(InputError, match=r"none of preprocessing.values \[3\].*are 0, 1, 7\."):
        MaskSettings(size=32, values=(3,)).prepare(volume)


def test_padding_is_outside() -> None:
    array = np.ones((2, 32, 32), np.uint8)
    array[:, :, :4] = 9
    volume = replace(make_mask(array), padding=np.tile([9.0, 9.0], (2, 1)))
    depth = MaskSettings(size=32).prepare(volume) * 8
    assert float(depth[0, 5, 3]) == 0
    assert float(depth[0, 5, 4]) == 1
    assert float(depth[0, 5, 6]) == 3


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.arange(3 * 32 * 32).reshape(3, 32, 32).astype(np.int16), "3072 different numbers"),
        (np.full((3, 32, 32), -1000, np.int16), "the number -1000"),
        (np.full((3, 32, 32), 0.5, np.float32), "fractions"),
        (np.zeros((3, 32, 32), np.uint8), "nothing but 0"),
        (np.full((3, 32, 32), np.nan, np.float32), "not finite"),
        (np.eye(32 * 3, dtype=np.uint8).reshape(3, 32, 32, 3), "colours"),
    ],
)
def test_what_is_no_mask_is_refused(array: NDArray[np.generic], message: str) -> None:
    with pytest.raises(InputError, match=f"BAD_VALUE.*{message}"):
        MaskSettings(size=32).prepare(make_mask(array))


def test_a_grey_picture_in_colour_is_a_mask() -> None:
    array = blobs(np.random.default_rng(0), (3, 32, 32))
    coloured = np.repeat(array[..., None], 3, axis=3)
    settings = MaskSettings(size=32)
    assert torch.equal(settings.prepare(make_mask(coloured)), settings.prepare(make_mask(array)))


def test_without_a_size_in_mm_nothing_is_measured() -> None:
    array = np.ones((4, 32, 32), np.uint8)
    with pytest.raises(InputError, match="do not tell the size of a voxel"):
        MaskSettings(size=32).prepare(make_mask(array, spacing=None))
    volume = make_mask(array)
    uneven = replace(volume, positions=np.array([0.0, 1.0, 4.0, 5.0]))
    with pytest.raises(InputError, match=r"UNEVEN_SPACING.* 1 to 3 mm"):
        MaskSettings(size=32).prepare(uneven)
    assert volume.affine is not None
    tilted = volume.affine.copy()
    tilted[1, 2] = 0.1
    with pytest.raises(InputError, match="GANTRY_TILT"):
        MaskSettings(size=32).prepare(replace(volume, affine=tilted))


@pytest.mark.parametrize("neighbours", [0, 2])
def test_a_card_that_is_sent_pieces_sees_the_same_bits(fake_cuda: FakeCuda, neighbours: int) -> None:
    volume = make_mask(blobs(np.random.default_rng(3), (21, 40, 30)), spacing=SPACING, step=3.0)
    settings = MaskSettings(size=24, neighbours=neighbours, spacing_mm=0.9, centre="content")
    here, there = prepare_series(volume, settings), StoredSeries(volume, settings, device="cpu")
    with torch.inference_mode(), fake_cuda:
        assert torch.equal(there[4:15], here[4:15])
        assert torch.equal(there[:], here[:])
        assert there.intensity == here.intensity


def test_a_crop_follows_the_shape() -> None:
    array = np.zeros((3, 64, 64), np.uint8)
    array[:, 40:56, 2:18] = 1
    settings = MaskSettings(size=32, spacing_mm=1.0, centre="content")
    seen = settings.prepare(make_mask(array))[1] > 0
    assert int(seen.sum()) == 256, "all of it is in view"
    rows, columns = torch.nonzero(seen, as_tuple=True)
    assert int(rows.min()) == 8
    assert int(rows.max()) == 23, "in the middle"
    assert int(columns.min()) == 2, "no further than the slice reaches"
