"""What the training labels say before training: how much each class weighs, and in which units numbers are counted."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from seriatim.series.batch import IGNORE

Array = NDArray[Any]


def weigh_classes(labels: Array, *, classes: int) -> tuple[float, ...]:
    """N / (K n) of each of K classes with n of N labels (N,1), which are indices; 1 where a class never occurs."""
    counts = np.array([(labels == index).sum() for index in range(classes)])
    return _weights(counts.sum() / (classes * np.maximum(counts, 1)), counts)


def weigh_positives(labels: Array) -> tuple[float, ...]:
    """Negatives / positives of each output (N,K), of soft labels their shares; 1 where one of the two never occurs."""
    known = labels != IGNORE
    positives, negatives = np.where(known, labels, 0).sum(axis=0), np.where(known, 1 - labels, 0).sum(axis=0)
    return _weights(np.where(negatives > 0, negatives, 1) / np.where(positives > 0, positives, 1), positives)


def measure_spread(labels: Array) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each output's known numbers (N,K); 0 and 1 where they say nothing."""
    columns = [column[np.isfinite(column)] for column in np.where(labels == IGNORE, np.nan, labels).T]
    center = tuple(float(column.mean()) if len(column) else 0.0 for column in columns)
    scale = tuple(float(column.std()) if len(column) and np.ptp(column) > 0 else 1.0 for column in columns)
    return center, scale


def _weights(weights: Array, counts: Array) -> tuple[float, ...]:
    return tuple(float(weight) if count else 1.0 for weight, count in zip(weights, counts, strict=True))
