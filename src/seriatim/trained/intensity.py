"""The intensities of a prepared series in a few numbers."""

from __future__ import annotations

import torch
from torch import Tensor

PERCENTILES = (1, 5, 25, 50, 75, 95, 99)
MOST_PIXELS = 1 << 18
"""A percentile needs no more pixels than these, taken at even steps."""


def measure_intensity(prepared: Tensor) -> tuple[float, ...]:
    """The PERCENTILES of a prepared series (N,h,w), before windowing: HU for CT, else its own unit."""
    return find_percentiles(sample_pixels(prepared, count=prepared.numel()))


def sample_pixels(prepared: Tensor, *, count: int, seen: int = 0) -> Tensor:
    """Those pixels of a part of a prepared series that ``measure_intensity`` looks at.

    The series has ``count`` pixels, of which ``seen`` come before this part.
    """
    step = max(1, count // MOST_PIXELS)
    return prepared.float().flatten()[-seen % step :: step]


def find_percentiles(sample: Tensor) -> tuple[float, ...]:
    """The PERCENTILES of all that ``sample_pixels`` gave."""
    return tuple(torch.quantile(sample, torch.tensor(PERCENTILES, dtype=torch.float32) / 100).tolist())
