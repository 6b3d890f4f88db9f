"""The picture of an anomaly model: its answer, the score curve with its events, the methods, and a strip of frames."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from seriatim.explanation import style
from seriatim.explanation.anomaly import FrameExplanation
from seriatim.explanation.curve import (
    AXIS_HEIGHT,
    BADGE,
    CURVE_HEIGHT,
    DOTS_UP_TO,
    HEADING_HEIGHT,
    LEFT,
    axis_limits,
    draw_badge,
    draw_legend,
    edges_of,
    label_positions,
    spread,
)
from seriatim.explanation.figure import (
    FOOTER_HEIGHT,
    HEADER_HEIGHT,
    SECTION_GAP,
    draw_gauge,
    save_page,
    tell_facts,
    warn_reader,
)
from seriatim.explanation.film_strip import draw_strip, strip_height
from seriatim.explanation.style import Page, quiet
from seriatim.explanation.words import tell_share

PART_HEIGHT, PART_GAP = 0.34, 0.1
PARTS_ABOVE = 0.42
THRESHOLD = 0.5
HEADROOM = 1.22
"""The badges of events stand above 1, the highest score."""
MOST_BADGES = 40
FOOTNOTE = (
    "Unlike normal is not ill: what the training {noun}s did not show is unusual too. Scores of parts are on the scale "
    "of the score. Research use, not a medical device."
)


def draw_frames(explanation: FrameExplanation, path: Path) -> None:
    """Draw one series as a PNG. It shows no identifier, neither UIDs nor file names.

    Raises:
        OutputError: the file cannot be written.
    """
    save_page(compose_frames(explanation), path)


def compose_frames(explanation: FrameExplanation) -> Page:
    """Lay the explanation out on a page as high as it needs."""
    curves = curves_height(explanation)
    page = Page(HEADER_HEIGHT + curves + SECTION_GAP + strip_height(explanation) + FOOTER_HEIGHT)
    _draw_header(page, explanation)
    warn_reader(page, explanation)
    _draw_curves(page, explanation, top=HEADER_HEIGHT)
    draw_strip(page, explanation, top=HEADER_HEIGHT + curves + SECTION_GAP)
    width = style.FIGURE_WIDTH - 2 * style.MARGIN
    page.note(style.MARGIN, page.height - 0.42, FOOTNOTE.format(noun=explanation.noun), width=width)
    return page


def curves_height(explanation: FrameExplanation) -> float:
    """Inches the curves take."""
    parts = len(explanation.part_levels)
    return HEADING_HEIGHT + CURVE_HEIGHT + AXIS_HEIGHT + (PARTS_ABOVE + parts * (PART_HEIGHT + PART_GAP))


def _draw_header(page: Page, explanation: FrameExplanation) -> None:
    title = {"fontsize": style.TITLE, "weight": "bold", "va": "baseline"}
    level = explanation.scores.level
    wide = page.write(style.MARGIN, 0.68, explanation.title, width=5.0, **title)
    page.write(style.MARGIN + wide + 0.3, 0.68, f"score {tell_share(level)}", width=3.0, color=style.ACCENT, **title)
    past = draw_gauge(page, level, THRESHOLD)
    page.write(style.MARGIN + past, 0.96, explanation.meaning, width=8.0)
    for line, text in enumerate(tell_facts(explanation)):
        page.note(style.FIGURE_WIDTH - style.MARGIN, 0.44 + 0.25 * line, text, width=5.4, ha="right")


def _draw_curves(page: Page, explanation: FrameExplanation, *, top: float) -> None:
    width = style.FIGURE_WIDTH - LEFT - style.MARGIN
    page.write(style.MARGIN, top, f"Score along the series, by {explanation.noun}", width=6.0, fontsize=style.HEADING,
               weight="bold")
    axes = page.add_axes(LEFT, top + HEADING_HEIGHT, width, CURVE_HEIGHT)
    _draw_scores(axes, explanation)
    _draw_events(axes, explanation, width=width)
    _draw_legend(page, explanation, top=top)
    label_positions(axes, explanation)
    place = top + HEADING_HEIGHT + CURVE_HEIGHT + AXIS_HEIGHT
    among = f"normal {explanation.noun}s"
    heading = f"By method and what it looks at; the line in the middle is as rare among {among} as the threshold"
    page.note(LEFT, place, heading, width=width)
    place += PARTS_ABOVE - 0.12
    for name, levels in explanation.part_levels.items():
        panel = page.add_axes(LEFT, place, width, PART_HEIGHT)
        _draw_part(panel, explanation, levels)
        page.note(LEFT - 0.1, place + PART_HEIGHT / 2, name.replace("_", " "), width=LEFT - 0.2, ha="right",
                  va="center")
        place += PART_HEIGHT + PART_GAP


def _draw_scores(axes: Any, explanation: FrameExplanation) -> None:
    positions, levels = explanation.positions, explanation.scores.levels
    quiet(axes)
    axes.grid(axis="y", color=style.GRID, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.fill_between(positions, levels, color=style.ACCENT, alpha=0.13, linewidth=0)
    axes.plot(positions, levels, color=style.ACCENT, linewidth=1.8, solid_joinstyle="round",
              marker="o" if len(positions) <= DOTS_UP_TO else "", markersize=3.2)
    axes.axhline(THRESHOLD, color=style.INK, linewidth=1.1, linestyle=(0, (4, 3)))
    axes.axhline(explanation.release, color=style.MUTED, linewidth=0.8, linestyle=(0, (1, 3)))
    shown = list(explanation.shown)
    axes.plot(positions[shown], np.full(len(shown), 0.035), linestyle="", marker="^", markersize=7, color=style.SCORE,
              markeredgewidth=0, zorder=4)
    axes.set_xlim(*axis_limits(positions))
    axes.set_ylim(0, HEADROOM)
    axes.set_yticks([0, explanation.release, THRESHOLD, 1], _tick_texts(explanation))


def _tick_texts(explanation: FrameExplanation) -> list[str]:
    """The threshold, and how far an event goes on where that is another score."""
    release = explanation.release
    return ["0", f"ends {release:.2f}" if release < THRESHOLD - 0.03 else "", "threshold 0.5", "1"]


def _draw_events(axes: Any, explanation: FrameExplanation, *, width: float) -> None:
    """Shade the events, and number them above their peaks; of very many, only the shading."""
    events = explanation.scores.events
    shade_events(axes, explanation)
    if not events or len(events) > MOST_BADGES:
        return
    limits = axis_limits(explanation.positions)
    gap = BADGE / width * (limits[1] - limits[0])
    points = explanation.positions[[event.peak for event in events]]
    places = spread(points, gap=gap, limits=(limits[0] + gap / 2, limits[1] - gap / 2))
    for number, (at, point, event) in enumerate(zip(places, points, events, strict=True), start=1):
        level = explanation.scores.levels[event.peak]
        axes.plot([point, at], [level, 1.11], color=style.EVENT, linewidth=0.9, alpha=0.8, zorder=3)
        axes.plot([point], [level], marker="o", markersize=5.5, color=style.EVENT, mec=style.BACKGROUND, zorder=4)
        draw_badge(axes, (at, 1.11), number, transform=axes.transData, color=style.EVENT)


def shade_events(axes: Any, explanation: FrameExplanation) -> None:
    """A band over the frames of each event."""
    edges = edges_of(explanation.positions)
    for event in explanation.scores.events:
        axes.axvspan(edges[event.start], edges[event.stop], color=style.EVENT, alpha=0.2, linewidth=0, zorder=0)


def _draw_legend(page: Page, explanation: FrameExplanation, *, top: float) -> None:
    handles: list[Any] = [Line2D([], [], color=style.ACCENT, linewidth=1.8, label="score")]
    if explanation.scores.events:
        handles.append(Patch(color=style.EVENT, alpha=0.4, linewidth=0, label="event, numbered at its peak"))
    handles.append(Line2D([], [], linestyle="", marker="^", color=style.SCORE, label=f"{explanation.noun} shown below"))
    draw_legend(page, handles, top=top)


def _draw_part(axes: Any, explanation: FrameExplanation, levels: Any) -> None:
    quiet(axes)
    shade_events(axes, explanation)
    axes.fill_between(explanation.positions, levels, color=style.SCORE, alpha=0.15, linewidth=0)
    axes.plot(explanation.positions, levels, color=style.SCORE, linewidth=1.1,
              marker="o" if len(levels) == 1 else "", markersize=3)
    axes.axhline(THRESHOLD, color=style.MUTED, linewidth=0.8, linestyle=(0, (2, 3)))
    axes.set_xlim(*axis_limits(explanation.positions))
    axes.set_ylim(0, 1)
    axes.set_xticks([])
    axes.set_yticks([])
