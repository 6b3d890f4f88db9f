"""What the page of an anomaly model says: scores of all frames, events, and where in a frame it is unlike normal."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from seriatim.explanation.anomaly import FrameExplanation, rank_events
from seriatim.explanation.figure import tell_facts
from seriatim.explanation.page.about import ModelFacts
from seriatim.explanation.page.content import (
    Headline,
    Mark,
    Marks,
    Overlay,
    PageContent,
    Panel,
    SeriesFacts,
    Track,
    plain,
)
from seriatim.explanation.page.pictures import pick_slices
from seriatim.explanation.page.trust import tell_error_panel
from seriatim.explanation.style import format_position
from seriatim.explanation.words import tell_share

HEAT_SIDE = 48
"""Cells of heat along the longer edge: the browser draws it larger, smoothly."""
AT_ONCE = 16
"""Frames whose heat is made at a time, so that the memory taken does not grow with the series."""
NEAREST = 0.47
"""The score to which an event goes on is drawn where it is not all but the threshold."""


def describe_frames(explanation: FrameExplanation, *, model: ModelFacts | None = None) -> PageContent:
    """The page's words and curves; ``model`` tells more of it than its name and digest."""
    scores, noun = explanation.scores, explanation.noun
    named = (("name", plain(explanation.model_name)), ("digest", plain(explanation.model_digest)))
    terms = model.terms if model else tuple((term, said) for term, said in named if said)
    return PageContent(
        headline=Headline(
            title=explanation.title, number=f"score {tell_share(scores.level)}", share=scores.level, threshold=0.5,
            sentences=(f"{explanation.meaning} Unlike normal is not ill.",),
            facts=tuple(plain(one) for one in tell_facts(explanation)),
        ),
        series=SeriesFacts(
            series_uid=plain(explanation.series_uid), noun=noun, unit=explanation.unit,
            positions=explanation.positions, sop_instance_uids=explanation.sop_instance_uids,
            letters=explanation.letters, frames=explanation.frames,
            start=rank_events(scores.events)[0].peak if scores.events else int(scores.levels.argmax()),
        ),
        tracks=tuple(_tracks(explanation)),
        marks=_marks(explanation),
        overlays=_overlays(explanation),
        no_overlay=f"No method of this model knows places in a {noun}.",
        panels=(*tell_error_panel(explanation), *((Panel(title="The model", terms=terms),) if terms else ())),
        curve_note=f"Below the score what each method looks at; its dashed line is as rare among normal {noun}s as the "
                   "threshold." if len(explanation.part_levels) else "",
    )  # fmt: skip


def _tracks(explanation: FrameExplanation) -> list[Track]:
    release = explanation.release
    ends = ((release, f"an event goes on down to {release:.2f}"),) if release < NEAREST else ()
    told = "dashed lines: threshold 0.5" + (f", and {release:.2f}, down to which an event goes on" if ends else "")
    parts = explanation.part_levels.items()
    return [
        Track(name="Score", values=explanation.scores.levels, low=0, high=1, form="score", told=told,
              lines=((0.5, "threshold 0.5"), *ends)),
        *(Track(name=plain(name.replace("_", " ")), values=levels, low=0, high=1, form="score", lines=((0.5, "0.5"),))
          for name, levels in parts),
    ]  # fmt: skip


def _marks(explanation: FrameExplanation) -> Marks:
    events, noun = explanation.scores.events, explanation.noun
    placed = explanation.unit != "index"
    return Marks(
        title="Events", kind="event", columns=(f"{noun}s", *(["where"] if placed else []), "peak", "score"),
        rows=tuple(_mark(explanation, number, placed=placed) for number in range(1, len(events) + 1)),
        none=f"No {noun} reaches the threshold for long enough to make an event.",
        bands=tuple((one.start, one.stop) for one in events),
        band_name="Shaded: events." if events else "",
    )


def _mark(explanation: FrameExplanation, number: int, *, placed: bool) -> Mark:
    event = explanation.scores.events[number - 1]
    first, last = event.start, event.stop - 1
    ends = [format_position(explanation.positions[index], explanation.unit) for index in (first, last)]
    where = str(first + 1) if first == last else f"{first + 1} to {last + 1}"
    when = ends[0] if first == last else f"{ends[0]} to {ends[1]}"
    score = tell_share(explanation.scores.levels[event.peak])
    return Mark(index=event.peak, name=str(number), span=(event.start, event.stop),
                cells=(where, *([when] if placed else []), str(event.peak + 1), score))


def _overlays(explanation: FrameExplanation) -> tuple[Overlay, ...]:
    places = explanation.places
    if places is None:
        return ()
    indices = pick_slices(len(explanation.positions), [one.peak for one in explanation.scores.events])[0]
    height, width = explanation.images.shape[1:3]
    scale = min(1.0, HEAT_SIDE / max(height, width))
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    drawn: list[NDArray[np.uint8]] = [
        np.round(255 * places.draw(indices[start : start + AT_ONCE], size=size)).astype(np.uint8)
        for start in range(0, len(indices), AT_ONCE)
    ]
    told = f"Where it is unlike normal, by {plain(places.method)}: score of a place; 0.5 is the threshold."
    return (Overlay(name="where it is unlike normal", told=told, ends=("0.25", "0.75 or more"), indices=indices,
                    cells=np.concatenate(drawn)),)
