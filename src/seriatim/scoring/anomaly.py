"""Score series with an anomaly model: frames, events, and one score for the whole."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from seriatim.scoring.frozen import FROZEN, is_frozen
from seriatim.series import Prediction, Series
from seriatim.tasks.anomaly import FrameScores
from seriatim.tasks.normality import z_of_surprise
from seriatim.trained.anomaly import AnomalyModel


def predict_frames(series: Series, slices: Tensor, model: AnomalyModel) -> Prediction:
    """The prediction for one series that the model does not refuse, from its slices (S,C,H,W) as the network sees them.

    Raises what scoring raises.
    """
    found = describe_frames(series, model, model.score(slices, series))
    frozen = series.axis == "time" and is_frozen(slices)
    return replace(found, findings=(*found.findings, FROZEN)) if frozen else found


def describe_frames(series: Series, model: AnomalyModel, scores: FrameScores) -> Prediction:
    """The prediction that frame scores make.

    Attention is each frame's share of the sequence's surprise (even where there is none), since a prediction has to say
    which frames its score comes from.
    """
    name = model.task.class_names[0]
    return Prediction(
        study_uid=series.study_uid,
        series_uid=series.series_uid,
        path=series.path,
        modality=series.modality,
        volume=series.volume,
        findings=model.note(series),
        frames=tuple(instance.frame for instance in series.instances),
        status="scored",
        probabilities={name: scores.level},
        prediction=model.task.decide([scores.level], model.thresholds),
        slices=len(series.instances),
        sop_instance_uids=tuple(instance.sop_instance_uid for instance in series.instances),
        positions=series.positions,
        attention=_share(scores.surprise),
        slice_scores={name: scores.levels},
        slice_details=detail_frames(scores),
        duration_s=series.duration_s,
        events=tuple((one.start, one.stop, one.peak, float(scores.levels[one.peak])) for one in scores.events),
    )


def detail_columns(model: AnomalyModel) -> tuple[str, ...]:
    """The names of ``detail_frames``, in order."""
    assert model.task.norms is not None
    return ("z", "p_value", "event", *(f"surprise_{name}" for name in model.task.norms.parts))


def detail_frames(scores: FrameScores) -> dict[str, NDArray[np.float64]]:
    """What ``slices.csv`` says of each frame beside its score: its p-value among normal frames, that as a number of
    standard deviations, the number of its event (from 1; 0 outside), and -log p by each part (NaN: nothing said).
    """
    event = np.zeros(len(scores.surprise))
    for number, one in enumerate(scores.events, start=1):
        event[one.start : one.stop] = number
    return {
        "z": z_of_surprise(scores.surprise), "p_value": np.exp(-scores.surprise), "event": event,
        **{f"surprise_{name}": values for name, values in scores.parts.items()},
    }


def _share(surprise: NDArray[np.float64]) -> NDArray[np.float64]:
    total = float(surprise.sum())
    return surprise / total if total > 0 else np.full(len(surprise), 1 / len(surprise))
