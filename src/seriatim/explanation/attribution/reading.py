"""The ways in which a model reads a series: what attributions are averaged over, and what subsets of slices give."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from seriatim.explanation.attribution.backward import evaluating
from seriatim.models.network import SequenceNetwork
from seriatim.tasks import DiagnosisTask

AT_ONCE = 4096
"""Slices that the sequence model reads at a time, over all subsets: memory does not grow with the series."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One network that reads the embeddings (S,E) of one series, from first to last, or ``turned`` from last to first.

    A model has one reading for each view of its ``test_time``, an ensemble those of all its members; their ``weight``s
    add up to 1. What is explained is the mean of their logits: then attributions are means over the readings too,
    whatever the method.
    """

    network: SequenceNetwork
    task: DiagnosisTask
    embeddings: Tensor
    turned: bool = False
    weight: float = 1.0

    def logits(self, embeddings: Tensor) -> Tensor:
        """(B,S,E) in the order of the series -> (B,K) logits, with a gradient where there is one."""
        given = embeddings.flip(1) if self.turned else embeddings
        mask = torch.ones(given.shape[:2], dtype=torch.bool, device=given.device)
        return self.network.read(given, mask).volume_logits

    def logits_of_subsets(self, keep: Tensor) -> Tensor:
        """Logits of the series without some of its slices: ``keep`` (B,S) bool -> (B,K), on the CPU in float64.

        The slices left out are not masked but gone: the sequence model reads a shorter series. Each row keeps a slice.
        """
        embeddings, keep = self.embeddings, keep.to(self.embeddings.device)
        if self.turned:
            embeddings, keep = embeddings.flip(0), keep.flip(1)
        rows = max(1, AT_ONCE // len(embeddings))
        by_size = torch.argsort(keep.sum(dim=1))  # subsets of one length need no padding
        with evaluating(self.network), torch.inference_mode():
            found = [self._read_subsets(embeddings, part) for part in torch.split(keep[by_size], rows)]
            logits = torch.cat(found)
            return torch.empty_like(logits).index_copy_(0, by_size, logits).double().cpu()

    def _read_subsets(self, embeddings: Tensor, keep: Tensor) -> Tensor:
        counts = keep.sum(dim=1)
        longest = int(counts.max())
        places = torch.argsort((~keep).int(), dim=1, stable=True)[:, :longest]
        mask = torch.arange(longest, device=keep.device) < counts[:, None]
        return self.network.read(embeddings[places], mask).volume_logits


def read_ways(
    network: SequenceNetwork, task: DiagnosisTask, views: Sequence[Tensor], *, reverse_order: bool, weight: float = 1.0
) -> list[Reading]:
    """The readings of one model: of each view (S,E), and with ``reverse_order`` also of each from last to first."""
    device, share = next(network.parameters()).device, weight / len(views) / (2 if reverse_order else 1)
    ways = [Reading(network=network, task=task, embeddings=view.to(device).clone(), weight=share) for view in views]
    return ways + ([replace(one, turned=True) for one in ways] if reverse_order else [])


def average(readings: Sequence[Reading], look: Callable[[Reading], Tensor]) -> Tensor:
    """The weighted mean over readings of what ``look`` gives of one."""
    total = sum(one.weight for one in readings)
    return torch.stack([look(one) * (one.weight / total) for one in readings]).sum(dim=0)


def read_subsets(readings: Sequence[Reading], keep: Tensor) -> Tensor:
    """The probabilities (of regression: values) of subsets of the slices, ``keep`` (B,S) -> (B,K), as scoring has them.

    Those of the readings are averaged; they are not calibrated.
    """
    return average(readings, lambda one: one.task.probabilities(one.logits_of_subsets(keep)))
