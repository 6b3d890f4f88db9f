"""Score one series: read, prepare, predict. Whatever goes wrong becomes a row with a reason."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from concurrent.futures import CancelledError
from dataclasses import dataclass, replace
from time import perf_counter
from typing import TypeAlias, TypeVar

from torch import Tensor

from seriatim.errors import reason_of
from seriatim.io import read_volume
from seriatim.io.isolation.limits import StoppedError
from seriatim.scoring.anomaly import predict_frames
from seriatim.series import Prediction, Series
from seriatim.series.prediction import Status
from seriatim.trained import AnomalyModel, Ensemble, Scorer
from seriatim.trained.ensemble import AnySeries

logger = logging.getLogger(__name__)
Result = TypeVar("Result")
Mark: TypeAlias = Callable[[str], None]
"""Told the name of each step when it is done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadySeries:
    """A series that was read and prepared, and now needs the network; ``seconds`` is the time it took so far."""

    series: Series
    prepared: Tensor | tuple[AnySeries, ...]
    seconds: float


def score_one(series: Series, model: Scorer) -> Prediction:
    """The prediction for one discovered series; never raises for what is wrong with the series."""
    found = refuse_one(series, model) or prepare_one(series, model)
    return found if isinstance(found, Prediction) else finish_one(found, model)


def refuse_one(series: Series, model: Scorer) -> Prediction | None:
    """The row of a series that the model must not score, by its headers; None where it may."""
    refusal = _guard(series, lambda: model.refuse(series), started=perf_counter())
    if isinstance(refusal, Prediction):
        return refusal
    return leave_unscored(series, "refused", refusal) if refusal else None


def prepare_one(series: Series, model: Scorer, mark: Mark | None = None) -> ReadySeries | Prediction:
    """A series read and prepared, or its row where that failed."""
    started = perf_counter()

    def prepare() -> ReadySeries:
        volume = read_volume(series, limits=model.limits)
        if mark is not None:
            mark("read")
        prepared = model.prepare(volume)
        if mark is not None:
            mark("prepare")
        return ReadySeries(series=series, prepared=prepared, seconds=perf_counter() - started)

    return _guard(series, prepare, started=started)


def finish_one(ready: ReadySeries, model: Scorer) -> Prediction:
    """The prediction for a series that is ready, or the row that says why there is none."""
    started = perf_counter() - ready.seconds

    def finish() -> Prediction:
        found = _predict(ready, model)
        if not all(math.isfinite(value) for value in found.probabilities.values()):
            found = leave_unscored(ready.series, "failed", "BAD_VALUE: the network's score is not a number.")
        return replace(found, seconds=perf_counter() - started)

    return _guard(ready.series, finish, started=started)


def _guard(series: Series, work: Callable[[], Result], *, started: float) -> Result | Prediction:
    """What ``work`` gives, or the row of a series with which it failed."""
    try:
        return work()
    except (StoppedError, CancelledError):  # nothing is wrong with the series
        raise
    except Exception as error:  # noqa: BLE001 - the boundary: one bad series must never stop the others
        logger.warning("series %s failed: %s", series.series_uid, type(error).__name__)
        reason = reason_of(error, files=series.files)
        return leave_unscored(series, "failed", reason, seconds=perf_counter() - started)


def _predict(ready: ReadySeries, model: Scorer) -> Prediction:
    if isinstance(model, AnomalyModel):
        assert isinstance(ready.prepared, Tensor)
        return predict_frames(ready.series, ready.prepared, model)
    assert not isinstance(ready.prepared, Tensor)
    return _diagnose(ready.series, ready.prepared, model)


def _diagnose(series: Series, prepared: tuple[AnySeries, ...], model: Ensemble) -> Prediction:
    task, scores = model.task, model.score(prepared)
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
