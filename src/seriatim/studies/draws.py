"""Several evaluations of the same test series, by models of other draws, as one figure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from seriatim.evaluation import Clusters, Estimate, Evaluation
from seriatim.evaluation.intervals import bootstrap
from seriatim.tasks import metrics

Array: TypeAlias = NDArray[Any]
Metric = Callable[[Array, Array], float]


def average_draws(evaluations: Sequence[Evaluation]) -> tuple[dict[str, Estimate], dict[str, list[float]]]:
    """AUC (or mean absolute error) as a mean over the draws with its interval, and the value of each draw; by metric.

    The series that every draw scored are resampled by patient, all draws of a series together: the interval says what
    other test patients would change, the values what other draws do. Of several files (folds), also the mean of each
    one's own AUC: models of few labels score on different scales.
    """
    labels, scores, files, clusters = _align(evaluations)
    question = evaluations[0].question
    regression = question.target == "regression"
    name = "mae" if regression else "auc" if len(question.classes) == 1 else "auc_macro"
    metric: Metric = metrics.mean_absolute_error if regression else metrics.roc_auc
    parts = {name: np.zeros(len(files), dtype=int)}
    if len(np.unique(files)) > 1 and not regression:
        parts[f"{name}_mean_of_folds"] = files
    estimates, draws = {}, {}
    for key, part in parts.items():
        each = [_of_index(metric, labels, own, part) for own in scores]
        draws[key] = [statistic(np.arange(len(files))) for statistic in each]
        own = evaluations[0].measures.get(key)  # of one draw, the interval that evaluate gives
        estimates[key] = own if len(each) == 1 and own is not None else bootstrap(_mean_of(each), clusters)
    return estimates, draws


def _align(evaluations: Sequence[Evaluation]) -> tuple[Array, list[Array], Array, Clusters]:
    """The series that every draw scored: labels (N,K), the scores (N,K) of each draw, the file (N,), and whose."""
    places = [{one.joined.pairs[row].row: place for place, row in enumerate(one.samples.rows)} for one in evaluations]
    rows = [row for row in places[0] if all(row in own for own in places)]
    first = evaluations[0].samples.take(np.array([places[0][row] for row in rows], dtype=int))
    scores = [one.samples.scores[[own[row] for row in rows]] for one, own in zip(evaluations, places, strict=True)]
    return first.labels, scores, first.files, first.clusters


def _of_index(metric: Metric, labels: Array, scores: Array, part: Array) -> Callable[[Array], float]:
    """The metric of a selection: its mean over the classes, each where its label is known, and over the parts."""
    columns, every = range(labels.shape[1]), np.unique(part)

    def measure(index: Array) -> float:
        values = []
        for one in every:
            inside = index[part[index] == one]
            for column in columns:
                known = inside[~np.isnan(labels[inside, column])]
                values.append(metric(labels[known, column], scores[known, column]))
        return float(np.mean(values))

    return measure


def _mean_of(statistics: Sequence[Callable[[Array], float]]) -> Callable[[Array], float]:
    return lambda index: float(np.mean([statistic(index) for statistic in statistics]))
