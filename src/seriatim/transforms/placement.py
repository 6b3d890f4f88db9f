"""Where a slice lands in the network's square input, and the way back. In plane only: slices stay one-to-one."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

SPACING_NOISE = 1e-4
"""So much of a pixel may a size differ that was computed from a spacing with 7 digits."""
RESIZE_CHUNK = 8
"""Slices resized at a time: small enough to stay in the processor's cache."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """A resize from ``source`` to ``scaled`` (rows, columns), then centred in ``size`` by padding or cropping.

    ``shift`` moves a crop by so many scaled pixels (rows, columns), as far as the slice reaches.
    """

    source: tuple[int, int]
    scaled: tuple[int, int]
    size: tuple[int, int]
    shift: tuple[int, int] = (0, 0)

    def apply(self, stack: Tensor, out: Tensor) -> None:
        """Resize with antialiasing and centre: (N,H,W) into (N, *size), where the rest stays as it is."""
        into, taken = self._windows()
        for start in range(0, stack.shape[0], RESIZE_CHUNK):
            piece = resize(stack[start : start + RESIZE_CHUNK], self.scaled)
            out[start : start + RESIZE_CHUNK, *into] = piece[:, *taken]

    def invert(self, maps: Tensor) -> Tensor:
        """Bring maps on the network's grid back to the slices' own: (N, *size) -> (N, *source); 0 where cropped."""
        scaled = maps.new_zeros((maps.shape[0], *self.scaled))
        into, taken = self._windows()
        scaled[:, *taken] = maps[:, *into]
        return resize(scaled, self.source)

    def _windows(self) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
        sides = zip(self.scaled, self.size, self.shift, strict=True)
        pairs = [_centred(have, want, shift) for have, want, shift in sides]
        return (pairs[0][0], pairs[1][0]), (pairs[0][1], pairs[1][1])


def resize(stack: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear, antialiased when shrinking: (N,H,W) -> (N, *size)."""
    if tuple(stack.shape[1:]) == size:
        return stack
    return F.interpolate(stack[:, None], size=size, mode="bilinear", align_corners=False, antialias=True)[:, 0]


def place(
    source: tuple[int, int],
    size: tuple[int, int],
    *,
    pixel_mm: tuple[float, float],
    spacing_mm: float | None,
    stretch: bool,
    centre: tuple[float, float] = (0.5, 0.5),
) -> Placement:
    """Plan how slices of ``source`` (rows, columns) and ``pixel_mm`` (row, column) spacing go into ``size``.

    With ``spacing_mm`` pixels get that physical size; otherwise the slice is fitted into ``size``, its physical aspect
    kept unless ``stretch``. What is cropped is cropped around ``centre``, a share of the rows and of the columns.
    """
    if spacing_mm is not None:
        scaled = [max(1, _whole(count * mm / spacing_mm)) for count, mm in zip(source, pixel_mm, strict=True)]
    elif stretch:
        scaled = list(size)
    else:
        extent = [count * mm for count, mm in zip(source, pixel_mm, strict=True)]
        scale = min(want / have for want, have in zip(size, extent, strict=True))
        scaled = [max(1, min(want, _whole(have * scale))) for have, want in zip(extent, size, strict=True)]
    shift = [_whole((share - 0.5) * count) for share, count in zip(centre, scaled, strict=True)]
    return Placement(source=source, scaled=(scaled[0], scaled[1]), size=size, shift=(shift[0], shift[1]))


def _whole(value: float) -> int:
    """The nearest whole number. A spacing that went through float32 falls on the same side of a half."""
    return math.floor(value + 0.5 + SPACING_NOISE)


def _centred(have: int, want: int, shift: int) -> tuple[slice, slice]:
    """(where in ``want``, what of ``have``) so that the shorter lies centred in the longer, or by ``shift``."""
    length = min(have, want)
    into, taken = (want - length) // 2, (have - length) // 2 + shift
    taken = min(max(taken, 0), have - length)
    return slice(into, into + length), slice(taken, taken + length)


def mean_pixel(spacing: tuple[float, float, float] | None) -> tuple[float, float]:
    """(row, column) pixel size from (column, row, slice) spacing; square where none is known."""
    return (1.0, 1.0) if spacing is None else (spacing[1], spacing[0])


def as_float(array: object) -> Tensor:
    """A float32 tensor of an array of any numeric type."""
    return torch.as_tensor(array).to(torch.float32)
