"""How figures for papers look, and how they are written: the same bytes every time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from seriatim import __version__
from seriatim.errors import OutputError
from seriatim.explanation import style
from seriatim.explanation.curve import name_ends
from seriatim.explanation.explanation import Explanation
from seriatim.explanation.montage import draw_letters

ONE_COLUMN, TWO_COLUMNS = 89 / 25.4, 183 / 25.4
"""Inches: 89 and 183 mm, the usual widths of journals."""
MARGIN = 0.08
DPI = 300
BODY, SMALL, SMALLEST = 8.0, 7.0, 6.5
"""Type sizes in points; journals ask for no less than 6."""
LETTERS_OF_SVG = {"svg.fonttype": "none", "svg.hashsalt": "seriatim"}
"""Type as text, which editors and readers of a paper can search and change; names within the file that never change."""
UNITS = {"share": "share", "probability": "probability", "logit": "logits"}
"""How the numbers of a method are called beside an axis."""


def start_figure(width: float, height: float) -> Figure:
    """A white figure of a width and height in inches."""
    figure = Figure(figsize=(width, height), dpi=DPI, facecolor=style.PAPER.background)
    FigureCanvasAgg(figure)
    return figure


def add_axes(figure: Figure, left: float, top: float, width: float, height: float) -> Any:
    """Axes with their top left corner at (left, top), in inches, with nothing but data in them."""
    whole_width, whole_height = figure.get_size_inches()
    box = (left / whole_width, 1 - (top + height) / whole_height, width / whole_width, height / whole_height)
    axes = figure.add_axes(box, facecolor=style.PAPER.background)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.tick_params(colors=style.PAPER.muted, labelsize=SMALL, length=2, width=0.6, pad=2)
    return axes


def write(figure: Figure, left: float, top: float, text: str, *, width: float | None = None, **how: Any) -> float:
    """Write one line with its top left corner at (left, top), in inches; its width.

    It is shrunk, then cut to ``width``: without it, to the right margin.
    """
    whole_width, height = figure.get_size_inches()
    how = {"color": style.PAPER.ink, "fontsize": BODY, "va": "top", **how}
    artist = figure.text(left / whole_width, 1 - top / height, style.one_line(text), parse_math=False, **how)
    room = whole_width - left - MARGIN if width is None else width
    canvas = figure.canvas
    assert isinstance(canvas, FigureCanvasAgg)
    return style.fit_text(artist, room, smallest=SMALLEST, canvas=canvas)


def draw_slice(axes: Any, explanation: Explanation, place: int, *, size: tuple[float, float], letters: bool) -> None:
    """Draw one of the slices shown, with the patient directions at its edges; ``size`` of the axes in inches."""
    grey = {"cmap": "gray", "vmin": 0, "vmax": 255} if explanation.images.ndim == 3 else {}
    axes.imshow(explanation.images[place], aspect="auto", **grey)
    axes.set(xticks=[], yticks=[])
    shade = {"facecolor": "black", "alpha": 0.5, "linewidth": 0, "pad": 0.6}  # an outline would make paths of type
    draw_letters(axes, explanation.letters if letters else None, size=size, fontsize=SMALLEST, bbox=shade)


def tell_window(explanation: Explanation) -> str:
    """Which values of the slices are black and white; "" where they are shown as stored."""
    told = explanation.window_text
    return told if not told or told.startswith("window") else f"window {told}"


def name_positions(explanation: Explanation) -> str:
    """What the position axis counts, between the patient directions at its ends."""
    ends = name_ends(explanation.letters)
    unit = {"mm": "position (mm)", "s": "time (s)", "index": f"{explanation.noun} index"}[explanation.unit]
    return f"{ends[0]} ←  {unit}  → {ends[1]}" if ends else unit


def save_figure(figure: Figure, path: Path) -> Path:
    """Write a figure as PNG or SVG, as the end of the name says.

    Raises:
        OutputError: it cannot be written.
        ValueError: the name ends otherwise.
    """
    kind = path.suffix.lower().lstrip(".")
    if kind not in ("png", "svg"):
        raise ValueError(f"A figure is a .png or a .svg, not {path.name}.")
    told = {"Software": f"seriatim {__version__}"} if kind == "png" else {"Date": None, "Creator": "seriatim"}
    try:
        with mpl.rc_context(LETTERS_OF_SVG):
            figure.savefig(path, format=kind, dpi=DPI, metadata=told)
    except OSError as error:
        raise OutputError(f"The figure {path} cannot be written: {error.strerror}. Choose another folder.") from error
    return path
