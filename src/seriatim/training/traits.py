"""What is kept of each slice once its pixels are gone: intensities, a digest, and hashes that find it again.

The hash is the DCT one (Zauner, Implementation and benchmarking of perceptual image hash functions, 2010) with 255 bits
instead of 64, since slices of two heads are more alike than two photographs. It is taken of the whole slice, of what a
crop would leave of it, and of the box that shows something, so that a cropped or padded copy is found too.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from seriatim.trained.intensity import PERCENTILES, measure_intensity

FORMAT = "1"
"""Raised whenever traits of the same slices would come out otherwise."""
GRID = 32
"""Rows and columns to which a view of a slice is brought."""
SIDE = 16
"""Lowest frequencies per axis that become bits."""
BITS = SIDE * SIDE - 1
SHOWN_SHARE = 0.02
"""A row or column shows something where this share of it is brighter than the background."""
CENTRAL = (0.0, 0.025, 0.05, 0.075, 0.1)
"""Shares cut from each side for the views of a slice; the first is the whole."""
CORNER = 0.05
"""The share cut from two sides that meet, for a view of each corner."""
VIEWS = len(CENTRAL) + 5
PLAIN_VIEWS = (0, VIEWS - 1)
"""The views that are compared with all views of another slice: the whole, and the box that shows something."""
DIGEST_BYTES, HASH_BYTES = 8, (BITS + 7) // 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """The traits of the S slices of a series.

    ``intensity`` as of ``measure_intensity``. Of the T slices that show something, in order: ``digests`` (T,) of
    their very pixels, ``signs`` (T,VIEWS,BITS) int8 of -1 and 1.
    """

    intensity: tuple[float, ...]
    digests: NDArray[np.uint64]
    signs: NDArray[np.int8]


def measure_traits(prepared: Tensor, *, slices: int) -> Traits:
    """The traits of a prepared series (N,h,w), whose N planes are ``slices`` slices of one or more planes each."""
    planes = prepared.reshape(slices, -1, *prepared.shape[1:]).float()
    shown, views = _view(planes.mean(dim=1))
    digests = [digest_pixels(planes[index]) for index in shown]
    signs = _hash(views) if shown else np.empty((0, VIEWS, BITS), np.int8)
    return Traits(intensity=measure_intensity(prepared), digests=np.array(digests, np.uint64), signs=signs)


def pack_traits(traits: Traits, *, slices: int) -> Tensor:
    """Traits as a float32 table of ``slices`` rows, as the embedding store keeps them; T rows are marked and filled."""
    bits = np.packbits(traits.signs > 0, axis=-1).reshape(len(traits.signs), VIEWS * HASH_BYTES)
    digests = traits.digests.astype(">u8").view(np.uint8).reshape(-1, DIGEST_BYTES)
    table = np.zeros((slices, len(PERCENTILES) + 1 + DIGEST_BYTES + VIEWS * HASH_BYTES), dtype=np.float32)
    table[:, : len(PERCENTILES)] = traits.intensity
    shown = table[: len(digests), len(PERCENTILES) :]
    shown[:, 0], shown[:, 1 : 1 + DIGEST_BYTES], shown[:, 1 + DIGEST_BYTES :] = 1, digests, bits
    return torch.from_numpy(table)


def unpack_traits(table: Tensor) -> Traits:
    """The traits that ``pack_traits`` made a table of."""
    values = table.numpy()
    intensity, marked = values[0, : len(PERCENTILES)], values[:, len(PERCENTILES)] == 1
    rows = values[marked, len(PERCENTILES) + 1 :].astype(np.uint8)
    digests = np.ascontiguousarray(rows[:, :DIGEST_BYTES]).view(">u8").astype(np.uint64).reshape(-1)
    bits = np.unpackbits(rows[:, DIGEST_BYTES:].reshape(-1, VIEWS, HASH_BYTES), axis=-1)[..., :BITS]
    return Traits(intensity=tuple(intensity.tolist()), digests=digests, signs=np.where(bits > 0, 1, -1).astype(np.int8))


def digest_pixels(pixels: Tensor) -> int:
    """A number that tells these pixels from all others."""
    content = pixels.contiguous().numpy().tobytes()
    return int.from_bytes(hashlib.blake2b(content, digest_size=DIGEST_BYTES).digest(), "big")


def _view(images: Tensor) -> tuple[list[int], Tensor]:
    """The places of the T of (S,h,w) images that show more than background, and (T,VIEWS,GRID,GRID) of them."""
    fractions = torch.tensor([0.05, 0.995])
    low, high = torch.quantile(images.flatten(1)[:, ::7], fractions, dim=1)[:, :, None, None]
    bounded = images.clamp(low, high)
    bright = bounded > low + 0.25 * (high - low)
    plain = high - low <= 1e-6 * high.abs().clamp(min=1.0)
    boxes = [None if bool(plain[index]) else _shown_box(bright[index]) for index in range(len(images))]
    shown = [index for index, box in enumerate(boxes) if box is not None]
    if not shown:
        return [], images.new_empty(0)
    bounded = bounded[shown]
    own = [_pool(one[boxes[index]][None]) for index, one in zip(shown, bounded, strict=True)]
    cut = [_pool(bounded[:, rows, columns]) for rows, columns in _cuts(images)]
    return shown, torch.stack([*cut, torch.cat(own)], dim=1)


def _cuts(images: Tensor) -> list[tuple[slice, slice]]:
    """Rows and columns that stay of (S,h,w) images in each view but the last."""
    rows, columns = images.shape[1:]
    cuts = []
    for share in CENTRAL:
        top, left = round(rows * share), round(columns * share)
        cuts.append((slice(top, rows - top), slice(left, columns - left)))
    top, left = round(rows * CORNER), round(columns * CORNER)
    for kept_rows in (slice(top, rows), slice(0, rows - top)):
        cuts += [(kept_rows, slice(left, columns)), (kept_rows, slice(0, columns - left))]
    return cuts


def _pool(images: Tensor) -> Tensor:
    """(S,h,w) -> (S,GRID,GRID)."""
    return functional.adaptive_avg_pool2d(images, GRID)


def _shown_box(shown: Tensor) -> tuple[slice, slice] | None:
    """Rows and columns between the first and the last that show something."""
    rows, columns = (torch.nonzero(shown.float().mean(dim=axis) > SHOWN_SHARE).flatten() for axis in (1, 0))
    if len(rows) < 2 or len(columns) < 2:
        return None
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def _hash(views: Tensor) -> NDArray[np.int8]:
    """(T,VIEWS,GRID,GRID) -> (T,VIEWS,BITS): signs of the low frequencies about their median, without the mean."""
    place, order = torch.arange(GRID, dtype=torch.float32), torch.arange(SIDE, dtype=torch.float32)
    basis = torch.cos(math.pi / GRID * (place[None] + 0.5) * order[:, None])
    frequencies = (basis @ views @ basis.T).flatten(-2)[..., 1:]
    above = frequencies > frequencies.median(dim=-1, keepdim=True).values
    return np.where(above.numpy(), 1, -1).astype(np.int8)


