"""Every frame of a series as a small picture, with its heat: what the page shows one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from seriatim.explanation.anomaly import FrameExplanation
from seriatim.explanation.display import show_slices
from seriatim.io.pictures.encode import encode_jpeg
from seriatim.series import Volume
from seriatim.transforms.placement import resize

MOST_FRAMES = 400
"""A page of more would be slow to open; of longer series every k-th frame is shown, and every peak of an event."""
LONGEST_SIDE = 640
HEAT_SIDE = 48
"""Display pixels, and cells of heat, along the longer edge: the browser draws the heat larger, smoothly."""
AT_ONCE = 16
"""Frames made ready at a time, so that the memory taken does not grow with the series."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Film:
    """F of S frames: ``indices`` of them in order, as JPEG files; ``heat`` uint8 (F,h,w), 255 the strongest, or None.

    ``size`` are (rows, columns) of the pictures, ``step`` is 1 where every frame is there, else k of every k-th.
    """

    indices: tuple[int, ...]
    jpegs: tuple[bytes, ...]
    heat: NDArray[np.uint8] | None
    size: tuple[int, int]
    step: int


def make_film(
    volume: Volume, explanation: FrameExplanation, *, window_hu: tuple[float, float] | None = None
) -> Film:
    """The frames of a volume as the page shows them, windowed and turned like the picture of the explanation."""
    height, width = explanation.images.shape[1:3]
    size, cells = (_within(height, width, longest) for longest in (LONGEST_SIDE, HEAT_SIDE))
    indices, step = pick_frames(len(explanation.positions), [one.peak for one in explanation.scores.events])
    jpegs: list[bytes] = []
    heat: list[NDArray[np.uint8]] = []
    for start in range(0, len(indices), AT_ONCE):
        some = indices[start : start + AT_ONCE]
        jpegs += [encode_jpeg(_shrink(one, size)) for one in show_slices(volume, some, window_hu=window_hu).images]
        if explanation.places is not None:
            heat.append(np.round(255 * explanation.places.draw(some, size=cells)).astype(np.uint8))
    return Film(indices=indices, jpegs=tuple(jpegs), heat=np.concatenate(heat) if heat else None, size=size, step=step)


def pick_frames(count: int, peaks: Sequence[int], *, most: int = MOST_FRAMES) -> tuple[tuple[int, ...], int]:
    """Which frames of ``count`` to show, in order, and k: every k-th one, the last one, and the peaks of events."""
    step = -(-count // most)
    return tuple(sorted({*range(0, count, step), count - 1, *peaks})), step


def _within(height: int, width: int, longest: int) -> tuple[int, int]:
    """(rows, columns) scaled so that the longer is at most ``longest``."""
    scale = min(1.0, longest / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def _shrink(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """An image (H,W) or (H,W,3) at another size."""
    planes = torch.from_numpy(np.ascontiguousarray(np.atleast_3d(image).transpose(2, 0, 1))).float()
    small = resize(planes, size).round().clamp(0, 255).to(torch.uint8).numpy()
    return np.ascontiguousarray(small[0] if image.ndim == 2 else small.transpose(1, 2, 0))
