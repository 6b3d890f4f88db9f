"""Which windows a page offers, and the few 8-bit pictures of each slice that resolve all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from seriatim.explanation.display import DEFAULT_WINDOW_HU, PERCENTILE_SAMPLE, PERCENTILES
from seriatim.series import Volume

Knot = tuple[float, float]
Window = tuple[float, float]
"""(level, width)."""

CT_WINDOWS: tuple[tuple[str, Window], ...] = (
    ("brain", (40, 80)), ("subdural", (75, 215)), ("stroke", (40, 40)), ("bone", (400, 1800)), ("lung", (-600, 1500)),
    ("soft tissue", DEFAULT_WINDOW_HU),
)  # fmt: skip
"""(level, width) in HU, within what Radiopaedia's article on windowing (CT) names for each."""
FINE_CT: tuple[Knot, ...] = ((-160, 0), (0, 52), (20, 80), (60, 160), (80, 190), (250, 255))
WIDE_CT: tuple[Knot, ...] = ((-1024, 0), (-160, 105), (240, 155), (1300, 240), (3071, 255))
"""HU to levels of an 8-bit picture, linear between. Each spends its levels where the windows that it serves look: the
fine one has half an HU a level in a stroke window, the wide one 8 HU in a lung window and 12 in a bone window."""
OUTLIERS = 8
"""Levels for what lies beyond the PERCENTILES, at either end, where values have no absolute scale."""
STRONGER, MILDER = (5.0, 95.0), (0.0, 100.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """A window by its name, (level, width) in the unit of the values."""

    name: str
    window: Window


@dataclass(frozen=True, slots=True, kw_only=True)
class Display:
    """How values become pictures and pictures grey: ``plates`` of (value, level) knots, and ``presets``, first to show.

    A window is shown from the first plate that covers it, else from the last. There are no presets for colour. With
    ``inverted`` the lowest values are the brightest.
    """

    plates: tuple[tuple[Knot, ...], ...]
    presets: tuple[Preset, ...]
    unit: str = ""
    inverted: bool = False

    def encode(self, values: NDArray[np.float32], plate: int) -> NDArray[np.uint8]:
        """Values of any shape to the levels of a plate; what is not finite is at its ends, NaN at the low one."""
        given, levels = zip(*self.plates[plate], strict=True)
        finite = np.nan_to_num(values, nan=given[0], posinf=given[-1], neginf=given[0])
        return np.asarray(np.round(np.interp(finite, given, levels)), dtype=np.uint8)


def choose_display(volume: Volume, *, windows_hu: Sequence[Window] = ()) -> Display:
    """The windows for a volume: the model's own and the clinical ones for CT, else percentiles of its values.

    ``windows_hu`` are those of a model for CT, whatever the files call themselves.
    """
    if volume.array.ndim == 4:
        return Display(plates=(_straight(*_ends(volume)),), presets=())
    if windows_hu or volume.series.modality == "CT":
        own = [Preset(name=f"model {window[0]:g}/{window[1]:g}", window=window) for window in windows_hu]
        known = [Preset(name=name, window=window) for name, window in CT_WINDOWS]
        presets = (*own, *known) if own else (known[-1], *known[:-1])
        return Display(plates=(FINE_CT, WIDE_CT), presets=presets, unit="HU", inverted=volume.inverted)
    return replace(_by_percentiles(volume), inverted=volume.inverted)


def _by_percentiles(volume: Volume) -> Display:
    low, high = _ends(volume)
    bottom, top = _percentiles(volume, PERCENTILES)
    usual = Preset(name="0.5 to 99.5 %", window=_window(bottom, top))
    stronger = Preset(name="5 to 95 %", window=_window(*_percentiles(volume, STRONGER)))
    if volume.array.dtype == np.uint8:
        return Display(plates=(_straight(0, 255),),
                       presets=(Preset(name="as stored", window=_window(0, 255)), usual, stronger))
    full = Preset(name="full range", window=_window(low, high))
    knots = ((low, 0.0), (bottom, float(OUTLIERS)), (top, 255.0 - OUTLIERS), (high, 255.0))
    ascending = all(first[0] < second[0] for first, second in pairwise(knots))
    return Display(plates=(knots if ascending else _straight(low, high),), presets=(usual, full, stronger))


def _straight(low: float, high: float) -> tuple[Knot, ...]:
    return ((low, 0.0), (max(high, low + 1e-6), 255.0))


def _window(low: float, high: float) -> Window:
    return ((low + high) / 2, max(high - low, 1e-6))


def _ends(volume: Volume) -> tuple[float, float]:
    """The lowest and highest value; of 8-bit values those that could be."""
    if volume.array.dtype == np.uint8:
        return 0.0, 255.0
    low, high = _percentiles(volume, MILDER)
    return low, high


def _percentiles(volume: Volume, wanted: tuple[float, float]) -> tuple[float, float]:
    sample = volume.array.reshape(-1)
    sample = sample[:: max(1, sample.size // PERCENTILE_SAMPLE)]
    finite = sample[np.isfinite(sample)]
    if not finite.size:
        return 0.0, 1.0
    low, high = np.percentile(finite, wanted)
    return float(low), float(high)
