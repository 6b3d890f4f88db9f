"""The intensities of a prepared series in a few numbers."""

from __future__ import annotations

import torch
from torch import Tensor

PERCENTILES = (1, 5, 25, 50, 75, 95, 99)
MOST_PIXELS = 1 << 18
"""A percentile needs no more pixels than these, taken at even steps."""


def measure_intensity(prepared: Tensor) -> tuple[float, ...]:
    """The PERCENTILES of a prepared series (N,h,w), before windowing: HU for CT, else its own unit."""
    pixels = prepared.float().flatten()
    sample = pixels[:: max(1, len(pixels) // MOST_PIXELS)]
    return tuple(torch.quantile(sample, torch.tensor(PERCENTILES, dtype=torch.float32) / 100).tolist())
