"""What the page of a diagnosis says: the answer, curves over the series, the slices weighed most, and the model."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from seriatim.explanation.explanation import Explanation
from seriatim.explanation.figure import tell_facts
from seriatim.explanation.methods import PIXEL_METHODS, SLICE_METHODS, name_method
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
from seriatim.explanation.page.trust import tell_trust
from seriatim.explanation.style import format_position
from seriatim.explanation.words import tell_number, tell_rest, tell_share
from seriatim.transforms.placement import resize

HEAT_SIDE = 128
"""Cells of heat along the longer edge: the browser draws it larger, smoothly."""
NEAR = 0.01
"""A probability as near as this to the threshold is told with all its digits."""
HEADROOM = 1.06
"""Of a curve's panel, above its highest value."""


def describe_diagnosis(explanation: Explanation, *, model: ModelFacts | None = None) -> PageContent:
    """The page's words and curves; ``model`` tells more of it than its name and digest."""
    return PageContent(
        headline=_headline(explanation, model),
        series=SeriesFacts(
            series_uid=plain(explanation.series_uid), noun=explanation.noun, unit=explanation.unit,
            positions=explanation.positions, sop_instance_uids=explanation.sop_instance_uids,
            letters=explanation.letters, start=explanation.top[0], frames=explanation.frames,
        ),
        tracks=tuple(_tracks(explanation)),
        marks=_marks(explanation),
        overlays=_overlays(explanation),
        no_overlay="This encoder has no feature maps: there is no overlay.",
        panels=tuple(_panels(explanation, model)),
    )


def tracks_of(explanation: Explanation) -> dict[str, NDArray[np.float64]]:
    """What gives every slice a number for the class explained, by method, the one that is shown first leading."""
    found = {name: explanation.attribution(name) for name in explanation.attributions}
    found.setdefault("attention", explanation.attention)
    scores = explanation.slice_scores
    if explanation.label in scores or len(scores) == 1:
        found.setdefault("slice_scores", scores.get(explanation.label, next(iter(scores.values()))))
    first = explanation.shown_attribution if explanation.shown_attribution in found else "attention"
    order = sorted(found, key=lambda name: (name != first, [*SLICE_METHODS].index(name)))
    return {name: found[name] for name in order}


def _tracks(explanation: Explanation) -> list[Track]:
    tracks = [_track(name, values, explanation) for name, values in tracks_of(explanation).items()]
    others = {name: weights for name, weights in explanation.class_attention.items() if name != explanation.label}
    return tracks + [
        Track(name=f"Attention of {plain(name)}", values=weights, low=0, high=HEADROOM * float(weights.max()) or 1,
              kind="area", form="share", told="sums to 100 %" if len(weights) > 1 else "")
        for name, weights in others.items()
    ]  # fmt: skip


def _track(name: str, values: NDArray[np.float64], explanation: Explanation) -> Track:
    method = name_method(name, noun=explanation.noun)
    title = method.title[0].upper() + method.title[1:]
    if method.unit == "share":
        even = 1 / len(values)
        return Track(name=title, values=values, low=0, high=HEADROOM * max(float(values.max()), even), kind="area",
                     form="share", lines=((even, f"even: {100 * even:.2g} %"),) if len(values) > 1 else (),
                     told=f"sums to 100 %; dashed line: even weight, {100 * even:.2g} %" if len(values) > 1 else "")
    if method.unit == "probability" and ((values >= 0) & (values <= 1)).all():
        return Track(name=title, values=values, low=0, high=HEADROOM, form="score", lines=((0.5, "0.5"),),
                     told="0 to 1; dashed line: 0.5")
    least, most = min(0.0, float(values.min())), max(0.0, float(values.max()))
    reach = 0.04 * ((most - least) or 1.0)
    return Track(name=title, values=values, low=least - reach, high=most + reach, kind="bars", form="signed",
                 told=f"logits; up speaks for {plain(explanation.label)}, down against")


def _headline(explanation: Explanation, model: ModelFacts | None) -> Headline:
    share = explanation.probability if 0 <= explanation.probability <= 1 else None
    answer = f"Prediction: {plain(explanation.prediction)}"
    if explanation.threshold is not None:
        near = abs(explanation.probability - explanation.threshold) < NEAR
        exact = f"{explanation.probability:.4f}, and the threshold {explanation.threshold:.4f}" if near else (
            f"threshold {tell_share(explanation.threshold)}")
        source = f", {model.threshold_source}" if model is not None and model.threshold_source else ""
        answer += f" ({exact}{source})"
    sets = explanation.prediction_set
    told = f"Prediction set: {plain(sets)}" if sets else ""
    return Headline(
        title=plain(explanation.label), number=tell_number(explanation.probability), share=share,
        threshold=explanation.threshold, facts=_facts(explanation),
        sentences=tuple(one for one in (answer, told, model.sentence if model else "") if one),
    )


def _facts(explanation: Explanation) -> tuple[str, ...]:
    """How long the series is, by which model, and what was noticed."""
    return tuple(plain(one) for one in tell_facts(replace(explanation, window_text="")))


def _marks(explanation: Explanation) -> Marks:
    methods = tracks_of(explanation)
    named = [name for name in methods if name in ("attention", "slice_scores", explanation.shown_attribution)]
    tracks = {name: _track(name, methods[name], explanation) for name in named}
    placed = explanation.unit != "index"
    rows = tuple(
        Mark(index=index, name=str(number), cells=(
            str(index + 1), *([format_position(explanation.positions[index], explanation.unit)] if placed else []),
            *(track.tell(index) for track in tracks.values()),
        ))
        for number, index in enumerate(explanation.top, start=1)
    )  # fmt: skip
    truth, rest = explanation.truth, tell_rest(explanation)
    first = name_method(next(iter(methods)), noun=explanation.noun)
    return Marks(
        title=f"{explanation.noun.capitalize()}s that count most, by {first.title}",
        kind="peak", rows=rows, note=rest and f"{rest[0].upper()}{rest[1:]}.",
        columns=(explanation.noun, *(["position"] if placed else []), *(one.name for one in tracks.values())),
        bands=() if truth is None else runs_of(truth),
        band_name="" if truth is None else f"Shaded: {explanation.noun}s labelled positive.",
    )


def runs_of(flags: NDArray[np.bool_]) -> tuple[tuple[int, int], ...]:
    """The (start, stop) of each run of True."""
    steps = np.diff(np.concatenate([[False], flags, [False]]).astype(int))
    return tuple(zip(np.flatnonzero(steps == 1).tolist(), np.flatnonzero(steps == -1).tolist(), strict=True))


def _overlays(explanation: Explanation) -> tuple[Overlay, ...]:
    maps = dict(explanation.pixel_maps)
    if explanation.heat is not None:
        maps.setdefault(explanation.shown_map, explanation.heat)
    order = sorted(maps, key=lambda name: (name != explanation.shown_map, name))
    noun, count = explanation.noun, len(explanation.top)
    made = f"{count} {noun}s" if count > 1 else noun
    return tuple(
        Overlay(
            name=PIXEL_METHODS[name].title, indices=explanation.top, cells=shrink_heat(maps[name]),
            told=(f"{PIXEL_METHODS[name].title}: {name_method(name, noun=noun).says}. Made for the {made} listed, on "
                  "one scale." + ("" if maps[name].any() else " It is zero on all of them.")),
            ends=("none", f"strongest of these {noun}s" if len(explanation.top) > 1 else "strongest"),
        )
        for name in order
    )  # fmt: skip


def shrink_heat(heat: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Maps (T,H,W) in [0,1] on fewer cells, (T,h,w) from 0 to 255."""
    scale = min(1.0, HEAT_SIDE / max(heat.shape[1:]))
    size = (max(1, round(heat.shape[1] * scale)), max(1, round(heat.shape[2] * scale)))
    return np.round(255 * resize(torch.from_numpy(heat), size).clamp(0, 1).numpy()).astype(np.uint8)


def _panels(explanation: Explanation, model: ModelFacts | None) -> list[Panel]:
    chances = tuple((plain(name), tell_number(value)) for name, value in explanation.probabilities.items())
    panels = [Panel(title="Answer", terms=chances)] if len(chances) > 1 else []
    named = (("name", plain(explanation.model_name)), ("digest", plain(explanation.model_digest)))
    terms = model.terms if model else tuple((term, said) for term, said in named if said)
    panels += tell_trust(explanation, [*tracks_of(explanation)])
    return [*panels, *([Panel(title="The model", terms=terms)] if terms else [])]
