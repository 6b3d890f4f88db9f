"""What is filed of one scored series: its numbers, the slices to open first, and what its explanation shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seriatim import __version__
from seriatim.explanation.alignment import resize_heat
from seriatim.explanation.anomaly import FrameExplanation, explain_frames
from seriatim.explanation.anomaly_figure import compose_frames
from seriatim.explanation.batch import explain_volume
from seriatim.explanation.display import show_slices, window_of
from seriatim.explanation.explanation import Explanation, unit_of
from seriatim.explanation.figure import compose
from seriatim.explanation.table import rank_by_attention
from seriatim.io.results import Algorithm, MapKind, SeriesResult, SliceMaps
from seriatim.series import Prediction, Series, Volume
from seriatim.trained import AnomalyModel, Ensemble, Scorer
from seriatim.transforms.orientation import orient, turn_back
from seriatim.transforms.placement import resize

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
        maps=() if anomaly else (_map_attention(series, prediction),),
    )


def add_explanation(result: SeriesResult, volume: Volume, model: Scorer, *, top: int) -> SeriesResult:
    """The result with the picture of its explanation, and the map of where in the slices it is.

    ``volume`` is read again, and the model is asked again.
    """
    top = min(top, len(result.series.instances))
    if isinstance(model, AnomalyModel):
        frames = explain_frames(volume, model, top=top)
        return replace(result, maps=_map_places(frames, volume), picture=compose_frames(frames).render(PICTURE_DPI))
    explanation = _explain(result.prediction, volume, model, top=top)
    maps = (*result.maps, *_map_heat(explanation, volume))
    return replace(result, maps=maps, picture=compose(explanation).render(PICTURE_DPI))


def choose_top(prediction: Prediction, *, anomaly: bool, top: int) -> tuple[tuple[int, ...], str]:
    """The slices to open first, and why these in words; none where the model prefers none."""
    attention = prediction.attention
    assert attention is not None
    if anomaly:
        peaks = sorted(prediction.events, key=lambda event: -event[3])[:top]
        return tuple(peak for _, _, peak, _ in peaks), "the peaks of the strongest events"
    if np.ptp(attention) > EVEN:
        return _first(attention, top), "those that the model weighed most (attention)"
    if prediction.slice_scores:
        highest = np.max(list(prediction.slice_scores.values()), axis=0)
        return _first(highest, top), "those with the highest score of their own"
    return ((0,), "the only one") if len(attention) == 1 else ((), "")


def name_algorithm(model: Scorer) -> Algorithm:
    """Which model it was; of several members all."""
    loaded = (model,) if isinstance(model, AnomalyModel) else model.members
    members = [f"member {one.experiment.name} sha256 {one.digest}" for one in loaded] if len(loaded) > 1 else []
    return Algorithm(
        name=" + ".join(dict.fromkeys(one.experiment.name for one in loaded)), version=__version__, digest=model.digest,
        parameters=(f"task {model.experiment.task.kind}", *members),
    )


def is_calibrated(model: Scorer) -> bool:
    """Whether validation bent the probabilities of all members."""
    if isinstance(model, AnomalyModel):
        return False
    return all(one.task.calibration is not None for one in model.members)


def _first(values: NDArray[np.float64], top: int) -> tuple[int, ...]:
    return tuple(int(index) for index in np.argsort(rank_by_attention(values))[:top])


def _explain(prediction: Prediction, volume: Volume, model: Ensemble, *, top: int) -> Explanation:
    """The explanation of the one model, or of several what their mean says."""
    if len(model.members) == 1:
        own = model.members[0].with_thresholds(model.thresholds)
        return explain_volume(volume, own, top=top)
    series = volume.series
    assert prediction.attention is not None
    shown = _first(prediction.attention, top)
    view = show_slices(volume, shown, window_hu=window_of(model.members[0]))
    label = max(prediction.probabilities, key=lambda name: prediction.probabilities[name])
    algorithm = name_algorithm(model)
    return Explanation(
        series_uid=series.series_uid, label=label, probability=prediction.probabilities[label],
        prediction=prediction.prediction, threshold=model.thresholds.get(label), axis=series.axis,
        unit=unit_of(series), positions=series.positions, attention=prediction.attention,
        slice_scores=prediction.slice_scores, class_attention=prediction.class_attention,
        sop_instance_uids=prediction.sop_instance_uids, top=shown, images=view.images, letters=view.letters,
        window_text=view.window_text, findings=prediction.findings, model_name=algorithm.name,
        model_digest=algorithm.digest,
    )


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
    places = explanation.places
    if places is None:
        return ()
    shown = list(explanation.shown)
    levels = resize_heat(torch.from_numpy(places.levels[shown]).float(), places.grid, size=places.placement.size)
    heat = dict(zip(shown, places.placement.invert(levels), strict=True))
    return (_place(heat, volume, kind="anomaly", label=places.method),)


def _place(heat: Mapping[int, Tensor], volume: Volume, *, kind: MapKind, label: str) -> SliceMaps:
    """Maps over slices as they are turned for display -> on the grid of the slices as stored, by slice index."""
    indices = sorted(heat)
    rows, columns = orient(volume.array[:1], volume.affine).shape[1:3]
    size = (min(rows, MOST_SIDE), min(columns, MOST_SIDE))
    turned = resize(torch.stack([heat[index] for index in indices]).float(), size).numpy()
    values = np.asarray(turn_back(turned, volume.affine), dtype=np.float32)
    return SliceMaps(kind=kind, indices=tuple(indices), values=values, label=label)
