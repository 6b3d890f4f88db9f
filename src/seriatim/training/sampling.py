"""Which slices a training sample shows, and in which order: functions of its seed, so that a resume draws alike."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seriatim.experiment import LoopSettings
from seriatim.tasks.labels import HALF

Array = NDArray[Any]
DROP, TURN, MIX = 2, 3, 4
"""What each draw is for; with the sample's seed it seeds the draw, so that one does not change another."""


def choose_slices(slice_labels: Array, settings: LoopSettings, seed: int) -> Tensor:
    """Indices of the slices of a sample, in the order in which the network reads them.

    ``slice_labels`` (S,K) are those of the whole series, IGNORE where not known.
    """
    chosen = sample_slices(len(slice_labels), settings.max_slices, seed)
    if settings.slice_dropout:
        generator = np.random.default_rng((seed, DROP))
        chosen = chosen[leave_out(slice_labels[chosen.numpy()], settings.slice_dropout, generator)]
    turns = np.random.default_rng((seed, TURN)).random() < settings.reverse_order
    return chosen.flip(0) if turns else chosen


def draw_mixing(settings: LoopSettings, seed: int) -> float:
    """The share of a series beside that of its partner in mixup; 1 where there is none."""
    if not settings.mixup:
        return 1.0
    return float(np.random.default_rng((seed, MIX)).beta(settings.mixup, settings.mixup))


def sample_slices(count: int, most: int, seed: int) -> Tensor:
    """Ascending slice indices: all, or one at random from each of ``most`` equal stretches."""
    if count <= most:
        return torch.arange(count)
    edges = np.arange(most + 1) * count // most
    return torch.from_numpy(np.random.default_rng(seed).integers(edges[:-1], edges[1:]))


def leave_out(slice_labels: Array, share: float, generator: np.random.Generator) -> Tensor:
    """Ascending indices of the slices (S,K) that stay, each left out with the probability ``share``.

    One slice stays at least, and one of those labelled with each finding: else the series' label would speak of what
    is not there.
    """
    luck = generator.random(len(slice_labels))
    kept = luck >= share
    for needed in (np.ones(len(luck), dtype=bool), *(slice_labels >= HALF).T):
        if needed.any() and not kept[needed].any():
            kept[np.where(needed, luck, -1.0).argmax()] = True
    return torch.from_numpy(np.flatnonzero(kept))
