"""The page of an anomaly model: all frames of a series behind one slider, the score curve, and its events."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from seriatim import __version__
from seriatim.explanation.anomaly import FrameExplanation, rank_events
from seriatim.explanation.curve import axis_limits, edges_of, name_ends
from seriatim.explanation.figure import tell_facts
from seriatim.explanation.film import Film
from seriatim.explanation.montage import blend_heat
from seriatim.explanation.style import format_position
from seriatim.io.tables.outputs import write_text

SLOWEST, FASTEST, DEFAULT_RATE = 0.5, 60.0, 10.0
"""Frames per second at which the film runs; the last where frames have no times."""


def write_film_page(explanation: FrameExplanation, film: Film, path: Path) -> None:
    """Write one HTML page that holds everything, and asks no network for anything. All texts in it are escaped.

    Raises:
        OutputError: the file cannot be written.
    """
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(
        files("seriatim.explanation").joinpath("film_page.html").read_text(encoding="utf-8")
    )
    write_text(path, template.render(_describe(explanation, film)))


def trace_curve(shares: NDArray[np.float64], levels: NDArray[np.float64]) -> str:
    """An SVG path through points at ``shares`` of the width (0 to 1) and ``levels`` of the height, in a box of 1000 x
    100 whose y goes down; it is broken where a level is not known.
    """
    path, drawing = [], False
    for share, level in zip(shares, levels, strict=True):
        known = not np.isnan(level)
        if known:
            point = f"{1000 * share:.1f} {100 * (1 - level):.2f}"
            path.append(f"L{point}" if drawing else f"M{point}h0")  # h0: a point alone is seen, as a dot
        drawing = known
    return " ".join(path)


def _describe(explanation: FrameExplanation, film: Film) -> dict[str, Any]:
    low, high = axis_limits(explanation.positions)
    shares = (explanation.positions - low) / (high - low)
    edges = (edges_of(explanation.positions) - low) / (high - low)
    scores, noun = explanation.scores, explanation.noun
    start = rank_events(scores.events)[0].peak if scores.events else int(scores.levels.argmax())
    return {
        "title": explanation.title,
        "noun": noun,
        "score": f"{scores.level:.2f}",
        "meaning": explanation.meaning,
        "facts": tell_facts(explanation),
        "series_uid": explanation.series_uid,
        "letters": explanation.letters,
        "ends": name_ends(explanation.letters),
        "curve": trace_curve(shares, scores.levels),
        "bands": [(100 * edges[one.start], 100 * (edges[one.stop] - edges[one.start])) for one in scores.events],
        "marks": [(100 * shares[one.peak], number) for number, one in enumerate(scores.events, start=1)],
        "parts": [(name.replace("_", " "), trace_curve(shares, levels))
                  for name, levels in explanation.part_levels.items()],
        "ticks": _ticks(explanation, (low, high)),
        "axis": {"mm": "position (mm)", "s": "time (s)", "index": f"{noun} index"}[explanation.unit],
        "events": [_tell_event(explanation, number) for number in range(1, len(scores.events) + 1)],
        "count": len(film.indices),
        "size": film.size,
        "places": explanation.places.method if explanation.places is not None else "",
        "left_out": _tell_left_out(explanation, film),
        "film": _pack(explanation, film, shares=shares, start=start),
        "first": film.jpegs[_place_of(film, start)],
        "release": explanation.release,
        "ramp": ", ".join(f"rgb({red},{green},{blue})" for red, green, blue in _ramp()),
        "version": __version__,
        "as_base64": _as_base64,
    }


def _pack(
    explanation: FrameExplanation, film: Film, *, shares: NDArray[np.float64], start: int
) -> dict[str, Any]:
    """What the page's script reads."""
    cells = None
    if film.heat is not None:
        colours = blend_heat(np.linspace(0, 1, 256, dtype=np.float32))
        cells = {"rows": film.heat.shape[1], "columns": film.heat.shape[2], "values": _as_base64(film.heat.tobytes()),
                 "colours": _as_base64(colours.tobytes())}
    return {
        "jpegs": [_as_base64(one) for one in film.jpegs],
        "x": [round(float(shares[index]), 5) for index in film.indices],
        "told": [_tell_frame(explanation, index) for index in film.indices],
        "event": [explanation.event_at(index) for index in film.indices],
        "peaks": [_place_of(film, event.peak) for event in explanation.scores.events],
        "start": _place_of(film, start),
        "heat": cells,
        "seconds": _pause(explanation, film),
    }


def _tell_frame(explanation: FrameExplanation, index: int) -> str:
    position = format_position(explanation.positions[index], explanation.unit)
    event = explanation.event_at(index)
    told = [f"{explanation.noun} {index} of 0 to {len(explanation.positions) - 1}", position,
            f"score {explanation.scores.levels[index]:.2f}", f"in event {event}" if event else ""]
    return " · ".join(one for one in told if one)


def _tell_event(explanation: FrameExplanation, number: int) -> dict[str, str]:
    event = explanation.scores.events[number - 1]
    first, last = event.start, event.stop - 1
    ends = [format_position(explanation.positions[index], explanation.unit) for index in (first, last)]
    where = f"{explanation.noun} {first}" if first == last else f"{explanation.noun}s {first} to {last}"
    when = ends[0] if first == last else f"{ends[0]} to {ends[1]}"
    return {"where": where, "when": when if ends[0] else "", "peak": f"{explanation.noun} {event.peak}",
            "score": f"{explanation.scores.levels[event.peak]:.2f}"}


def _tell_left_out(explanation: FrameExplanation, film: Film) -> str:
    if film.step == 1:
        return ""
    return (f"The series has {len(explanation.positions)} {explanation.noun}s. The film shows one in {film.step} of "
            "them, and each peak of an event; curve and events come from all.")


def _ticks(explanation: FrameExplanation, limits: tuple[float, float]) -> list[tuple[float, str]]:
    """Where along the width, in percent, which number stands."""
    low, high = limits
    places = MaxNLocator(8, integer=explanation.unit == "index", steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
    return [(100 * (place - low) / (high - low), f"{place:g}".replace("-", "−")) for place in places
            if low <= place <= high]


def _pause(explanation: FrameExplanation, film: Film) -> float:
    """Seconds from a frame to the next when the film runs: those of the clip, where it has times."""
    if explanation.unit != "s" or len(film.indices) < 2:
        return 1 / DEFAULT_RATE
    steps = [later - earlier for earlier, later in pairwise(explanation.positions[list(film.indices)].tolist())]
    return float(np.clip(np.median(steps), 1 / FASTEST, 1 / SLOWEST))


def _ramp() -> list[tuple[int, int, int]]:
    """The heat's colours as they look over mid-grey tissue."""
    colours = blend_heat(np.linspace(0, 1, 9, dtype=np.float32)).astype(float)
    share = colours[:, 3:] / 255
    mixed = np.round(share * colours[:, :3] + (1 - share) * 70).astype(int)
    return [(int(red), int(green), int(blue)) for red, green, blue in mixed]


def _place_of(film: Film, index: int) -> int:
    """Where in the film a frame is, or the nearest one that is there."""
    return int(np.abs(np.asarray(film.indices) - index).argmin())


def _as_base64(content: bytes | Sequence[int]) -> str:
    return base64.b64encode(bytes(content)).decode("ascii")
