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

ONE_COLUMN, TWO_COLUMNS = 3.5, 7.2
"""Inches: the usual widths of journals."""
DPI = 300
BODY, SMALL = 8.0, 7.0
"""Type sizes in points; journals ask for no less than 6 or 7."""
LETTERS_OF_SVG = {"svg.fonttype": "path", "svg.hashsalt": "seriatim"}
"""Type as outlines, so that a figure looks the same everywhere; and names within the file that never change."""


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


def write(figure: Figure, left: float, top: float, text: str, **how: Any) -> None:
    """Write one line with its top left corner at (left, top), in inches."""
    width, height = figure.get_size_inches()
    how = {"color": style.PAPER.ink, "fontsize": BODY, "va": "top", **how}
    figure.text(left / width, 1 - top / height, " ".join(text.split()), parse_math=False, **how)


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
