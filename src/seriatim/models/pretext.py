"""Heads that need no labels: which slices of a series were exchanged, and what a hidden one shows."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from seriatim.models.pooling import MaxPooling


class PretextHeads(nn.Module):
    """Linear heads on the context of a sequence model, used in pretraining and thrown away after it."""

    def __init__(self, embedding_size: int, context_size: int) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.zeros(embedding_size))
        self.picture = nn.Linear(context_size, embedding_size)
        self.slice_order = nn.Linear(context_size, 1)
        self.series_order = nn.Linear(context_size, 1)
        self.pool = MaxPooling()

    def hide(
        self, embeddings: Float[Tensor, "batch slices embedding"], hidden: Bool[Tensor, "batch slices"]
    ) -> Float[Tensor, "batch slices embedding"]:
        """``embeddings`` with one learnt vector in the place of every hidden slice (the [MASK] of Devlin 2019)."""
        return torch.where(hidden[..., None], self.token.to(embeddings.dtype), embeddings)

    def judge_order(
        self, context: Float[Tensor, "batch slices context"], mask: Bool[Tensor, "batch slices"]
    ) -> tuple[Float[Tensor, " batch"], Float[Tensor, "batch slices"]]:
        """Logits: were slices of this series exchanged, and is this slice one of them. Those of padding mean nothing.

        The series is judged by the largest of each feature over its slices: few slices are out of place.
        """
        pooled, _ = self.pool(context, mask)
        return self.series_order(pooled).squeeze(-1), self.slice_order(context).squeeze(-1)
