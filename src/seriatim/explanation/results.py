"""What is filed of one scored series: its numbers, the slices to open first, and what its explanation shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seriatim import __version__
from seriatim.explanation.anomaly import FrameExplanation, explain_frames
from seriatim.explanation.anomaly_figure import compose_frames
from seriatim.explanation.build import ExplainOptions, explain_volume
from seriatim.explanation.explanation import Explanation
from seriatim.explanation.figure import compose
from seriatim.explanation.methods import SLICE_METHODS
from seriatim.explanation.shown import first_slices
from seriatim.explanation.volumes import map_places, map_stored
from seriatim.explanation.words import tell_stand_ins
from seriatim.io.results import Algorithm, MapKind, SeriesResult, SliceAttribution, SliceMaps
from seriatim.series import Prediction, Series, Volume
from seriatim.trained import AnomalyModel, Scorer

EVEN_SIDE, MOST_SIDE = 64, 1024
"""Pixels along an edge at most: of a map that is even over each slice, and of one that is not."""
EVEN = 1e-9
"""Attention that differs by less prefers no slice."""
PICTURE_DPI = 100


def gather_numbers(series: Series, prediction: Prediction, model: Scorer, *, top: int) -> SeriesResult:
    """The result without what needs the pixels again: no map, no picture."""
    anomaly = isinstance(model, AnomalyModel)
    chosen, words = choose_top(prediction, anomaly=anomaly, top=top)
    return SeriesResult(
        series=series, prediction=prediction, algorithm=name_algorithm(model), top=chosen, chosen_by=words,
        answer="anomaly" if isinstance(model, AnomalyModel) else model.experiment.task.target,
        thresholds=dict(model.thresholds), thresholds_from=model.thresholds_from, calibrated=is_calibrated(model),
        stand_ins="" if isinstance(model, AnomalyModel) else tell_stand_ins(model.stand_ins),
        maps=() if anomaly else (_map_attention(series, prediction),),
    )


def add_explanation(
    result: SeriesResult, volume: Volume, model: Scorer, *, top: int, show: str | None = None
) -> SeriesResult:
    """The result with the picture of its explanation, the attribution that it ranks slices by, and where in the slices.

    ``volume`` is read again, and the model is asked again; ``show`` as of ``ExplainOptions``.
    """
    top = min(top, len(result.series.instances))
    if isinstance(model, AnomalyModel):
        frames = explain_frames(volume, model, top=top)
        return replace(result, maps=_map_places(frames, volume), picture=compose_frames(frames).render(PICTURE_DPI))
    explanation = explain_volume(volume, model, options=ExplainOptions(top=top, show=show, pixels=("grad_cam",)))
    maps, picture = (*result.maps, *_map_heat(explanation, volume)), compose(explanation).render(PICTURE_DPI)
    return replace(result, maps=maps, picture=picture, **rank(explanation))


def choose_top(prediction: Prediction, *, anomaly: bool, top: int) -> tuple[tuple[int, ...], str]:
    """The slices to open first, and why these in words; none where the model prefers none."""
    attention = prediction.attention
    assert attention is not None
    if anomaly:
        peaks = sorted(prediction.events, key=lambda event: -event[3])[:top]
        return tuple(peak for _, _, peak, _ in peaks), "the peaks of the strongest events"
    if np.ptp(attention) > EVEN:
        return first_slices(attention, top=top), "those that the model weighed most (attention)"
    if prediction.slice_scores:
        highest = np.max(list(prediction.slice_scores.values()), axis=0)
        return first_slices(highest, top=top), "those with the highest score of their own"
    return ((0,), "the only one") if len(attention) == 1 else ((), "")


def name_algorithm(model: Scorer) -> Algorithm:
    """Which model it was; of several members all."""
    loaded = (model,) if isinstance(model, AnomalyModel) else model.members
    members = [f"member {one.experiment.name} sha256 {one.digest}" for one in loaded] if len(loaded) > 1 else []
    return Algorithm(
        name=" + ".join(dict.fromkeys(one.experiment.name for one in loaded)), version=__version__, digest=model.digest,
        parameters=(f"task {model.experiment.task.kind}", f"computed by {model.compute.key.strip()}", *members),
    )


def is_calibrated(model: Scorer) -> bool:
    """Whether validation bent the probabilities of all members."""
    if isinstance(model, AnomalyModel):
        return False
    return all(one.task.calibration is not None for one in model.members)


def rank(explanation: Explanation) -> dict[str, Any]:
    """The slices that the explanation shows as key images, with the numbers that rank them for the class explained;
    nothing if all are equal.
    """
    name = explanation.shown_attribution
    values = explanation.attribution()
    if len(values) > 1 and np.ptp(values) <= EVEN:
        return {}
    method = SLICE_METHODS[name]
    ranked = SliceAttribution(code=name, title=method.title, label=explanation.label, values=values)
    return {"top": explanation.top, "chosen_by": f"ranked by {method.title} for {explanation.label}",
            "attribution": None if name in ("attention", "slice_scores") else ranked}


def _map_attention(series: Series, prediction: Prediction) -> SliceMaps:
    assert prediction.attention is not None
    size = (min(series.rows, EVEN_SIDE), min(series.columns, EVEN_SIDE))
    weights = prediction.attention.astype(np.float32)
    values = np.broadcast_to(weights[:, None, None], (len(weights), *size))
    return SliceMaps(kind="attention", indices=tuple(range(len(weights))), values=values)


def _map_heat(explanation: Explanation, volume: Volume) -> tuple[SliceMaps, ...]:
    """The heat that the picture shows, back on the slices as stored: its grid covers the same area as theirs."""
    if explanation.heat is None:
        return ()
    heat = dict(zip(explanation.top, torch.from_numpy(explanation.heat), strict=True))
    return (_place(heat, volume, kind="gradcam", label=explanation.label),)


def _map_places(explanation: FrameExplanation, volume: Volume) -> tuple[SliceMaps, ...]:
    if explanation.places is None:
        return ()
    heat = map_places(explanation, list(explanation.shown))
    return (_place(heat, volume, kind="anomaly", label=explanation.places.method),)


def _place(heat: Mapping[int, Tensor], volume: Volume, *, kind: MapKind, label: str) -> SliceMaps:
    """Maps over slices as they are turned for display -> on the grid of the slices as stored, by slice index."""
    values = map_stored(heat, volume, most_side=MOST_SIDE)
    return SliceMaps(kind=kind, indices=tuple(sorted(heat)), values=values, label=label)
