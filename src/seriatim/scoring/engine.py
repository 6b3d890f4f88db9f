"""Score one series: read, prepare, predict. Whatever goes wrong becomes a row with a reason."""

from __future__ import annotations

import logging
import math
from dataclasses import replace
from time import perf_counter

from seriatim.errors import reason_of
from seriatim.io import read_volume
from seriatim.scoring.anomaly import predict_frames
from seriatim.series import Prediction, Series
from seriatim.series.prediction import Status
from seriatim.trained import AnomalyModel, Ensemble, Scorer

logger = logging.getLogger(__name__)


def score_one(series: Series, model: Scorer) -> Prediction:
    """The prediction for one discovered series; never raises for what is wrong with the series."""
    started = perf_counter()
    refusal = model.refuse(series)
    if refusal:
        return leave_unscored(series, "refused", refusal, seconds=perf_counter() - started)
    try:
        found = predict_frames(series, model) if isinstance(model, AnomalyModel) else _predict(series, model)
    except Exception as error:  # noqa: BLE001 - the boundary: one bad series must never stop the others
        logger.warning("series %s failed: %s", series.series_uid, type(error).__name__)
        reason = reason_of(error, files=series.files)
        return leave_unscored(series, "failed", reason, seconds=perf_counter() - started)
    seconds = perf_counter() - started
    if not all(math.isfinite(value) for value in found.probabilities.values()):
        return leave_unscored(series, "failed", "BAD_VALUE: the network's score is not a number.", seconds=seconds)
    return replace(found, seconds=seconds)


def _predict(series: Series, model: Ensemble) -> Prediction:
    task, scores = model.task, model.score(read_volume(series, limits=model.limits))
    notes = tuple(dict.fromkeys([*model.note(series), *scores.verdict.notes]))
    if scores.verdict.reason:
        told = leave_unscored(series, "refused", scores.verdict.reason)
        return replace(told, findings=notes, distance=scores.verdict.distance)
    per_slice = dict(zip(task.class_names, scores.slice_probabilities.T.numpy(), strict=True))
    probabilities, disagreement = scores.probabilities.numpy(), scores.disagreement.tolist()
    return Prediction(
        study_uid=series.study_uid,
        series_uid=series.series_uid,
        path=series.path,
        modality=series.modality,
        volume=series.volume,
        findings=notes,
        frames=tuple(instance.frame for instance in series.instances),
        status="scored",
        probabilities={name: float(value) for name, value in zip(task.class_names, probabilities, strict=True)},
        prediction=task.decide(probabilities, model.thresholds),
        prediction_set=model.tell_set(probabilities),
        distance=scores.verdict.distance,
        disagreement=dict(zip(task.class_names, disagreement, strict=True)) if disagreement else {},
        slices=len(series.instances),
        sop_instance_uids=tuple(instance.sop_instance_uid for instance in series.instances),
        positions=series.positions,
        attention=scores.attention.numpy(),
        class_attention=dict(zip(task.class_names, scores.class_attention.T.numpy(), strict=True))
        if model.attends_by_class else {},
        slice_scores=per_slice if task.scores_slices else {},
    )


def leave_unscored(series: Series, status: Status, reason: str, *, seconds: float = 0.0) -> Prediction:
    """The row of a series that has no score."""
    return Prediction(
        findings=tuple(dict.fromkeys(str(finding.code) for finding in series.findings)),
        study_uid=series.study_uid,
        series_uid=series.series_uid,
        path=series.path,
        modality=series.modality,
        volume=series.volume,
        status=status,
        reason=reason,
        seconds=seconds,
        slices=len(series.instances),
    )
