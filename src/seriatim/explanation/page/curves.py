"""Curves of a page as paths of an SVG that is 1000 wide and 100 high, y downwards, stretched to its place."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from seriatim.explanation.curve import axis_limits, edges_of
from seriatim.explanation.explanation import Unit
from seriatim.explanation.page.content import Track

WIDEST_BAR = 40.0
BAR_SHARE = 0.84


def trace_curve(shares: NDArray[np.float64], levels: NDArray[np.float64]) -> str:
    """A path through points at ``shares`` of the width (0 to 1) and ``levels`` of the height, broken where a level is
    not known.
    """
    path, drawing = [], False
    for share, level in zip(shares, levels, strict=True):
        known = not np.isnan(level)
        if known:
            point = f"{1000 * share:.1f} {100 * (1 - level):.2f}"
            path.append(f"L{point}" if drawing else f"M{point}h0")  # h0: a point alone is seen, as a dot
        drawing = known
    return " ".join(path)


def draw_track(track: Track, positions: NDArray[np.float64]) -> dict[str, object]:
    """The paths of a track: its ``line``, the ``area`` below it, or bars ``up`` and ``down`` from zero."""
    shares = shares_of(positions)
    levels = np.clip((track.values - track.low) / ((track.high - track.low) or 1.0), 0, 1)
    if track.kind == "bars" or len(positions) == 1:  # a line through one point is none
        zero = float(np.clip(-track.low / ((track.high - track.low) or 1.0), 0, 1))
        width = np.minimum(BAR_SHARE * 1000 * np.diff(edge_shares_of(positions)), WIDEST_BAR)
        bars = [(f"M{1000 * x - w / 2:.1f} {100 * (1 - zero):.2f}h{w:.1f}V{100 * (1 - y):.2f}h{-w:.1f}z", y >= zero)
                for x, y, w in zip(shares, levels, width, strict=True) if not np.isnan(y)]
        return {"up": "".join(path for path, up in bars if up), "down": "".join(path for path, up in bars if not up),
                "zero": 100 * (1 - zero)}
    line = trace_curve(shares, levels)
    closed = f"M{1000 * shares[0]:.1f} 100L{line[1:].replace('h0', '')}L{1000 * shares[-1]:.1f} 100z"
    return {"line": line, "area": closed if track.kind == "area" else ""}


def shares_of(positions: NDArray[np.float64]) -> NDArray[np.float64]:
    """(S,) where along the width each slice lies."""
    low, high = axis_limits(positions)
    return np.asarray((positions - low) / (high - low))


def edge_shares_of(positions: NDArray[np.float64]) -> NDArray[np.float64]:
    """(S+1,) half way between slices, as shares of the width."""
    low, high = axis_limits(positions)
    return np.asarray((edges_of(positions) - low) / (high - low))


def mark_ticks(positions: NDArray[np.float64], unit: Unit) -> Sequence[tuple[float, str]]:
    """Where along the width, in percent, which number stands."""
    low, high = axis_limits(positions)
    if len(positions) == 1:
        return [(50.0, f"{positions[0]:g}".replace("-", "−"))]
    places = MaxNLocator(8, integer=unit == "index", steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
    return [(100 * (place - low) / (high - low), f"{place:g}".replace("-", "−")) for place in places
            if low <= place <= high]
