"""Score one series: the one path by which validation, scoring and explanations get their numbers."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Protocol, TypeAlias

import torch
from torch import Tensor

from seriatim.models.chunks import OfChunk, Slices, encode_in_chunks
from seriatim.models.detectors.network import AnomalyNetwork
from seriatim.models.exact import in_full
from seriatim.models.lanes import on_lanes
from seriatim.models.network import SequenceNetwork
from seriatim.models.output import SequenceOutput
from seriatim.tasks.diagnosis import DiagnosisTask
from seriatim.tasks.views import PLAIN, ViewSettings, mirror

EncodingNetwork: TypeAlias = SequenceNetwork | AnomalyNetwork


class SliceNetwork(Protocol):
    """What embeds the slices of a series: a network of torch, or an exported one."""

    @property
    def encoder(self) -> OfChunk:
        """(N,C,H,W) -> (N,E), for N the ``chunk_size``."""

    @property
    def chunk_size(self) -> int:
        """How many slices are encoded at a time, always."""

    @property
    def device(self) -> torch.device:
        """Where slices are sent."""


class ScoringNetwork(SliceNetwork, Protocol):
    """What embeds the slices of a series and reads the embeddings."""

    def read(self, embeddings: Tensor, mask: Tensor) -> SequenceOutput:
        """(B,S,E) and (B,S), True where a slice is real, to the answer; as of ``SequenceNetwork``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesScores:
    """The network's answer for one series, on the CPU in float64.

    ``probabilities`` (K,), ``attention`` (S,), ``slice_probabilities`` (S,K); ``uncalibrated`` (K,) are the
    probabilities before the task's calibration. ``class_attention`` is (S,K) where each output pools by itself, else
    (S,0).
    """

    probabilities: Tensor
    attention: Tensor
    slice_probabilities: Tensor
    uncalibrated: Tensor
    class_attention: Tensor


def embed_series(network: SliceNetwork, slices: Slices, *, view: OfChunk | None = None) -> Tensor:
    """(S,C,H,W) -> (S,E) in fixed-size chunks, so that an embedding never depends on its neighbours."""
    with torch.inference_mode(), in_full(network.device):
        return encode_in_chunks(
            network.encoder, slices, chunk_size=network.chunk_size, view=view, device=network.device
        )


def embed_views(network: SliceNetwork, slices: Slices, test_time: ViewSettings) -> tuple[Tensor, ...]:
    """The embeddings (S,E) of the slices as they are, and then mirrored where ``test_time`` asks for it."""
    views = (None, mirror) if test_time.flip_left_right else (None,)
    return tuple(embed_series(network, slices, view=view) for view in views)


def score_series(
    network: SequenceNetwork, task: DiagnosisTask, slices: Tensor, test_time: ViewSettings = PLAIN
) -> SeriesScores:
    """(S,C,H,W) -> scores; bit-identical on one machine whatever was scored before or beside it.

    Raises:
        ValueError: the network is in training mode.
    """
    if network.training:
        raise ValueError("The network is in training mode; call network.eval() before scoring.")
    views = embed_views(network, slices, test_time)
    return score_embeddings(network, task, *views, reverse_order=test_time.reverse_order)


def score_embeddings(
    network: ScoringNetwork, task: DiagnosisTask, *views: Tensor, reverse_order: bool = False
) -> SeriesScores:
    """Embeddings (S,E) of one series, once or in several views -> the mean of the views' answers.

    The sequence model reads one view of this one series at a time; with ``reverse_order`` each also from last to first,
    and what it then says of slices is put back into their order. Probabilities are averaged, then calibrated.
    """
    turned = [torch.flip(view, dims=(0,)) for view in views] if reverse_order else []
    found = on_lanes(partial(_read, network, task), [*views, *turned])
    for place in range(len(views), len(found)):
        answer, *per_slice = found[place]
        found[place] = (answer, *(one.flip(0) for one in per_slice))
    answer, attention, slices, by_class = (torch.stack(parts).mean(dim=0) for parts in zip(*found, strict=True))
    return SeriesScores(
        probabilities=task.calibrate(answer), attention=attention, slice_probabilities=slices, uncalibrated=answer,
        class_attention=by_class,
    )  # fmt: skip


def _read(network: ScoringNetwork, task: DiagnosisTask, embeddings: Tensor) -> tuple[Tensor, ...]:
    """Of one view: probabilities (K,) before calibration, attention (S,), slice probabilities (S,K), and attention of
    each output (S,K), or (S,0).
    """
    output = _run(network, embeddings)
    logits, slice_logits = output.volume_logits[0].cpu().double(), output.slice_logits[0].cpu().double()
    attention = output.attention[0].cpu().double()
    by_class = attention.new_zeros(len(attention), 0) if output.class_attention is None else output.class_attention[0]
    return task.probabilities(logits), attention, task.slice_probabilities(slice_logits), by_class.cpu().double()


def read_logits(network: ScoringNetwork, embeddings: Tensor) -> Tensor:
    """Embeddings (S,E) of one series in one view -> what the network says of it (K,), before it is a probability."""
    return _run(network, embeddings).volume_logits[0].cpu().double()


def _run(network: ScoringNetwork, embeddings: Tensor) -> SequenceOutput:
    mask = torch.ones(1, embeddings.shape[0], dtype=torch.bool, device=network.device)
    with torch.inference_mode(), in_full(network.device):
        return network.read(embeddings[None].to(network.device), mask)
