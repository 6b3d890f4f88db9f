"""The same images under other names are found; different heads are not the same images."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from seriatim.training.duplicates import Duplicate, Sighting, find_duplicates
from seriatim.training.traits import measure_traits


def draw_series(seed: int, *, slices: int = 12, size: int = 96) -> Tensor:
    """(S,h,w) smooth shapes that change from slice to slice, on air, as HU."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(1, 1, slices // 2, 7, 7, generator=generator)
    stack = functional.interpolate(coarse, size=(slices, size, size), mode="trilinear")[0, 0]
    y, x = torch.meshgrid(*2 * [torch.linspace(-1, 1, size)], indexing="ij")
    inside = (x / 0.85) ** 2 + (y / 0.95) ** 2 < 1
    return torch.where(inside, 40 + 60 * stack, -1000.0) + torch.randn(slices, size, size, generator=generator)


def save_as_jpeg(slices: Tensor) -> Tensor:
    found = []
    for one in ((slices + 1000) / 1300 * 255).clamp(0, 255):
        stream = io.BytesIO()
        Image.fromarray(one.byte().numpy()).save(stream, "JPEG", quality=70)
        found.append(torch.from_numpy(np.array(Image.open(stream))).float())
    return torch.stack(found) / 255 * 1300 - 1000


def zoom(slices: Tensor) -> Tensor:
    return functional.interpolate(slices[None, :, 4:-4, 4:-4], size=slices.shape[1:], mode="bilinear")[0]


def blank_ends(slices: Tensor) -> Tensor:
    blank = torch.full_like(slices[:5], -1000.0)
    return torch.cat([blank, slices, blank])


def sight(slices: Tensor, line: int, split: str) -> Sighting:
    return Sighting(line=line, split=split, traits=measure_traits(slices, slices=len(slices)))


OTHERS = [sight(draw_series(seed), seed + 10, "train") for seed in range(1, 12)]


def search(copy: Tensor, *, split: str = "test") -> list[Duplicate]:
    return find_duplicates([*OTHERS, sight(draw_series(0), 2, "train"), sight(copy, 3, split)])


@pytest.mark.parametrize(
    "change",
    [
        save_as_jpeg,
        zoom,
        blank_ends,
        lambda one: one * 1.3 + 200,
        lambda one: one.flip(0),
        lambda one: one[::2],
        lambda one: one[3:9],
        lambda one: save_as_jpeg(zoom(one)[1:]),
        lambda one: functional.avg_pool2d(one, 2),
    ],
)
def test_a_copy_is_found_among_other_series(change: Callable[[Tensor], Tensor]) -> None:
    (found,) = search(change(draw_series(0)))
    assert found.lines == (2, 3)
    assert found.splits == ("train", "test")
    assert found.share >= 0.8


def test_the_very_pixels_are_told_apart_from_nearly_the_same() -> None:
    assert search(draw_series(0))[0].exact
    assert not search(save_as_jpeg(draw_series(0)))[0].exact
    half = torch.cat([draw_series(0)[:8], draw_series(99)[:4]])  # 8 of 12 slices are the very same
    assert search(half)[0] == Duplicate(lines=(2, 3), splits=("train", "test"), share=0.667, exact=True)


def test_other_heads_and_blank_series_are_no_copies() -> None:
    assert search(draw_series(50)) == []
    assert search(torch.full((12, 96, 96), -1000.0)) == []
    blank = sight(torch.zeros(4, 96, 96), 7, "val")
    assert find_duplicates([blank, sight(torch.zeros(4, 96, 96), 8, "test")]) == []
    assert find_duplicates([]) == []


def test_slices_in_another_order_are_no_copy() -> None:
    shuffled = draw_series(0)[torch.randperm(12, generator=torch.Generator().manual_seed(0))]
    assert [one.exact for one in search(save_as_jpeg(shuffled))] == []


def test_only_other_splits_are_searched() -> None:
    assert search(save_as_jpeg(draw_series(0)), split="train") == []


def test_traits_are_those_of_each_slice_whatever_stands_beside_it() -> None:
    series = draw_series(0)
    whole, part = measure_traits(series, slices=12), measure_traits(series[4:7].clone(), slices=3)
    assert (whole.digests[4:7] == part.digests).all()
    assert (whole.signs[4:7] == part.signs).all()
    colour = series.repeat_interleave(3, dim=0)  # three planes of each slice
    assert (measure_traits(colour, slices=12).signs == whole.signs).all()
