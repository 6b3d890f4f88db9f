"""Windowing and resizing piece by piece: to the bit what the plain steps over the whole stack give."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from seriatim.errors import InputError
from seriatim.series import Instance, Series, Volume
from seriatim.transforms import CTSettings, IntensitySettings
from seriatim.transforms.orientation import orient
from seriatim.transforms.pieces import MOST_SAMPLED, sample

DTYPES = (np.uint8, np.int16, np.int32, np.float32)


def draw_volume(rng: np.random.Generator, *, colour: bool = False) -> Volume:
    """A random volume: kind of number, orientation, padding and polarity."""
    shape = (int(rng.integers(1, 40)), int(rng.integers(20, 90)), int(rng.integers(20, 90)), *((3,) if colour else ()))
    dtype = np.uint8 if colour else DTYPES[rng.integers(len(DTYPES))]
    low, high = (0, 255) if dtype == np.uint8 else (-1100, 3000)
    array = rng.integers(low, high, shape).astype(dtype)
    if dtype == np.float32:
        array += rng.random(shape, dtype=np.float32)
    axes = np.eye(3)[[*rng.permutation(2).tolist(), 2]] * rng.choice([-1, 1], 3)
    affine = np.eye(4)
    affine[:3, :3] = axes * rng.uniform(0.5, 2, 3)
    ranges = np.tile([low, low + 40.0], (shape[0], 1))
    ranges[rng.random(shape[0]) < 0.3] = np.nan
    instances = tuple(
        Instance(path=Path("x"), sop_instance_uid=str(place), frame=None, position=float(place))
        for place in range(shape[0])
    )
    series = Series(study_uid="1", series_uid="2", modality="CT", axis="space", format="dicom", path=Path("x"),
                    instances=instances, rows=shape[1], columns=shape[2], affine=affine,
                    spacing_mm=tuple(rng.uniform(0.5, 2, 3)))
    return Volume(array=array, affine=affine if rng.random() < 0.8 else None, positions=series.positions,
                  series=series, inverted=bool(rng.random() < 0.3), padding=ranges if rng.random() < 0.5 else None)


def plain_ct(settings: CTSettings, volume: Volume) -> Tensor:
    """The steps one after the other, each over the whole stack."""
    stack = torch.as_tensor(orient(volume.array, volume.affine)).float()
    stack = stack.mean(dim=3) if stack.ndim == 4 else stack
    outside = volume.find_padding()
    if outside is not None:
        stack = stack.masked_fill(torch.as_tensor(orient(outside, volume.affine)), -1000.0)
    placed = place(stack, settings, volume, fill=-1000.0)
    channels = [((placed - (level - width / 2)) / width).clamp(0, 1) for level, width in settings.windows_hu]
    return add_neighbours(torch.stack(channels, dim=1), settings.neighbours)


def plain_intensity(settings: IntensitySettings, volume: Volume) -> Tensor:
    stack = torch.as_tensor(orient(volume.array, volume.affine)).float()
    outside = volume.find_padding()
    mask = None if outside is None else torch.as_tensor(orient(outside, volume.affine))
    if settings.scaled_by_series(volume):
        values = stack.flatten() if mask is None or bool(mask.all()) else stack[~mask]
        values = values[:: max(1, len(values) // MOST_SAMPLED)]
        low, high = torch.quantile(values, torch.tensor(settings.percentiles) / 100).tolist()
        stack = (stack - low) / max(high - low, 1e-6)
    else:
        stack = stack / 255
    stack = 1 - stack if volume.inverted else stack
    if mask is not None:
        stack[mask] = 0
    if settings.colour == "rgb":
        coloured = stack if stack.ndim == 4 else stack[..., None].expand(*stack.shape, 3)
        stack = coloured.permute(0, 3, 1, 2).flatten(0, 1)
    elif stack.ndim == 4:
        red, green, blue = stack.unbind(dim=3)
        stack = green + 0.299 * (red - green) + 0.114 * (blue - green)
    planes = 3 if settings.colour == "rgb" else 1
    placed = place(stack, settings, volume, fill=0.0).clamp(0, 1)
    return add_neighbours(placed.reshape(-1, planes, *placed.shape[1:]), settings.neighbours)


def place(stack: Tensor, settings: CTSettings | IntensitySettings, volume: Volume, *, fill: float) -> Tensor:
    """Resized as one batch, and centred."""
    scaled = settings.placement(volume).scaled
    if tuple(stack.shape[1:]) != scaled:
        stack = functional.interpolate(stack[:, None], size=scaled, mode="bilinear", align_corners=False,
                                       antialias=True)[:, 0]
    out = torch.full((len(stack), *settings.size), fill)
    rows, columns = ((want - have) // 2 for have, want in zip(scaled, settings.size, strict=True))
    out[:, rows : rows + scaled[0], columns : columns + scaled[1]] = stack
    return out


def add_neighbours(slices: Tensor, count: int) -> Tensor:
    index = torch.arange(len(slices))
    shifts = range(-count, count + 1)
    return torch.cat([slices[(index + shift).clamp(0, len(slices) - 1)] for shift in shifts], dim=1)


@pytest.mark.parametrize("cases", [12, pytest.param(300, marks=pytest.mark.slow)])
def test_pieces_give_the_bits_of_the_whole_stack(cases: int) -> None:
    for case in range(cases):
        rng = np.random.default_rng(case)
        volume, count = draw_volume(rng), int(rng.integers(0, 3))
        ct = CTSettings(size=48, windows_hu=((40, 80), (80, 200), (600, 2800)), neighbours=count)
        assert torch.equal(ct.finish(ct.prepare(volume)), plain_ct(ct, volume)), case
        colour = ("grey", "rgb")[case % 2]
        shown = draw_volume(rng, colour=True) if case % 3 == 0 else volume
        intensity = IntensitySettings(size=48, colour=colour, neighbours=count)
        assert torch.equal(intensity.finish(intensity.prepare(shown)), plain_intensity(intensity, shown)), case


@pytest.mark.parametrize("neighbours", [0, 2])
def test_a_part_of_the_slices_is_that_part_of_all(neighbours: int) -> None:
    volume = draw_volume(np.random.default_rng(5))
    for settings in (CTSettings(size=16, windows_hu=((40, 80), (80, 200)), neighbours=neighbours),
                     IntensitySettings(size=16, colour="rgb", neighbours=neighbours)):
        prepared = settings.prepare(volume)
        whole = settings.finish(prepared)
        assert whole.shape[:2] == (len(volume.array), settings.channels)
        for start in range(0, len(whole), 5):
            assert torch.equal(settings.finish(prepared, slice(start, start + 5)), whole[start : start + 5])


def test_a_large_volume_is_sampled_at_even_steps_and_never_in_its_padding() -> None:
    array = np.arange(40 * 300 * 301, dtype=np.int32).reshape(40, 300, 301)
    volume = replace(draw_volume(np.random.default_rng(1)), array=array, affine=None, positions=np.arange(40.0),
                     padding=None)
    assert torch.equal(sample(volume), torch.arange(0, array.size, array.size // MOST_SAMPLED).float())
    padded = replace(volume, padding=np.tile([0.0, 1000.0], (40, 1)))
    assert torch.equal(sample(padded), torch.arange(1001, array.size, (array.size - 1001) // MOST_SAMPLED).float())
    everywhere = replace(volume, padding=np.tile([0.0, 1e9], (40, 1)))
    assert torch.equal(sample(everywhere), sample(volume))


def test_what_is_not_a_number_is_counted_in_all_pieces() -> None:
    volume = draw_volume(np.random.default_rng(1))
    array = np.zeros((20, 30, 30), np.float32)
    array[3, 4, 5], array[19, 0, 0] = np.nan, np.inf
    broken = replace(volume, array=array, positions=np.arange(20.0), padding=None)
    for settings in (CTSettings(size=16), IntensitySettings(size=16)):
        with pytest.raises(InputError, match="BAD_VALUE: 2 pixels"):
            settings.prepare(broken)
