"""What each slice had in the logits of a series: gradients through the sequence model, and slices left out of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from seriatim.explanation.attribution.backward import differentiating, require_finite
from seriatim.explanation.attribution.reading import Reading

STEPS, MOST_STEPS = 32, 256
COMPLETE = 0.01
"""Of the difference to the baseline: with a larger completeness error twice as many steps are taken."""
SMALLEST_DIFFERENCE = 0.1
"""Logits: of a smaller difference to the baseline, errors are told as shares of this."""
PATH_SLICES = 2048
"""Slices of all steps that are differentiated at a time."""

Baseline = Literal["series", "zero"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Integrated:
    """``values`` (S,K) in logits; ``difference`` (K,) of the logits to the baseline's; ``steps`` taken.

    ``error`` (K,) is how far the values' sum is from the difference, as a share of it.
    """

    values: Tensor
    difference: Tensor
    error: Tensor
    steps: int


def weigh_gradient(reading: Reading) -> Tensor:
    """Gradient x input (Shrikumar et al. 2016, arXiv:1605.01713): how far each slice moved each logit, (S,K).

    To first order. Positive speaks for the class. For a read that is linear in the embeddings, the sum over slices is
    the logit without its bias. Next to nothing by construction where ``network.temporal.project`` is set, since its
    LayerNorm makes the answer independent of an embedding's length.

    Raises:
        ModelError: a gradient is not finite.
    """
    with differentiating(reading.network):
        leaf = reading.embeddings.detach().clone().requires_grad_()
        gradients = _gradients(reading, leaf[None])[0]
    return require_finite((gradients * leaf.detach()[..., None]).sum(dim=1)).double().cpu()


def integrate_gradients(reading: Reading, *, baseline: Baseline = "series", steps: int = STEPS) -> Integrated:
    """Integrated gradients (Sundararajan, Taly and Yan 2017, arXiv:1703.01365) of each logit, by slice: (S,K).

    The path leads straight from a series of baseline slices to the slices' embeddings; gradients are added up by
    Gauss-Legendre quadrature (as in captum). Sums are complete: those over all slices are the difference of the logits
    of series and baseline, but for the error of quadrature, which is told; where it is above a hundredth, twice as many
    steps are taken, at most 256.

    Args:
        reading: left as it is.
        baseline: ``series``: every slice is the mean of the series' embeddings, so that what is explained is how slices
            differ from the series they are in; ``zero``: the embedding 0, which no image may have.
        steps: points on the path to begin with.

    Raises:
        ModelError: a gradient is not finite.
    """
    end = reading.embeddings
    start = baseline_of(end, baseline)
    with torch.inference_mode():
        ends = reading.logits(torch.stack([start, end])).double().cpu()
    difference = ends[1] - ends[0]
    while True:
        values = _integrate(reading, start, steps=steps)
        error = (values.sum(dim=0) - difference).abs() / difference.abs().clamp(min=SMALLEST_DIFFERENCE)
        if float(error.max()) <= COMPLETE or 2 * steps > MOST_STEPS:
            return Integrated(values=values, difference=difference, error=error, steps=steps)
        steps *= 2


def leave_out(reading: Reading, *, window: int = 1) -> Tensor:
    """By how much each logit falls, per slice, when the slice (or ``window`` slices around it) is left out: (S,K).

    Exact: the series is read again without them, from its cached embeddings (leave-one-out or erasure: Li, Monroe and
    Jurafsky 2016, arXiv:1612.08220; occlusion: Zeiler and Fergus 2014). Positive speaks for the class. At the ends a
    window is cut off, and a fall is divided by the number of slices left out. Where nothing would be left, the logit is
    compared with that of a series of one slice with the embedding 0.

    Raises:
        ValueError: ``window`` is not odd, or below 1.
    """
    if window < 1 or window % 2 == 0:
        raise ValueError(f"A window is centred on its slice: its length must be odd and at least 1, not {window}.")
    count = len(reading.embeddings)
    places = torch.arange(count)
    gone = (places[:, None] - places[None, :]).abs() <= window // 2
    some = ~gone.all(dim=1)
    whole = reading.logits_of_subsets(torch.ones(1, count, dtype=torch.bool))
    left = torch.empty(count, whole.shape[1], dtype=torch.float64)
    if bool(some.any()):
        left[some] = reading.logits_of_subsets(~gone[some])
    if not bool(some.all()):
        with torch.inference_mode():
            left[~some] = reading.logits(torch.zeros_like(reading.embeddings[None, :1])).double().cpu()
    return (whole - left) / gone.sum(dim=1, keepdim=True)


def window_of_series(count: int) -> int:
    """The odd window that is left out at a time: 3 slices, or a twentieth of a long series."""
    return max(3, 2 * (count // 40) + 1)


def baseline_of(embeddings: Tensor, kind: Baseline) -> Tensor:
    """(S,E) -> the baseline slices (S,E)."""
    return torch.zeros_like(embeddings) if kind == "zero" else embeddings.mean(dim=0).expand_as(embeddings)


def _integrate(reading: Reading, start: Tensor, *, steps: int) -> Tensor:
    nodes, weights = np.polynomial.legendre.leggauss(steps)
    along = torch.tensor((nodes + 1) / 2, dtype=start.dtype, device=start.device)
    share = torch.tensor(weights / 2, dtype=start.dtype, device=start.device)
    way = reading.embeddings - start
    rows = max(1, PATH_SLICES // len(start))
    total: Tensor | None = None
    with differentiating(reading.network):
        for place, weight in zip(torch.split(along, rows), torch.split(share, rows), strict=True):
            leaf = (start + place[:, None, None] * way).detach().clone().requires_grad_()
            found = (_gradients(reading, leaf) * weight[:, None, None, None]).sum(dim=0)
            total = found if total is None else total + found
    assert total is not None
    return require_finite((total * way[..., None]).sum(dim=1)).double().cpu()


def _gradients(reading: Reading, embeddings: Tensor) -> Tensor:
    """(B,S,E) -> (B,S,E,K), of each logit."""
    logits = reading.logits(embeddings)
    found = [
        torch.autograd.grad(logits[:, index].sum(), embeddings, retain_graph=index + 1 < logits.shape[1])[0]
        for index in range(logits.shape[1])
    ]
    return torch.stack(found, dim=-1)
