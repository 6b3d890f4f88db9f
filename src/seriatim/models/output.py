"""SequenceOutput: what every network returns."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class SequenceOutput:
    """The one forward contract: ``network(slices, mask) -> SequenceOutput``.

    ``embeddings`` (B,S,E) and ``context`` (B,S,F), zero on padding; ``volume_logits`` (B,K); ``slice_logits`` (B,S,K);
    ``attention`` (B,S), which sums to 1 over real slices and is exactly 0 on padding. Where each output pools by
    itself, ``class_attention`` (B,S,K) does so for each, and ``attention`` is its mean over the outputs; else None.
    """

    embeddings: Tensor
    context: Tensor
    volume_logits: Tensor
    slice_logits: Tensor
    attention: Tensor
    class_attention: Tensor | None = None
