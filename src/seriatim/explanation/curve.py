"""The attribution shown first over slice position, with the shown slices numbered, and below it the attention."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray

from seriatim.explanation import style
from seriatim.explanation.explanation import Drawn, Explanation, Letters
from seriatim.explanation.methods import SLICE_METHODS, Method, name_method
from seriatim.explanation.style import Page, quiet

CURVE_HEIGHT = 2.3
STRIP_HEIGHT, STRIP_HEADROOM = 0.8, 1.12
STRIP_GAP = 0.44
SAYS_HEIGHT = 0.18
AXIS_HEIGHT = 0.62
HEADING_HEIGHT = 0.42
LEFT, SCORE_AXIS = 1.15, 0.4
"""Inches that hold the tick labels beside the panels."""
BADGE = 0.27
HEADROOM = 1.34
"""The badges stand between the highest value and this many times of it."""
DOTS_UP_TO = 120
WIDEST_BAR = 0.04
"""Of the panel, so that one bar of few does not fill it."""
ASCENDS = ("IS", "PA", "LR")
"""The direction rule of seriatim.series.geometry: slices ascend along the pair of directions that they do not show."""


def curve_height(explanation: Explanation) -> float:
    """Inches the section takes."""
    strip = SAYS_HEIGHT + STRIP_GAP + STRIP_HEIGHT if has_strip(explanation) else 0.0
    return HEADING_HEIGHT + CURVE_HEIGHT + strip + AXIS_HEIGHT


def has_strip(explanation: Explanation) -> bool:
    """Whether attention has a strip of its own, since another attribution is shown first."""
    return bool(explanation.attributions) and explanation.shown_attribution != "attention"


def draw_curve(page: Page, explanation: Explanation, *, top: float) -> None:
    """Draw the section with its top at ``top`` inches: what is shown first in a tall panel, and below it attention."""
    scores = None if explanation.shown_attribution == "slice_scores" else _scores_of_label(explanation)
    width = style.FIGURE_WIDTH - LEFT - style.MARGIN - (0.0 if scores is None else SCORE_AXIS)
    attention = name_method("attention", noun=explanation.noun)
    shown = name_method(explanation.shown_attribution, noun=explanation.noun)
    method = shown if has_strip(explanation) else attention
    heading = f"{method.title.capitalize()} along the series"
    page.write(style.MARGIN, top, heading, width=6.0, fontsize=style.HEADING, weight="bold")
    place = top + HEADING_HEIGHT
    if has_strip(explanation):
        page.note(style.MARGIN, top + 0.3, _tell_method(method, explanation), width=style.FIGURE_WIDTH - 6)
        place += SAYS_HEIGHT
    axes = page.add_axes(LEFT, place, width, CURVE_HEIGHT)
    limits, lowest = axis_limits(explanation.positions), axes
    handles = _shade_truth(axes, explanation)
    if has_strip(explanation):
        _draw_attribution(axes, explanation, explanation.attribution())
        below = place + CURVE_HEIGHT + STRIP_GAP
        lowest = page.add_axes(LEFT, below, width, STRIP_HEIGHT)
        _shade_truth(lowest, explanation)
        of_strip = _draw_attention(lowest, explanation, scores, headroom=STRIP_HEADROOM)
        page.note(LEFT, below - 0.24, f"Attention: {attention.says}", width=7.6)
        draw_legend(page, of_strip, top=below - 0.23)
        axes.tick_params(labelbottom=False)
    else:
        handles = [*_draw_attention(axes, explanation, scores, headroom=HEADROOM), *handles]
    draw_legend(page, handles, top=top)
    _draw_badges(axes, explanation, limits=limits, gap=BADGE / width * (limits[1] - limits[0]))
    for panel in {axes, lowest}:
        panel.set_xlim(*limits)
    label_positions(lowest, explanation)


def spread(wanted: ArrayLike, *, gap: float, limits: tuple[float, float]) -> NDArray[np.float64]:
    """Move numbers apart as little as possible, order kept, so that neighbours are ``gap`` apart within ``limits``.

    Where they cannot all fit, they are evenly spaced over ``limits``.
    """
    values = np.asarray(wanted, dtype=np.float64)
    order = np.argsort(values, kind="stable")
    low, high = limits
    gap = min(gap, (high - low) / max(1, len(values) - 1))
    steps = gap * np.arange(len(values))
    moved = np.clip(_nearest_ascending(values[order] - steps), low, high - steps[-1]) + steps
    result = np.empty_like(moved)
    result[order] = moved
    return result


def _nearest_ascending(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The non-descending numbers nearest to ``values`` in squares (pool adjacent violators)."""
    blocks: list[tuple[float, int]] = []
    for value in values:
        mean, size = float(value), 1
        while blocks and blocks[-1][0] > mean:
            before, count = blocks.pop()
            mean, size = (before * count + mean * size) / (count + size), count + size
        blocks.append((mean, size))
    return np.concatenate([np.full(size, mean) for mean, size in blocks])


def axis_limits(positions: NDArray[np.float64]) -> tuple[float, float]:
    """From where to where the position axis goes."""
    first, last = float(positions[0]), float(positions[-1])
    margin = max(0.015 * (last - first), 0.5 * (last - first) / max(1, len(positions) - 1)) or 1.0
    return first - margin, last + margin


def edges_of(positions: NDArray[np.float64]) -> NDArray[np.float64]:
    """(S+1,) half way between slices; the outer edges stay within the panel."""
    low, high = axis_limits(positions)
    return np.concatenate([[low], (positions[1:] + positions[:-1]) / 2, [high]])


def _tell_method(method: Method, explanation: Explanation) -> str:
    """What a number of the method is, and which way is which."""
    signs = f" (logits; up speaks for {explanation.label}, down against)" if method.signed else ""
    return f"{method.says[0].upper()}{method.says[1:]}{signs}"


def _draw_attention(
    axes: Any, explanation: Explanation, scores: NDArray[np.float64] | None, *, headroom: float
) -> list[Any]:
    """The attention, and slice scores where there are any; what the legend shows."""
    positions, attention = explanation.positions, explanation.attention
    quiet(axes)
    axes.grid(axis="y", color=style.GRID, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.fill_between(positions, attention, color=style.ACCENT, alpha=0.16, linewidth=0)
    axes.plot(positions, attention, color=style.ACCENT, linewidth=1.8, solid_joinstyle="round", label="attention",
              marker="o" if len(positions) <= DOTS_UP_TO else "", markersize=3.2)
    if len(positions) > 1:
        axes.axhline(1 / len(positions), color=style.MUTED, linewidth=0.9, linestyle=(0, (2, 3)),
                     label=f"even attention (1 / {len(positions)} {explanation.noun}s)")
    axes.set_ylim(0, headroom * float(attention.max()) or 1.0)
    axes.yaxis.set_major_locator(MaxNLocator(5 if headroom == HEADROOM else 2, steps=[1, 2, 2.5, 5, 10]))
    axes.yaxis.set_major_formatter(lambda share, _: f"{100 * share:.4g} %")
    axes.set_yticks([tick for tick in axes.get_yticks() if 0 <= tick <= 1.04 * attention.max()])
    handles = list(axes.get_legend_handles_labels()[0])
    return handles if scores is None else [*handles, *_draw_scores(axes, explanation, scores, headroom=headroom)]


def _draw_badges(axes: Any, explanation: Explanation, *, limits: tuple[float, float], gap: float) -> None:
    """A numbered disc over each shown slice, tied to its point; discs of neighbours stand side by side."""
    points = explanation.positions[list(explanation.top)]
    values = explanation.attribution() if has_strip(explanation) else explanation.attention
    inner = (limits[0] + gap / 2, limits[1] - gap / 2)
    low, high = axes.get_ylim()
    height = low + (high - low) * (1 + HEADROOM) / 2 / HEADROOM
    places = spread(points, gap=gap, limits=inner)
    for number, (at, point, index) in enumerate(zip(places, points, explanation.top, strict=True), 1):
        value = values[index]
        axes.plot([point, at], [value, height], color=style.ACCENT, linewidth=0.8, alpha=0.6, zorder=3)
        axes.plot([point], [value], marker="o", markersize=5.5, color=style.ACCENT, mec=style.BACKGROUND, zorder=4)
        draw_badge(axes, (at, height), number, transform=axes.transData)


def draw_badge(
    axes: Any, centre: tuple[float, float], number: int, *, transform: Any, color: str = style.ACCENT
) -> None:
    """The numbered disc that ties a slice to its point in the curve."""
    axes.plot(*centre, marker="o", markersize=16, color=color, markeredgewidth=0, zorder=5, transform=transform,
              clip_on=False)
    axes.text(*centre, str(number), color=style.BACKGROUND, fontsize=style.BODY, weight="bold", ha="center",
              va="center_baseline", zorder=6, transform=transform)


def _scores_of_label(explanation: Explanation) -> NDArray[np.float64] | None:
    """The slice scores of the explained class, or the only ones there are."""
    scores = explanation.slice_scores
    return scores.get(explanation.label, next(iter(scores.values())) if len(scores) == 1 else None)


def _draw_scores(axes: Any, explanation: Explanation, scores: NDArray[np.float64], *, headroom: float) -> list[Any]:
    """Slice scores as a quiet line on their own right axis."""
    right = axes.twinx()
    quiet(right)
    handles = right.plot(explanation.positions, scores, color=style.SCORE, linewidth=1.2, alpha=0.85,
                         linestyle=(0, (5, 2)), marker="o" if len(scores) == 1 else "", markersize=5,
                         label=f"{explanation.noun} score (right axis)")
    if ((scores >= 0) & (scores <= 1)).all():
        right.set_ylim(0, headroom)
        right.set_yticks([0, 0.5, 1])
    right.tick_params(axis="y", colors=style.SCORE)
    return list(handles)


def _shade_truth(axes: Any, explanation: Explanation) -> list[Any]:
    """A band over the slices that are labelled positive; what the legend shows of it."""
    if explanation.truth is None:
        return []
    edges = edges_of(explanation.positions)
    marked = np.concatenate([[False], explanation.truth, [False]]).astype(int)
    starts, stops = (np.flatnonzero(np.diff(marked) == sign) for sign in (1, -1))
    for start, stop in zip(starts, stops, strict=True):
        axes.axvspan(edges[start], edges[stop], color=style.TRUTH, alpha=0.45, linewidth=0, zorder=0)
    return [Patch(color=style.TRUTH, alpha=0.7, linewidth=0, label=f"{explanation.noun}s labelled positive")]


def _draw_attribution(axes: Any, explanation: Explanation, values: NDArray[np.float64]) -> None:
    """Bars from 0, those that speak against the class in another colour, below the badges."""
    quiet(axes)
    axes.grid(axis="y", color=style.GRID, linewidth=0.7)
    axes.set_axisbelow(True)
    low, high = axis_limits(explanation.positions)
    width = np.minimum(0.84 * np.diff(edges_of(explanation.positions)), WIDEST_BAR * (high - low))
    colours = [style.ACCENT if value > 0 else style.AGAINST for value in values]
    axes.bar(explanation.positions, values, width=width, color=colours, alpha=0.8, linewidth=0)
    axes.axhline(0, color=style.MUTED, linewidth=0.7)
    least, most = min(0.0, float(values.min())), max(0.0, float(values.max()))
    reach = (most - least) or 1.0
    floor = least - 0.04 * reach if least < 0 else 0.0
    axes.set_ylim(floor, floor + HEADROOM * ((most - floor) or 1.0))
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    signed = SLICE_METHODS[explanation.shown_attribution].signed
    axes.yaxis.set_major_formatter(lambda value, _: _tell_tick(value, signed=signed))
    axes.set_yticks([tick for tick in axes.get_yticks() if floor <= tick <= most + 0.04 * reach])


def _tell_tick(value: float, *, signed: bool) -> str:
    return (f"{value:+.3g}" if signed and value else f"{value:.3g}").replace("-", "−")


def draw_legend(page: Page, handles: list[Any], *, top: float) -> None:
    """One line of legend at the right of a section's heading."""
    place = (1 - style.MARGIN / style.FIGURE_WIDTH, 1 - (top - 0.04) / page.height)
    page.figure.legend(
        handles=handles, loc="upper right", bbox_to_anchor=place, ncols=len(handles), frameon=False, borderaxespad=0,
        fontsize=style.SMALL, labelcolor=style.MUTED, handlelength=2.2, columnspacing=2.0,
    )


def name_ends(letters: Letters | None) -> str | None:
    """The patient directions at the first and the last slice, by the letters that the pictures show; None: unknown."""
    shown = set(letters or "RLAPSI")
    return next((pair for pair in ASCENDS if not shown & set(pair)), None)


def label_positions(axes: Any, series: Drawn) -> None:
    """The position axis, and the patient direction at each of its ends."""
    if len(series.positions) == 1:
        axes.set_xticks(series.positions)
    else:
        axes.xaxis.set_major_locator(MaxNLocator(12, integer=series.unit == "index"))
    name = {"mm": "position along the slice normal (mm)", "s": "time (s)", "index": f"{series.noun} index"}
    below = {"xycoords": "axes fraction", "textcoords": "offset points", "va": "center", "annotation_clip": False}
    quietly = {"color": style.MUTED, "fontsize": style.SMALL, **below}
    axes.annotate(name[series.unit], (0.5, 0), (0, -30), ha="center", **quietly)
    if (pair := name_ends(series.letters)) is not None:
        bright = {"color": style.INK, "fontsize": style.BODY, "weight": "bold", **below}
        axes.annotate(f"◂ {pair[0]}", (0, 0), (0, -30), ha="left", **bright)
        axes.annotate(f"{pair[1]} ▸", (1, 0), (0, -30), ha="right", **bright)
