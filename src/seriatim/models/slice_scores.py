"""Multiple-instance pooling: the answer for the series from the answers for its slices."""

from typing import Literal

import torch
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from seriatim.models.masks import zero_padding
from seriatim.settings import Settings

PACE = 10.0
"""How much faster factor and offset learn than weights: Adam moves a parameter by about its rate in a step, and where
slices are labelled too, these two alone can take the logits of slices to those of series."""

How = Literal["max", "top_k", "mean", "log_sum_exp", "linear_softmax"]


class SliceScoresSettings(Settings):
    """The series' logit from the logits of its slices, times a learnt factor plus a learnt offset for each output: for
    findings that few slices show, where `task.slice_loss_weight` teaches the slices (Wang, Li and Metze 2019).
    """

    kind: Literal["slice_scores"] = "slice_scores"
    how: How = "log_sum_exp"
    """`max`: the largest; `top_k`: the mean of the largest; `mean`; `log_sum_exp`: a smooth maximum (Pinheiro and
    Collobert 2015); `linear_softmax`: the mean of the slices' probabilities, each weighted by itself (Wang, Li and
    Metze 2019; binary and multilabel)."""
    top: int = Field(default=3, ge=1)
    """The largest so many of `top_k`; all where a series has fewer slices."""
    sharpness: float = Field(default=1.0, gt=0)
    """Of `log_sum_exp`: near 0 it is the mean, and the larger, the nearer it is to the maximum."""

    def build(self, context_size: int, *, bidirectional: bool, outputs: int) -> "SliceScores":  # noqa: ARG002
        return SliceScores(self, outputs=outputs)


class SliceScores(nn.Module):
    """``forward(slice_logits (B,S,K), mask (B,S)) -> logits (B,K), attention (B,S,K)``.

    Attention is the weight that each slice had in the pooled value of each output: it sums to 1 over real slices and is
    exactly 0 on padding. The factor is positive, so that the series' logit rises with the pooled one.
    """

    def __init__(self, settings: SliceScoresSettings, *, outputs: int) -> None:
        super().__init__()
        self.how, self.top, self.sharpness = settings.how, settings.top, settings.sharpness
        self.log_factor = nn.Parameter(torch.zeros(outputs))
        self.offset = nn.Parameter(torch.zeros(outputs))

    def forward(
        self, slice_logits: Float[Tensor, "batch slices outputs"], mask: Bool[Tensor, "batch slices"]
    ) -> tuple[Float[Tensor, "batch outputs"], Float[Tensor, "batch slices outputs"]]:
        pooled, attention = self._pool(zero_padding(slice_logits.float(), mask), mask[..., None])
        logits = pooled.to(slice_logits.dtype) * (PACE * self.log_factor).exp() + PACE * self.offset
        return logits, attention

    def _pool(self, scores: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
        match self.how:
            case "max":
                return _mean_of_largest(scores, real, top=1)
            case "top_k":
                return _mean_of_largest(scores, real, top=self.top)
            case "mean":
                attention = (real / real.sum(dim=1, keepdim=True)).expand_as(scores)
                return (attention * scores).sum(dim=1), attention
            case "log_sum_exp":
                sharp = _hide(scores * self.sharpness, real)
                count = real.sum(dim=1).to(scores.dtype)
                return (sharp.logsumexp(dim=1) - count.log()) / self.sharpness, sharp.softmax(dim=1)
            case "linear_softmax":
                return _linear_softmax(scores, real)


def _mean_of_largest(scores: Tensor, real: Tensor, *, top: int) -> tuple[Tensor, Tensor]:
    """The mean of the ``top`` largest scores of each output (B,S,K), and the share of each slice in it."""
    # not min: a graph that is exported has no number of slices yet
    count = torch.sym_min(top, scores.shape[1])  # type: ignore[no-untyped-call]
    places = _hide(scores, real).topk(count, dim=1).indices
    chosen = torch.zeros_like(scores).scatter(1, places, 1.0) * real  # a short series chose padding too
    attention = chosen / chosen.sum(dim=1, keepdim=True)
    return (attention * scores).sum(dim=1), attention


def _linear_softmax(scores: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
    """The logit of sum(p p) / sum(p) of the slices' probabilities p, in logarithms, where nothing over- or underflows.

    With q = 1 - p, the odds of the pooled probability are sum(p p) / sum(p q).
    """
    yes, no = functional.logsigmoid(scores), functional.logsigmoid(-scores)
    logit = _hide(2 * yes, real).logsumexp(dim=1) - _hide(yes + no, real).logsumexp(dim=1)
    return logit, _hide(yes, real).softmax(dim=1)


def _hide(scores: Tensor, real: Tensor) -> Tensor:
    return scores.masked_fill(~real, -torch.inf)
