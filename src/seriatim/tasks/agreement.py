"""The metrics of one validation: how well the probabilities of all classes agree with their labels, as named numbers.

A metric that the data cannot answer is left out. ``columns`` maps an output's name to its known labels and scores.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from seriatim.tasks import metrics

Array: TypeAlias = NDArray[Any]
Columns: TypeAlias = Mapping[str, tuple[Array, Array]]


def agree_yes_no(columns: Columns) -> dict[str, float]:
    """Means over the outputs of auc, average_precision, log_loss, and accuracy and balanced_accuracy at 0.5."""
    called = [(labels, (scores >= 0.5).astype(float)) for labels, scores in columns.values()]
    accuracy = _mean([float((labels == call).mean()) for labels, call in called if len(labels)])
    balanced = _mean([metrics.balanced_accuracy(labels, call) for labels, call in called])
    loss = _mean([_surprise(np.where(labels == 1, scores, 1 - scores)) for labels, scores in columns.values()])
    return _known({**_rank(columns), "log_loss": loss, "accuracy": accuracy, "balanced_accuracy": balanced})


def agree_classes(labels: Array, probabilities: Array, *, names: Sequence[str]) -> dict[str, float]:
    """The same for one of several classes: (N,) indices and (N,K) probabilities; auc is one class against the rest."""
    against_rest = {name: ((labels == index) * 1.0, probabilities[:, index]) for index, name in enumerate(names)}
    called = probabilities.argmax(axis=1)
    accuracy = _mean((labels == called).astype(float).tolist())
    balanced = metrics.balanced_accuracy(labels, called)
    loss = _surprise(probabilities[np.arange(len(labels)), labels])
    return _known({**_rank(against_rest), "log_loss": loss, "accuracy": accuracy, "balanced_accuracy": balanced})


def agree_numbers(columns: Columns) -> dict[str, float]:
    """The errors mae and rmse: means over the outputs, and each one's mae."""
    mae = {name: metrics.mean_absolute_error(labels, values) for name, (labels, values) in columns.items()}
    rmse = [metrics.root_mean_squared_error(labels, values) for labels, values in columns.values()]
    return _known({"mae": _mean(list(mae.values())), "rmse": _mean(rmse), **_each("mae", mae)})


def _rank(columns: Columns) -> dict[str, float]:
    auc = {name: metrics.roc_auc(labels, scores) for name, (labels, scores) in columns.items()}
    precision = [metrics.average_precision(labels, scores) for labels, scores in columns.values()]
    return {"auc": _mean(list(auc.values())), "average_precision": _mean(precision), **_each("auc", auc)}


def _each(metric: str, values: Mapping[str, float]) -> dict[str, float]:
    return {f"{metric}_{name}": value for name, value in values.items()} if len(values) > 1 else {}


def _surprise(probability_of_truth: Array) -> float:
    """Mean -log p of what was true."""
    return float(-np.log(np.clip(probability_of_truth, 1e-12, 1)).mean()) if len(probability_of_truth) else float("nan")


def _mean(values: Sequence[float]) -> float:
    finite = [value for value in values if np.isfinite(value)]
    return float(np.mean(finite)) if finite else float("nan")


def _known(found: Mapping[str, float]) -> dict[str, float]:
    return {name: value for name, value in found.items() if np.isfinite(value)}
