"""Pooling: context of all slices in, one vector per series out, with the weight every slice had in it."""

from abc import ABC, abstractmethod
from typing import Literal

import torch
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor, nn

from seriatim.models.masks import count_slices
from seriatim.settings import Settings


class Pooling(nn.Module, ABC):
    """``forward(context (B,S,F), mask (B,S)) -> pooled (B,F), attention (B,S)``.

    Attention is float32 in any precision, sums to 1 over real slices and is exactly 0 on padding. What pools for each
    of K outputs by itself gives (B,K,F) and (B,S,K).
    """

    @abstractmethod
    def forward(
        self, context: Float[Tensor, "batch slices context"], mask: Bool[Tensor, "batch slices"]
    ) -> tuple[Float[Tensor, "batch *outputs context"], Float[Tensor, "batch slices *outputs"]]:
        """Pooled context, and the attention that explains it."""


class AttentionSettings(Settings):
    """Gated attention: Ilse, Tomczak and Welling 2018, equation 9."""

    kind: Literal["attention"] = "attention"
    hidden: int = Field(default=64, ge=1)
    """Units of the two gates."""
    per_class: bool = False
    """Attend for each output by itself, since each finding has slices of its own (class-specific attention, as in
    CLAM: Lu et al. 2021)."""

    def build(self, context_size: int, *, bidirectional: bool, outputs: int) -> "Pooling":  # noqa: ARG002
        if self.per_class:
            return ClassAttention(context_size, hidden=self.hidden, outputs=outputs)
        return GatedAttention(context_size, hidden=self.hidden)


class MeanSettings(Settings):
    """The mean over real slices; attention is uniform."""

    kind: Literal["mean"] = "mean"

    def build(self, context_size: int, *, bidirectional: bool, outputs: int) -> "MeanPooling":  # noqa: ARG002
        return MeanPooling()


class MaxSettings(Settings):
    """The largest value of each feature; attention is the share of features whose maximum is at the slice."""

    kind: Literal["max"] = "max"

    def build(self, context_size: int, *, bidirectional: bool, outputs: int) -> "MaxPooling":  # noqa: ARG002
        return MaxPooling()


class LastSettings(Settings):
    """The final states: forward direction at the last real slice, backward direction at the first."""

    kind: Literal["last"] = "last"

    def build(self, context_size: int, *, bidirectional: bool, outputs: int) -> "LastPooling":  # noqa: ARG002
        return LastPooling(bidirectional=bidirectional)


class GatedAttention(Pooling):
    """Softmax over slices of a gated score, each slice then weighted by it."""

    def __init__(self, context_size: int, *, hidden: int, scores: int = 1) -> None:
        super().__init__()
        self.content = nn.Linear(context_size, hidden)
        self.gate = nn.Linear(context_size, hidden)
        self.score = nn.Linear(hidden, scores)

    def forward(
        self, context: Float[Tensor, "batch slices context"], mask: Bool[Tensor, "batch slices"]
    ) -> tuple[Float[Tensor, "batch context"], Float[Tensor, "batch slices"]]:
        attention = self.attend(context, mask).squeeze(-1)
        return _weigh(context, attention), attention

    def attend(
        self, context: Float[Tensor, "batch slices context"], mask: Bool[Tensor, "batch slices"]
    ) -> Float[Tensor, "batch slices scores"]:
        """The weight of each slice, by each score."""
        scores: Tensor = self.score(torch.tanh(self.content(context)) * torch.sigmoid(self.gate(context)))
        return scores.float().masked_fill(~mask[..., None], -torch.inf).softmax(dim=1)


class ClassAttention(GatedAttention):
    """Gated attention with a score for each of K outputs over shared gates: (B,K,F) pooled, (B,S,K) attention."""

    def __init__(self, context_size: int, *, hidden: int, outputs: int) -> None:
        super().__init__(context_size, hidden=hidden, scores=outputs)

    def forward(
        self, context: Float[Tensor, "batch slices context"], mask: Bool[Tensor, "batch slices"]
    ) -> tuple[Float[Tensor, "batch outputs context"], Float[Tensor, "batch slices outputs"]]:
        attention = self.attend(context, mask)
        return torch.einsum("bsk,bsf->bkf", attention, context.float()).to(context.dtype), attention


class MeanPooling(Pooling):
    """Every real slice weighs the same."""

    def forward(
        self, context: Float[Tensor, "batch slices context"], mask: Bool[Tensor, "batch slices"]
    ) -> tuple[Float[Tensor, "batch context"], Float[Tensor, "batch slices"]]:
        attention = mask.float() / mask.sum(dim=1, keepdim=True)
        return _weigh(context, attention), attention


class MaxPooling(Pooling):
    """Each feature takes its largest value over the real slices."""

    def forward(
        self, context: Float[Tensor, "batch slices context"], mask: Bool[Tensor, "batch slices"]
    ) -> tuple[Float[Tensor, "batch context"], Float[Tensor, "batch slices"]]:
        pooled, winners = context.masked_fill(~mask[..., None], -torch.inf).max(dim=1)
        votes = torch.ones_like(winners, dtype=torch.float32)
        attention = votes.new_zeros(mask.shape).scatter_add(1, winners, votes) / context.shape[2]
        return pooled, attention


class LastPooling(Pooling):
    """What each direction knows after reading the whole series."""

    def __init__(self, *, bidirectional: bool) -> None:
        super().__init__()
        self.bidirectional = bidirectional

    def forward(
        self, context: Float[Tensor, "batch slices context"], mask: Bool[Tensor, "batch slices"]
    ) -> tuple[Float[Tensor, "batch context"], Float[Tensor, "batch slices"]]:
        rows = torch.arange(len(mask), device=mask.device)
        last = count_slices(mask).to(mask.device) - 1
        attention = torch.zeros(mask.shape, device=mask.device)
        if not self.bidirectional:
            attention[rows, last] = 1.0
            return context[rows, last], attention
        half = context.shape[2] // 2
        attention[rows, last] += 0.5
        attention[rows, 0] += 0.5
        return torch.cat([context[rows, last, :half], context[:, 0, half:]], dim=1), attention


def _weigh(
    context: Float[Tensor, "batch slices context"], attention: Float[Tensor, "batch slices"]
) -> Float[Tensor, "batch context"]:
    """The weighted sum over slices, added up in float32 in any precision."""
    return (attention[..., None] * context.float()).sum(dim=1).to(context.dtype)
