"""How pictures look: a dark reading-room theme, its type sizes, and text that always fits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from seriatim.errors import printable

BACKGROUND = "#0f1317"
PANEL = "#161b21"
GRID = "#2a323b"
INK = "#eef1f4"
MUTED = "#98a4b0"
ACCENT = "#ffb547"
SCORE = "#7cc4ff"
AGAINST = "#6f8fbf"
TRUTH = "#2f6b52"
EVENT = "#e4574f"


@dataclass(frozen=True, slots=True, kw_only=True)
class Palette:
    """The colours of a light figure; those above are the dark ones of the same parts."""

    background: str = "#ffffff"
    grid: str = "#d8dee5"
    ink: str = "#1c2733"
    muted: str = "#56636f"
    accent: str = "#955700"
    score: str = "#0b62a8"


PAPER = Palette()
CLASS_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")
"""Told apart by those who see few colours too (Okabe and Ito 2008), but for its yellow, which is faint on white."""
HEAT_COLOURS, SIGNED_COLOURS = "inferno", "RdBu_r"
TITLE, HEADING, BODY, SMALL = 21.0, 13.0, 10.5, 9.0
"""Type sizes in points on a figure of FIGURE_WIDTH."""
FIGURE_WIDTH = 16.0
MARGIN = 0.55
"""Inches."""
DPI = 140
SMALLEST_TYPE = 8.5


class Page:
    """A figure measured in inches from its top left corner, as a page is read."""

    def __init__(self, height: float) -> None:
        self.height = height
        self.figure = Figure(figsize=(FIGURE_WIDTH, height), dpi=DPI, facecolor=BACKGROUND)
        self._canvas = FigureCanvasAgg(self.figure)

    def add_axes(self, left: float, top: float, width: float, height: float) -> Any:
        """Axes with their top left corner at (left, top), in inches."""
        box = (left / FIGURE_WIDTH, 1 - (top + height) / self.height, width / FIGURE_WIDTH, height / self.height)
        return self.figure.add_axes(box, facecolor=PANEL)

    def write(self, left: float, top: float, text: str, *, width: float, **style: Any) -> float:
        """Write one line with its top at ``top``, shrunk and then cut to ``width`` inches; its width in inches."""
        style = {"color": INK, "fontsize": BODY, "va": "top", **style}
        place = (left / FIGURE_WIDTH, 1 - top / self.height)
        artist: Any = self.figure.text(*place, one_line(text), parse_math=False, **style)
        smallest = HEADING if artist.get_fontsize() > HEADING else SMALLEST_TYPE
        return fit_text(artist, width, smallest=smallest, canvas=self._canvas)

    def note(self, left: float, top: float, text: str, *, width: float, **style: Any) -> float:
        """Write one quiet line of small type."""
        return self.write(left, top, text, width=width, **{"color": MUTED, "fontsize": SMALL, **style})

    def render(self, dpi: int) -> NDArray[np.uint8]:
        """The page as pixels, uint8 (H,W,3)."""
        self.figure.set_dpi(dpi)
        self._canvas.draw()
        return np.ascontiguousarray(np.asarray(self._canvas.buffer_rgba())[..., :3])


def one_line(text: str) -> str:
    """The text on one line, with what would be obeyed and not shown (control signs, turned writing) written out."""
    return printable(" ".join(text.split()))


def fit_text(artist: Any, width: float, *, smallest: float, canvas: FigureCanvasAgg) -> float:
    """Shrink a text to ``smallest`` points, then cut it, until it is ``width`` inches wide; its width in inches."""

    def measure() -> float:
        return float(artist.get_window_extent(canvas.get_renderer()).width / canvas.figure.dpi)

    while (wide := measure()) > width and artist.get_fontsize() > smallest:
        artist.set_fontsize(max(smallest, artist.get_fontsize() * 0.94))
    while wide > width and len(artist.get_text()) > 1:
        artist.set_text(artist.get_text().rstrip("…")[: max(1, int(len(artist.get_text()) * 0.95) - 1)] + "…")
        wide = measure()
    return wide


def quiet(axes: Any) -> None:
    """Take everything from axes that is not data: frame lines, tick marks, bright ticks."""
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.tick_params(colors=MUTED, labelsize=SMALL, length=0, pad=5)


def format_position(position: float, unit: str) -> str:
    """A position as people read it: "64.5 mm", "1.24 s", "" where it is only the index."""
    return {"mm": f"{position:.1f} mm", "s": f"{position:.2f} s"}.get(unit, "").replace("-", "−")
