"""Losses over what is known: IGNORE and padding never count, and nothing known is a zero that still has a graph."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from seriatim.series.batch import IGNORE
from seriatim.tasks.labels import HALF


@dataclass(frozen=True, slots=True, kw_only=True)
class Emphasis:
    """What counts how much in a loss of yes and no, or of classes.

    ``weights`` (K,) multiply positive labels, or the loss of each class; ``smoothing`` moves labels that share of the
    way to even odds. ``focal_gamma`` is the exponent of focal loss (Lin et al. 2017, equation 4): an answer wrong by d
    counts d ** focal_gamma as much. For labels that are not 0 or 1, d is their distance to the probability (Li et al.
    2020, Generalized Focal Loss, equation 4).
    """

    weights: Tensor | None = None
    smoothing: float = 0.0
    focal_gamma: float = 0.0


EVEN = Emphasis()


def yes_no_loss(logits: Tensor, labels: Tensor, known: Tensor, *, emphasis: Emphasis = EVEN) -> Tensor:
    """Binary cross-entropy, mean over the known entries; all (..., K). ``labels`` are 0, 1, or soft between them."""
    soft = torch.where(known, labels, 0.0) * (1.0 - emphasis.smoothing) + emphasis.smoothing / 2
    losses = functional.binary_cross_entropy_with_logits(logits, soft, pos_weight=emphasis.weights, reduction="none")
    if emphasis.focal_gamma:
        losses = losses * _raise((soft - logits.sigmoid()).abs(), emphasis.focal_gamma)
    return _mean_of_known(losses, known)


def class_loss(logits: Tensor, classes: Tensor, known: Tensor, *, emphasis: Emphasis = EVEN) -> Tensor:
    """Cross-entropy of ``logits`` (N,K) and class indices (N,), mean over the known, weighted by the class's weight."""
    indices = torch.where(known, classes, 0.0).long()
    weights, outputs = emphasis.weights, logits.shape[1]
    soft = functional.one_hot(indices, outputs) * (1.0 - emphasis.smoothing) + emphasis.smoothing / outputs
    surprise = -logits.log_softmax(dim=1)
    if emphasis.focal_gamma:
        surprise = surprise * _raise(1 - logits.softmax(dim=1), emphasis.focal_gamma)
    losses = (soft * surprise * (1.0 if weights is None else weights)).sum(dim=1)
    share = known.to(losses.dtype) if weights is None else known * weights[indices]
    return torch.where(known, losses, 0.0).sum() / share.sum().clamp(min=torch.finfo(losses.dtype).tiny)


def number_loss(logits: Tensor, labels: Tensor, known: Tensor, *, scale: Tensor) -> Tensor:
    """Smooth L1 (Huber with delta 1) of the error in units of ``scale`` (K,), mean over the known; all (..., K)."""
    error = (logits - torch.where(known, labels, 0.0)) / scale
    return _mean_of_known(functional.smooth_l1_loss(error, torch.zeros_like(error), reduction="none"), known)


def attention_loss(attention: Tensor, slice_labels: Tensor, mask: Tensor) -> Tensor:
    """-log of the attention (B,S) on slices with a finding, mean over the series in which one is labelled.

    ``slice_labels`` (B,S,K) are 0 to 1, a finding from 0.5 on, or IGNORE; a slice of which nothing is known may hold
    attention at no cost. An attention (B,S,K) of each finding is drawn to that finding's own slices.
    """
    found, unknown = slice_labels >= HALF, slice_labels == IGNORE
    if attention.ndim == 2:
        attention, found, unknown = attention[..., None], found.any(2, keepdim=True), unknown.all(2, keepdim=True)
    real = mask[..., None]
    on_them = (attention * ((found | unknown) & real)).sum(dim=1).clamp(min=1e-6)
    return _mean_of_known(-on_them.log(), (found & real).any(dim=1))


def drawn_series(slice_labels: Tensor, mask: Tensor) -> Tensor:
    """(B,K): of which series, and by which finding, attention is drawn."""
    return ((slice_labels >= HALF) & mask[..., None]).any(dim=1)


def _raise(errors: Tensor, power: float) -> Tensor:
    """``errors ** power``, whose gradient stays finite at an error of 0."""
    return errors.clamp(min=1e-6) ** power


def _mean_of_known(losses: Tensor, known: Tensor) -> Tensor:
    return torch.where(known, losses, 0.0).sum() / known.sum().clamp(min=1)
