"""Put feature maps back where they look: resizing by image size alone moves a heat map by up to half a cell.

A 3x3 convolution of stride 2 and padding 1 centres its cell i on pixel 2i; a 2x2 pooling of stride 2 between pixels 2i
and 2i+1. After five of the first, a cell lies 15.5 pixels up and left of where plain resizing draws it (the arithmetic
of receptive fields: Araujo et al. 2019, Distill, doi:10.23915/distill.00021).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seriatim.models.encoder import Encoder

SPATIAL = (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d)


@dataclass(frozen=True, slots=True, kw_only=True)
class MapGrid:
    """Cell (i, j) of a feature map is centred on input pixel ``offset + stride * (i, j)`` (rows, columns)."""

    stride: tuple[float, float]
    offset: tuple[float, float]


def locate_cells(encoder: Encoder, slices: Tensor) -> MapGrid:
    """Where the cells of ``encoder.feature_maps(slices)`` lie on the input, from the strides and paddings on the way.

    Where the encoder resizes in another way than by convolution and pooling layers, cells are spread evenly.
    """
    steps: list[tuple[int, int, tuple[float, float]]] = []

    def note(module: Any, given: tuple[Tensor, ...], result: Tensor) -> None:
        if given[0].ndim == 4 and result.ndim == 4 and result.shape[2] < given[0].shape[2]:
            steps.append((given[0].shape[2], result.shape[2], _centre_of_first(module)))

    handles = [layer.register_forward_hook(note) for layer in encoder.modules() if isinstance(layer, SPATIAL)]
    try:
        with torch.no_grad():
            maps = encoder.feature_maps(slices[:1])
    finally:
        for handle in handles:
            handle.remove()
    size = (slices.shape[2], slices.shape[3])
    last = maps.shape[2]
    return _follow(steps, size=size, last=last) if _leads_to(steps, size[0], last) else _spread(size, maps)


def resize_heat(heat: Tensor, grid: MapGrid, *, size: tuple[int, int]) -> Tensor:
    """(T,h,w) on the maps' cells -> (T, *size) on the input's pixels, bilinear between the cells' true centres."""
    lines = [
        2 * ((torch.arange(length) - offset) / stride) / max(cells - 1, 1) - 1
        for length, cells, stride, offset in zip(size, heat.shape[1:], grid.stride, grid.offset, strict=True)
    ]
    rows, columns = torch.meshgrid(lines[0], lines[1], indexing="ij")
    where = torch.stack([columns, rows], dim=-1).to(heat).expand(len(heat), -1, -1, -1)
    return F.grid_sample(heat[:, None], where, mode="bilinear", padding_mode="border", align_corners=True)[:, 0]


def _centre_of_first(module: Any) -> tuple[float, float]:
    """The input pixel on which the first output cell of a layer is centred."""
    kernel, padding, dilation = (_pair(getattr(module, name, 1)) for name in ("kernel_size", "padding", "dilation"))
    extents = [(one - 1) * spread / 2 for one, spread in zip(kernel, dilation, strict=True)]
    return extents[0] - padding[0], extents[1] - padding[1]


def _pair(value: Any) -> tuple[float, float]:
    return (float(value[0]), float(value[1])) if isinstance(value, tuple) else (float(value), float(value))


def _leads_to(steps: list[tuple[int, int, tuple[float, float]]], first: int, last: int) -> bool:
    """Whether the shrinking layers explain the whole way from the input's rows to the maps' rows."""
    sizes = {before: after for before, after, _ in steps}
    while first in sizes and first != last:
        first = sizes[first]
    return first == last


def _follow(steps: list[tuple[int, int, tuple[float, float]]], *, size: tuple[int, int], last: int) -> MapGrid:
    """Add up the layers on the way to ``last`` rows; parallel branches shrink alike, and the first of them counts."""
    rows, stride, offset = size[0], 1.0, [0.0, 0.0]
    first_at: dict[int, tuple[int, tuple[float, float]]] = {}
    for before, after, centre in steps:
        first_at.setdefault(before, (after, centre))
    while rows in first_at and rows != last:
        after, centre = first_at[rows]
        offset = [have + stride * add for have, add in zip(offset, centre, strict=True)]
        stride *= max(2, round(rows / after))
        rows = after
    return MapGrid(stride=(stride, stride), offset=(offset[0], offset[1]))


def _spread(size: tuple[int, int], maps: Tensor) -> MapGrid:
    strides = [length / cells for length, cells in zip(size, maps.shape[2:], strict=True)]
    return MapGrid(stride=(strides[0], strides[1]), offset=((strides[0] - 1) / 2, (strides[1] - 1) / 2))
