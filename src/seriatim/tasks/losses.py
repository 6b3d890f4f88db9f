"""Losses over what is known: IGNORE and padding never count, and nothing known is a zero that still has a graph."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from seriatim.series.batch import IGNORE


def yes_no_loss(
    logits: Tensor, labels: Tensor, known: Tensor, *, weights: Tensor | None = None, smoothing: float = 0.0
) -> Tensor:
    """Binary cross-entropy, mean over the known entries; all (..., K). ``weights`` (K,) multiply positive labels."""
    soft = torch.where(known, labels, 0.0) * (1.0 - smoothing) + smoothing / 2
    losses = functional.binary_cross_entropy_with_logits(logits, soft, pos_weight=weights, reduction="none")
    return _mean_of_known(losses, known)


def class_loss(
    logits: Tensor, classes: Tensor, known: Tensor, *, weights: Tensor | None = None, smoothing: float = 0.0
) -> Tensor:
    """Cross-entropy of ``logits`` (N,K) and class indices (N,), mean over the known, weighted by the class's weight."""
    indices = torch.where(known, classes, 0.0).long()
    losses = functional.cross_entropy(
        logits, indices, weight=weights, reduction="none", label_smoothing=smoothing
    )  # torch already multiplied each by its class's weight
    share = known.to(losses.dtype) if weights is None else known * weights[indices]
    return torch.where(known, losses, 0.0).sum() / share.sum().clamp(min=torch.finfo(losses.dtype).tiny)


def number_loss(logits: Tensor, labels: Tensor, known: Tensor, *, scale: Tensor) -> Tensor:
    """Smooth L1 (Huber with delta 1) of the error in units of ``scale`` (K,), mean over the known; all (..., K)."""
    error = (logits - torch.where(known, labels, 0.0)) / scale
    return _mean_of_known(functional.smooth_l1_loss(error, torch.zeros_like(error), reduction="none"), known)


def attention_loss(attention: Tensor, slice_labels: Tensor, mask: Tensor) -> Tensor:
    """-log of the attention (B,S) on slices with a finding, mean over the series in which one is labelled.

    ``slice_labels`` (B,S,K) are 1, 0 or IGNORE; a slice of which nothing is known may hold attention at no cost.
    """
    positive = (slice_labels == 1).any(dim=2) & mask
    allowed = positive | ((slice_labels == IGNORE).all(dim=2) & mask)
    on_them = (attention * allowed).sum(dim=1).clamp(min=1e-6)
    return _mean_of_known(-on_them.log(), positive.any(dim=1))


def _mean_of_known(losses: Tensor, known: Tensor) -> Tensor:
    return torch.where(known, losses, 0.0).sum() / known.sum().clamp(min=1)
