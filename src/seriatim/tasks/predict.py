"""Score one series: the one path by which validation, scoring and explanations get their numbers."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from seriatim.models.chunks import encode_in_chunks
from seriatim.models.network import SequenceNetwork
from seriatim.tasks.diagnosis import DiagnosisTask


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesScores:
    """The network's answer for one series, on the CPU in float64.

    ``probabilities`` (K,), ``attention`` (S,), ``slice_probabilities`` (S,K), ``logits`` (K,).
    """

    probabilities: Tensor
    attention: Tensor
    slice_probabilities: Tensor
    logits: Tensor


def embed_series(network: SequenceNetwork, slices: Tensor) -> Tensor:
    """(S,C,H,W) -> (S,E) in fixed-size chunks, so that an embedding never depends on its neighbours."""
    device = next(network.parameters()).device
    with torch.inference_mode():
        return encode_in_chunks(network.encoder, slices.to(device))


def score_series(network: SequenceNetwork, task: DiagnosisTask, slices: Tensor) -> SeriesScores:
    """(S,C,H,W) -> scores; bit-identical on one machine whatever was scored before or beside it.

    Raises:
        ValueError: the network is in training mode.
    """
    if network.training:
        raise ValueError("The network is in training mode; call network.eval() before scoring.")
    return score_embeddings(network, task, embed_series(network, slices))


def score_embeddings(network: SequenceNetwork, task: DiagnosisTask, embeddings: Tensor) -> SeriesScores:
    """(S,E) -> scores, the sequence model reading this one series alone."""
    device = next(network.parameters()).device
    mask = torch.ones(1, embeddings.shape[0], dtype=torch.bool, device=device)
    with torch.inference_mode():
        output = network.read(embeddings[None].to(device), mask)
    logits, slice_logits = output.volume_logits[0].double().cpu(), output.slice_logits[0].double().cpu()
    return SeriesScores(
        probabilities=task.answer(logits),
        attention=output.attention[0].double().cpu(),
        slice_probabilities=task.slice_probabilities(slice_logits),
        logits=logits,
    )
