"""SliceBatch: the plain tensors of one step. (The only file of this room that imports torch; import it by its path.)"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

IGNORE = -100.0
"""The label value that means "not known": it never enters a loss or a metric."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceBatch:
    """B series padded to the longest of them.

    ``slices`` (B,S,C,H,W) float in [0,1], or ``embeddings`` (B,S,E) instead where they are cached (two-stage);
    ``mask`` bool (B,S), True = real slice; ``positions`` (B,S) mm or s; ``labels`` (B,K) float, for multi-class (B,1)
    the class index; ``slice_labels`` (B,S,K) float; IGNORE marks what is not known. ``keys`` are the series keys.
    ``mixing`` is the share of each series in mixup with the next one of the batch; 1 where they are not mixed.
    """

    mask: Tensor
    positions: Tensor
    labels: Tensor
    slice_labels: Tensor
    keys: tuple[str, ...]
    slices: Tensor | None = None
    embeddings: Tensor | None = None
    mixing: float = 1.0

    def __post_init__(self) -> None:
        if (self.slices is None) == (self.embeddings is None):
            raise ValueError("A SliceBatch holds either slices or embeddings.")
        if self.mask.dtype != torch.bool or self.mask.ndim != 2 or not bool(self.mask.any(dim=1).all()):
            raise ValueError("mask must be bool (B,S) with at least one real slice per series.")

    def to(self, device: torch.device) -> SliceBatch:
        """The same batch on another device."""
        return replace(
            self, mask=self.mask.to(device), positions=self.positions.to(device), labels=self.labels.to(device),
            slice_labels=self.slice_labels.to(device),
            slices=None if self.slices is None else self.slices.to(device),
            embeddings=None if self.embeddings is None else self.embeddings.to(device),
        )  # fmt: skip
