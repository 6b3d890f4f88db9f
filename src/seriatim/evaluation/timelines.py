"""Found and true events of each sequence, as lines over its frames."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from seriatim.evaluation.drawing import COLOURS, FAINT, QUIET, open_figure, write_title
from seriatim.evaluation.events import OVERLAP, Span
from seriatim.evaluation.frames import FrameMeasures, ScoredSequence

MOST_SHOWN = 24
"""More lines than a page can show are left to the tables."""


def draw_timelines(found: FrameMeasures, *, path: Path) -> list[Path]:
    """Write a line per sequence, true events above and found ones below; nothing where there is no event.

    Those with the most events that were missed or false come first.
    """
    counted = [one for one in found.sequences if one.counts is not None and (one.true or one.found)]
    if not counted:
        return []
    shown = sorted(counted, key=_count_errors, reverse=True)[:MOST_SHOWN]
    height = 1.25 + 0.3 * len(shown)
    with open_figure(path, size=(4.9, height)) as figure:
        axes = figure.add_axes((0.13, 0.45 / height, 0.83, 0.3 * len(shown) / height))
        for place, one in enumerate(shown):
            axes.plot([0, len(one.labels)], [place, place], color=FAINT, linewidth=0.8, zorder=1)
            _draw_spans(axes, one.true, bottom=place - 0.36, colour=QUIET)
            _draw_spans(axes, one.found, bottom=place + 0.02, colour=COLOURS[1])
        axes.set(xlim=(0, max(len(one.labels) for one in shown)), ylim=(len(shown) - 0.5, -0.5), xlabel="Frame")
        axes.set_yticks(range(len(shown)), [str(1 + found.sequences.index(one)) for one in shown], fontsize=8)
        axes.spines["left"].set_visible(False)
        axes.tick_params(left=False)
        axes.xaxis.get_major_locator().set_params(integer=True)
        more = f"; the {len(shown)} with most errors" if len(shown) < len(counted) else ""
        write_title(figure, "Events", f"Above true, below found (orange); they meet from {OVERLAP:g} overlap on",
                    f"{len(counted)} of {len(found.sequences)} sequences have any{more}; by number in sequences.csv")
    return [path]


def _count_errors(one: ScoredSequence) -> int:
    assert one.counts is not None
    return one.counts.false + one.counts.true - one.counts.found


def _draw_spans(axes: Any, spans: Sequence[Span], *, bottom: float, colour: str) -> None:
    axes.broken_barh([(start, stop - start) for start, stop in spans], (bottom, 0.34), color=colour, zorder=2)
