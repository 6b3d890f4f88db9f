"""Mixup of series: embeddings and losses of two series, mixed in one share.

Mixup (Zhang et al. 2018, arXiv:1710.09412) where the encoder ends, as in manifold mixup (Verma et al. 2019,
arXiv:1806.05236). Series differ in length: the shorter of two is stretched to the longer by relative place, its slices
repeated and never blended with one another, so that no slice of either is lost and each keeps its label.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from seriatim.models import SequenceNetwork
from seriatim.series.batch import SliceBatch
from seriatim.tasks import DiagnosisTask
from seriatim.tasks.objective import WHOLE


def mixed_loss(
    network: SequenceNetwork, task: DiagnosisTask, embeddings: Tensor, batch: SliceBatch,
    shares: Mapping[str, float] = WHOLE,
) -> dict[str, Tensor]:
    """The losses of each series mixed with the next of the batch: ``batch.mixing`` times those by its own labels, and
    the rest times those by the labels of the other. ``embeddings`` (B,S,E) are the batch's own, ``shares`` as of
    ``DiagnosisTask.loss``.
    """
    share = batch.mixing
    one, other = pair_up(replace(batch, slices=None, embeddings=embeddings.float()))
    assert one.embeddings is not None
    assert other.embeddings is not None
    output = network.read(share * one.embeddings + (1 - share) * other.embeddings, one.mask)
    own, others = task.loss(output, one, shares), task.loss(output, other, shares)
    return {name: share * value + (1 - share) * others[name] for name, value in own.items()}


def pair_up(batch: SliceBatch) -> tuple[SliceBatch, SliceBatch]:
    """Each series, and the next of the batch (after the last the first), both as long as the longer of the two."""
    counts = batch.mask.sum(dim=1)
    length = torch.maximum(counts, counts.roll(-1))
    return _stretch(batch, length), _stretch(_turn(batch), length)


def _turn(batch: SliceBatch) -> SliceBatch:
    assert batch.embeddings is not None
    return replace(
        batch, mask=batch.mask.roll(-1, 0), positions=batch.positions.roll(-1, 0), labels=batch.labels.roll(-1, 0),
        slice_labels=batch.slice_labels.roll(-1, 0), keys=batch.keys[1:] + batch.keys[:1],
        embeddings=batch.embeddings.roll(-1, 0),
    )  # fmt: skip


def _stretch(batch: SliceBatch, length: Tensor) -> SliceBatch:
    """The series with ``length`` (B,) slices, none shorter than it was: each slice is that at its relative place."""
    assert batch.embeddings is not None
    counts, places = batch.mask.sum(dim=1), torch.arange(batch.mask.shape[1], device=batch.mask.device)
    source = ((2 * places + 1) * counts[:, None]) // (2 * length[:, None])
    source = torch.minimum(source, counts[:, None] - 1)
    rows = torch.arange(len(counts), device=source.device)[:, None]
    return replace(
        batch, mask=places < length[:, None], positions=batch.positions[rows, source],
        slice_labels=batch.slice_labels[rows, source], embeddings=batch.embeddings[rows, source],
    )  # fmt: skip
