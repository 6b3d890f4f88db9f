"""Reliability: of the series given a probability, how many are positive?"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]

SERIES_PER_BIN = 12
FEWEST_BINS, MOST_BINS = 3, 8


def place_in_bins(probabilities: Array) -> list[Array]:
    """The indices of the series of each bin, from low to high: about equally many in each, ties together."""
    count = int(np.clip(len(probabilities) // SERIES_PER_BIN, FEWEST_BINS, MOST_BINS))
    places = np.linspace(0, 1, count + 1)[1:-1]
    edges = np.unique(np.quantile(probabilities, places)) if len(probabilities) else np.zeros(0)
    place = np.searchsorted(edges, probabilities, side="right")
    return [np.flatnonzero(place == one) for one in np.unique(place)]


def calibration_error(labels: Array, probabilities: Array) -> float:
    """The expected calibration error: the mean distance of probability and share positive over the bins, by series.

    Naeini, Cooper and Hauskrecht 2015, with bins of equally many series. With few series it is above 0 by chance alone.
    nan without a series.
    """
    if not len(labels):
        return float("nan")
    gaps = [abs(float((probabilities[index] - labels[index]).sum())) for index in place_in_bins(probabilities)]
    return sum(gaps) / len(labels)
