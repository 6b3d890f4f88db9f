"""The strip of frames below the score curve: peaks of events beside normal frames, in order, each with its heat."""

from __future__ import annotations

from seriatim.explanation import style
from seriatim.explanation.anomaly import FrameExplanation
from seriatim.explanation.curve import draw_badge
from seriatim.explanation.montage import (
    CARD_GAP,
    HEADING_HEIGHT,
    Grid,
    arrange,
    draw_panes,
    draw_ramp,
)
from seriatim.explanation.style import Page, format_position
from seriatim.explanation.words import tell_share


def strip_height(explanation: FrameExplanation) -> float:
    """Inches the section takes."""
    return HEADING_HEIGHT + _grid_of(explanation).height


def draw_strip(page: Page, explanation: FrameExplanation, *, top: float) -> None:
    """Draw the section with its top at ``top`` inches."""
    _draw_heading(page, explanation, top=top)
    grid = _grid_of(explanation)
    first = (style.FIGURE_WIDTH - grid.width) / 2
    heat = None
    if explanation.places is not None:
        heat = explanation.places.draw(explanation.shown, size=explanation.images.shape[1:3])
    for number in range(len(explanation.shown)):
        row, column = divmod(number, grid.columns)
        left = first + column * (grid.slot_width + CARD_GAP)
        below = top + HEADING_HEIGHT + row * (grid.card_height + CARD_GAP)
        _draw_caption(page, explanation, number, corner=(left, below), width=grid.slot_width)
        shown = None if heat is None else heat[number]
        draw_panes(page, explanation.images[number], shown, explanation.letters, grid=grid, corner=(left, below))


def _grid_of(explanation: FrameExplanation) -> Grid:
    height, width = explanation.images.shape[1:3]
    return arrange(len(explanation.shown), aspect=height / width, panes=1 if explanation.places is None else 2)


def _draw_heading(page: Page, explanation: FrameExplanation, *, top: float) -> None:
    events, noun = explanation.scores.events, explanation.noun
    wide = page.write(style.MARGIN, top, f"{noun.capitalize()}s in order", width=6.0, fontsize=style.HEADING,
                      weight="bold")
    peaks = sum(event.peak in explanation.shown for event in events)
    which = f"{peaks} of {len(events)} peaks" if peaks < len(events) else "the peaks"
    told = f"{which}, and others evenly spaced; discs number the event a {noun} is in"
    told = told if events else f"some of the highest {noun}s, and others evenly spaced"
    page.note(style.MARGIN + wide + 0.2, top + 0.045, told, width=5.0)
    right = style.FIGURE_WIDTH - style.MARGIN
    if explanation.places is None:
        page.note(right, top + 0.045, "no method of this model knows places", width=5.0, ha="right")
        return
    wide = page.note(right, top + 0.045, "0.75 or more", width=3.0, ha="right")
    axes = draw_ramp(page, right - wide - 1.9, top + 0.045)
    axes.axvline(127.5, color=style.INK, linewidth=1.2)
    told = f"score of a place by {explanation.places.method} (line: threshold): 0.25"
    page.note(right - wide - 2.0, top + 0.045, told, width=5.0, ha="right")


def _draw_caption(
    page: Page, explanation: FrameExplanation, number: int, *, corner: tuple[float, float], width: float
) -> None:
    """The score and where the frame is; a badge where it is in an event."""
    left, top = corner
    index = explanation.shown[number]
    event = explanation.event_at(index)
    if event:
        badge = page.add_axes(left, top + 0.04, 0.32, 0.32)
        badge.set_axis_off()
        draw_badge(badge, (0.42, 0.5), event, transform=badge.transAxes, color=style.EVENT)
        left, width = left + 0.4, width - 0.4
    score = f"score {tell_share(explanation.scores.levels[index])}"
    page.write(left, top + 0.03, score, width=width, weight="bold", color=style.EVENT if event else style.INK)
    position = format_position(explanation.positions[index], explanation.unit)
    peak = any(index == one.peak for one in explanation.scores.events)
    where = f"{explanation.noun} {index + 1}{' · peak' if peak else ''}"
    page.note(left, top + 0.235, f"{where} · {position}" if position else where, width=width)
