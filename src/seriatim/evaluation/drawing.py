"""How the pictures of an evaluation look: colours, line styles, fonts, and where the title stands."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#5B5B5B")
"""Okabe and Ito's colours (2008), told apart with any colour vision; line styles follow when they run out."""
STYLES = ("-", "--", ":", "-.")
INK, QUIET, FAINT = "#222222", "#6B6B6B", "#D9D9D9"
STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": QUIET,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "legend.frameon": False,
    "figure.dpi": 200,
    "savefig.facecolor": "white",
}
LEFT_INCHES = 0.64


@contextmanager
def open_figure(path: Path, *, size: tuple[float, float]) -> Iterator[Any]:
    """A figure that is saved on leaving; drawn without a display and without touching the global state of pyplot."""
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with mpl.rc_context(STYLE):
        figure = Figure(figsize=size)
        FigureCanvasAgg(figure)
        yield figure
        figure.savefig(path)


def place_axes(figure: Any, left: float, bottom: float, width: float, height: float, **how: Any) -> Any:
    """Axes with their lower left corner at a place of the figure; all in inches."""
    wide, tall = figure.get_size_inches()
    return figure.add_axes((left / wide, bottom / tall, width / wide, height / tall), **how)


def write_title(figure: Any, title: str, *lines: str) -> None:
    """The title of a figure and quiet lines below it, made smaller where it is too long."""
    width, height = figure.get_size_inches()
    left, top = LEFT_INCHES / width, 1 - 0.18 / height
    written = figure.text(left, top, title, fontsize=13, fontweight="bold", va="top")
    taken = written.get_window_extent(figure.canvas.get_renderer()).width / figure.dpi
    written.set_fontsize(13 * min(1.0, (width - left * width - 0.1) / taken))
    for place, line in enumerate(filter(None, lines)):
        figure.text(left, top - (0.28 + 0.19 * place) / height, line, fontsize=9.5, color=QUIET, va="top")
