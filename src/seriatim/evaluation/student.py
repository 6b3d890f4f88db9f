"""Student's t distribution with whole degrees of freedom: for intervals and tests that rest on few patients."""

from __future__ import annotations

import math


def inside(distance: float, freedom: int) -> float:
    """The chance that |t| is less than ``distance`` (Abramowitz and Stegun 1964, 26.7.3 and 26.7.4)."""
    angle = math.atan(distance / math.sqrt(freedom))
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = freedom % 2 == 1
    term, total = (cosine, 0.0) if odd else (1.0, 0.0)
    for step in range(freedom // 2):
        total += term
        below = 2 * step + (2 if odd else 1)
        term *= below / (below + 1) * cosine**2
    return 2 / math.pi * (angle + sine * total) if odd else sine * total


def two_sided(distance: float, freedom: int) -> float:
    """The p of a two-sided test: the chance of |t| of at least ``distance``."""
    return max(0.0, 1 - inside(abs(distance), freedom))


def quantile_95(freedom: int) -> float:
    """Within which distance of 0 t lies with a chance of 95 %."""
    low, high = 1.9, 13.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if inside(middle, freedom) < 0.95 else (low, middle)
    return high
