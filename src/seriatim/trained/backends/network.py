"""Networks whose encoder, or all of them, is computed by something else than plain torch."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from seriatim.models.chunks import OfChunk
from seriatim.models.encoder import Encoder
from seriatim.models.inference import make_inference_form
from seriatim.models.network import SequenceNetwork
from seriatim.models.output import SequenceOutput
from seriatim.trained.backends.session import Session

Gives = Literal["embeddings", "maps"]
SEQUENCE_OUTPUTS = ("context", "slice_logits", "volume_logits", "attention")
"""What a graph of the sequence model gives, in this order; attention is (1,S,1), or (1,S,K) with one each output."""


class ExportedEncoder(Encoder):
    """An encoder whose embeddings, or last maps, come from a file; ``inner`` is the one it was made of, which pools.

    ``shift`` (E,) is added to the embeddings: what lower precision took from them in the mean over training's slices.
    """

    shift: Tensor

    def __init__(self, session: Session, *, inner: Encoder, shift: Tensor, gives: Gives) -> None:
        super().__init__()
        self.inner, self.gives = inner, gives
        self.embedding_size = inner.embedding_size
        self.register_buffer("shift", shift)
        self._session = session

    def forward(self, slices: Tensor) -> Tensor:
        return self.pool_maps(self._run(slices)) if self.gives == "maps" else self._run(slices) + self.shift

    def feature_maps(self, slices: Tensor) -> Tensor:
        return self._run(slices) if self.gives == "maps" else self.inner.feature_maps(slices)

    def pool_maps(self, maps: Tensor) -> Tensor:
        return self.inner.pool_maps(maps) + self.shift

    def for_inference(self) -> ExportedEncoder:
        return self

    def _run(self, slices: Tensor) -> Tensor:
        return torch.from_numpy(self._session.run(slices.contiguous().numpy())[0])


class ReducedEncoder(Encoder):
    """An encoder of torch that computes in bf16 what autocast holds safe, its convolutions joined with their norms."""

    shift: Tensor

    def __init__(self, encoder: Encoder, *, shift: Tensor) -> None:
        super().__init__()
        self.inner = make_inference_form(encoder)
        self.embedding_size = encoder.embedding_size
        self.register_buffer("shift", shift.to(next(encoder.parameters()).device))

    def forward(self, slices: Tensor) -> Tensor:
        with torch.autocast(slices.device.type, torch.bfloat16):
            embeddings: Tensor = self.inner(slices)
        return embeddings.float() + self.shift

    def feature_maps(self, slices: Tensor) -> Tensor:
        with torch.autocast(slices.device.type, torch.bfloat16):
            return self.inner.feature_maps(slices).float()

    def pool_maps(self, maps: Tensor) -> Tensor:
        return self.inner.pool_maps(maps) + self.shift


class BackedNetwork:
    """A ``ScoringNetwork`` of an encoder and a graph of the sequence model; without one torch reads, in fp32."""

    def __init__(self, network: SequenceNetwork, *, encoder: OfChunk, sequence: Session | None = None) -> None:
        self.encoder, self.chunk_size = encoder, network.chunk_size
        self.device = torch.device("cpu") if sequence is not None else network.device
        self._network, self._sequence = network, sequence

    def read(self, embeddings: Tensor, mask: Tensor) -> SequenceOutput:
        """As of ``SequenceNetwork``, of one series without padding.

        Raises:
            ValueError: there are several series, or padding.
        """
        if self._sequence is None:
            return self._network.read(embeddings, mask)
        if len(embeddings) != 1 or not bool(mask.all()):
            raise ValueError("An exported sequence model reads one series at a time, without padding.")
        context, slice_logits, volume_logits, by_class = (
            torch.from_numpy(values) for values in self._sequence.run(embeddings.contiguous().numpy())
        )
        return SequenceOutput(
            embeddings=embeddings, context=context, volume_logits=volume_logits, slice_logits=slice_logits,
            attention=by_class.mean(dim=2), class_attention=by_class if self._network.attends_by_class else None,
        )
