"""Reliability: of the series given a probability, how many are positive?"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]

SERIES_PER_BIN = 12
FEWEST_BINS, MOST_BINS = 3, 8


def reliability_bins(labels: Array, probabilities: Array) -> tuple[Array, Array, Array]:
    """Mean probability, hits and count of each bin, (M,) each: bins of about equally many series, ties together."""
    count = int(np.clip(len(labels) // SERIES_PER_BIN, FEWEST_BINS, MOST_BINS))
    edges = np.unique(np.quantile(probabilities, np.linspace(0, 1, count + 1)[1:-1])) if len(labels) else np.zeros(0)
    place = np.searchsorted(edges, probabilities, side="right")
    found = np.unique(place)
    inside = [place == one for one in found]
    return (
        np.array([probabilities[one].mean() for one in inside]),
        np.array([labels[one].sum() for one in inside]),
        np.array([one.sum() for one in inside]),
    )


def calibration_error(labels: Array, probabilities: Array) -> float:
    """The expected calibration error: the mean distance of probability and share positive over the bins, by series.

    Naeini, Cooper and Hauskrecht 2015, with bins of equally many series. With few series it is above 0 by chance alone.
    nan without a series.
    """
    if not len(labels):
        return float("nan")
    given, hits, counts = reliability_bins(labels, probabilities)
    return float((counts * np.abs(given - hits / counts)).sum() / counts.sum())
