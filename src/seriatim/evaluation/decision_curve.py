"""Decision curves: what acting on the model is worth, beside acting on everyone and on no one."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]

THRESHOLDS = np.arange(1, 100) / 100


def net_benefit(labels: Array, probabilities: Array, thresholds: Array = THRESHOLDS) -> Array:
    """(T,) true positives less weighted false positives, per series (Vickers and Elkin 2006).

    ``labels`` (N,) of 0 and 1, ``probabilities`` (N,). At a threshold t who acts weighs a false positive as t / (1 - t)
    of a true one.
    """
    called = probabilities[None, :] >= thresholds[:, None]
    true = (called & (labels == 1)).mean(axis=1)
    false = (called & (labels == 0)).mean(axis=1)
    return np.asarray(true - false * thresholds / (1 - thresholds))


def net_benefit_of_all(labels: Array, thresholds: Array = THRESHOLDS) -> Array:
    """(T,) the net benefit of acting on everyone."""
    return net_benefit(labels, np.ones(len(labels)), thresholds)
