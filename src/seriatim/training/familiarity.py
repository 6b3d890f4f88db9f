"""Learning what is familiar: the embeddings of training, and a threshold from series measured as if they were new."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from seriatim.trained.familiarity import Familiarity, Points, kth_distance, limit_distances

LEAST_PATIENTS = 10
"""Of fewer, no distance says what is foreign."""
LEAST_HELD_OUT = 8
"""Validation series from which a limit of their own can be told."""
MOST_POINTS = 5000
"""Series whose embeddings are kept; of more, every so many-th."""


def learn_familiarity(
    points: Points, *, patients: Sequence[str], held_out: Points, false_refusals: float
) -> Familiarity | None:
    """What is familiar to a model whose training series have the mean directions ``points`` (N,E).

    The threshold is the larger of two limits: that of training series, each measured against the other patients' alone,
    and that of validation, ``held_out`` (V,E), which a trained encoder never saw.

    Returns:
        None where training holds fewer than LEAST_PATIENTS patients.
    """
    if len(set(patients)) < LEAST_PATIENTS:
        return None
    step = -(-len(points) // MOST_POINTS)
    points, owners = points[::step], np.array(patients)[::step]
    left_out = [
        kth_distance(np.linalg.norm(points[owners != owner] - point, axis=1))
        for point, owner in zip(points, owners, strict=True)
    ]
    threshold = limit_distances(left_out, false_refusals=false_refusals)
    if len(held_out) >= LEAST_HELD_OUT:
        unseen = [kth_distance(np.linalg.norm(points - point, axis=1)) for point in held_out]
        threshold = max(threshold, limit_distances(unseen, false_refusals=false_refusals))
    return Familiarity(points=points, threshold=max(threshold, 1e-6))
