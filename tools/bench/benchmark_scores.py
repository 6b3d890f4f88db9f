"""Score tables of the benchmark: the columns of `seriatim score` that an evaluation reads, from stored embeddings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seriatim.experiment import Experiment
from seriatim.io.tables.outputs import make_folder, write_csv, write_json
from seriatim.series import Series
from seriatim.trained import load_model
from seriatim.training import held_out_series
from seriatim.training.dataset import PreparedSeries
from seriatim.training.embeddings import Embedder

Array = NDArray[Any]
_FOUND: dict[tuple[Path, str, str], list[Series]] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a model says of one series: ``probabilities`` (K,), ``attention`` (S,), ``slice_scores`` (S,K)."""

    probabilities: Array
    attention: Array
    slice_scores: Array


def score_held_out(experiment: Experiment, run: Path, folder: Path) -> None:
    """Score the series that a run left out, with the embeddings of the run's store: none is embedded twice."""
    model = load_model(run)
    prepared = PreparedSeries(experiment.preprocessing, cache=False, limits=model.limits)
    embedder = Embedder(model.network, prepared, model.experiment, augment=None)
    answers = []
    for series in _find_held_out(experiment):
        scores = model.read(embedder.embed_views(series))
        attention = np.asarray(scores.attention)
        answers.append((series, Answer(
            probabilities=np.asarray(scores.probabilities), slice_scores=np.asarray(scores.slice_probabilities),
            attention=attention if attention.ndim == 1 else attention.mean(axis=1),
        )))
    write_scores(folder, experiment, answers, thresholds=model.thresholds)


def _find_held_out(experiment: Experiment) -> list[Series]:
    """Found once for all models of the table: which series a fold holds does not depend on the model."""
    data = experiment.data
    key = (data.manifest, data.fold_column, str(data.fold))
    if key not in _FOUND:
        _FOUND[key] = held_out_series(experiment)
    return _FOUND[key]


def write_scores(folder: Path, experiment: Experiment, answers: Sequence[tuple[Series, Answer]], *,
                 thresholds: Mapping[str, float]) -> None:
    """Write scores.csv, slices.csv and, last, run.json."""
    settings, task = experiment.task, experiment.task.build()
    rows, slices = [], []
    for series, answer in answers:
        named = {"study_uid": series.study_uid, "series_uid": series.series_uid, "volume": series.volume}
        rows.append({**named, "path": series.path, "status": "scored", "split": "test",
                     **_columns("probability", task.class_names, answer.probabilities)})
        for index, instance in enumerate(series.instances):
            where = {"sop_instance_uid": instance.sop_instance_uid, "index": index,
                     "frame": "" if instance.frame is None else instance.frame, "attention": answer.attention[index]}
            shown = _columns("score", task.class_names, answer.slice_scores[index]) if task.scores_slices else {}
            slices.append({**named, **where, **shown})
    make_folder(folder)
    for name, table in (("scores.csv", rows), ("slices.csv", slices)):
        write_csv(folder / name, list(table[0]), table)
    write_json(folder / "run.json", {
        "task": {"kind": settings.kind, "target": settings.target, "labels": list(settings.labels),
                 "classes": list(task.class_names), "slice_labels": list(settings.slice_labels or settings.labels)},
        "thresholds": dict(thresholds),
    })


def _columns(prefix: str, names: tuple[str, ...], values: Array) -> dict[str, float]:
    return {f"{prefix}_{name}": float(value) for name, value in zip(names, values, strict=True)}
