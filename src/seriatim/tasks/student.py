"""Student's t distribution with whole degrees of freedom: for bounds and tests that rest on few patients."""

from __future__ import annotations

import math

FURTHEST = 1e9


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


def quantile(probability: float, freedom: int) -> float:
    """Below which distance t lies with a ``probability`` of at least a half."""
    low, high = 0.0, 1.0
    while (1 + inside(high, freedom)) / 2 < probability and high < FURTHEST:
        low, high = high, 2 * high
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if (1 + inside(middle, freedom)) / 2 < probability else (low, middle)
    return high
