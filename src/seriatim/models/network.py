"""SequenceNetwork: encoder, sequence model, pooling and heads, composed. The one network of the package."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Annotated, Any

import torch
from jaxtyping import Bool, Float
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from seriatim.models.chunks import CHUNK
from seriatim.models.encoder import Encoder
from seriatim.models.masks import add_deltas, count_slices, zero_padding
from seriatim.models.output import SequenceOutput
from seriatim.models.pooling import AttentionSettings, ClassAttention, LastSettings, MaxSettings, MeanSettings
from seriatim.models.slice_scores import SliceScores, SliceScoresSettings
from seriatim.models.small_cnn import SmallCNNSettings
from seriatim.models.temporal import NoTemporalSettings, RecurrentSettings
from seriatim.models.torchvision_encoder import TorchvisionSettings
from seriatim.models.transformer import TransformerSettings
from seriatim.settings import Settings

EncoderSettings = Annotated[SmallCNNSettings | TorchvisionSettings, Field(discriminator="kind")]
TemporalSettings = Annotated[
    RecurrentSettings | TransformerSettings | NoTemporalSettings, Field(discriminator="kind")
]
PoolingSettings = Annotated[
    AttentionSettings | MeanSettings | MaxSettings | LastSettings | SliceScoresSettings, Field(discriminator="kind")
]

QUIET_CHUNK = 16
"""Slices encoded at a time where no gradient is kept: few fit into the processor's cache."""


class NetworkSettings(Settings):
    """The parts of a network: how slices become embeddings, embeddings context, and context one vector per series."""

    encoder: EncoderSettings = SmallCNNSettings()
    deltas: bool = False
    """Give the sequence model, beside each slice's embedding, its differences to those of the slice before and after
    (second place of RSNA 2019): what changes along the series stands out."""
    standardise: bool = False
    """Give each number of an embedding the mean 0 and the spread 1 over the slices of training: those of a frozen
    encoder are of very unlike size. For `training.mode: two-stage`."""
    temporal: TemporalSettings = RecurrentSettings()
    pooling: PoolingSettings = AttentionSettings()
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Dropout before the heads."""
    checkpoint_chunk: int | None = Field(default=None, ge=1)
    """In training, keep the encoder's activations of about this many slices only, and compute the others again."""
    gradient_slices: int | None = Field(default=None, ge=1)
    """In training, let the encoder learn from so many random slices of each series only; of the others nothing is kept
    for the way back (Cheng et al. 2022, stochastic backpropagation): memory no longer grows with their number."""
    channels_last: bool = False
    """In training, give the encoder slices whose channels stand next to each other in memory: some are faster so, some
    slower (docs/performance.md)."""
    weights: str | None = None
    """A run folder of `train` or `pretrain`: encoder and sequence model start where those of that run ended. A run that
    learnt from series of this run's validation or test split is refused."""

    @model_validator(mode="after")
    def _one_source(self) -> "NetworkSettings":
        if self.weights is not None and self.encoder.weights is not None:
            raise ValueError("weights and encoder.weights both say what the encoder starts from; give one of the two")
        return self

    def build(
        self, in_channels: int, outputs: int, *, weights: Mapping[str, Tensor] | None = None
    ) -> "SequenceNetwork":
        """The network for slices of ``in_channels`` and ``outputs`` logits; ``weights`` are the encoder's.

        Raises:
            ConfigError: the encoder's name is unknown.
            ModelError: ``weights`` does not fit the encoder.
        """
        return SequenceNetwork(self, encoder=self.encoder.build(in_channels, weights), outputs=outputs)


class SequenceNetwork(nn.Module):
    """``network(slices (B,S,C,H,W), mask (B,S)) -> SequenceOutput``. Padding never enters any of its parts."""

    chunk_size = CHUNK
    output_center: Tensor
    output_scale: Tensor
    embedding_center: Tensor
    embedding_scale: Tensor

    def __init__(self, settings: NetworkSettings, *, encoder: Encoder, outputs: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.deltas, self.standardise = settings.deltas, settings.standardise
        if settings.standardise:
            self.register_buffer("embedding_center", torch.zeros(encoder.embedding_size))
            self.register_buffer("embedding_scale", torch.ones(encoder.embedding_size))
        self.temporal = settings.temporal.build(encoder.embedding_size * (3 if settings.deltas else 1))
        size = self.temporal.context_size
        self.pooling = settings.pooling.build(size, bidirectional=self.temporal.bidirectional, outputs=outputs)
        self.attends_by_class = outputs > 1 and isinstance(self.pooling, ClassAttention | SliceScores)
        self.dropout = nn.Dropout(settings.dropout)
        self.volume_head = None if isinstance(self.pooling, SliceScores) else nn.Linear(size, outputs)
        self.slice_head = nn.Linear(size, outputs)
        self.checkpoint_chunk, self.gradient_slices = settings.checkpoint_chunk, settings.gradient_slices
        self.channels_last = settings.channels_last
        self.training_encoder: Callable[[Tensor], Tensor] | None = None  # a compiled form, for training alone
        self.register_buffer("output_center", torch.zeros(outputs))
        self.register_buffer("output_scale", torch.ones(outputs))

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        return self.slice_head.weight.device

    def set_output_scale(self, center: Sequence[float], scale: Sequence[float]) -> None:
        """For regression: give logits (K,) the mean and spread of the labels, so that any numbers can be learnt."""
        self.output_center.copy_(self.output_center.new_tensor(center))
        self.output_scale.copy_(self.output_scale.new_tensor(scale))

    def set_embedding_scale(self, embeddings: Float[Tensor, "n embedding"]) -> None:
        """For ``standardise``: centre and scale from the embeddings of all training slices; a constant has scale 1."""
        spread = embeddings.double().std(dim=0, correction=0)
        self.embedding_center.copy_(embeddings.double().mean(dim=0))
        self.embedding_scale.copy_(torch.where(spread > 1e-6 * spread.max(), spread, 1.0))

    def forward(
        self,
        slices: Float[Tensor, "batch slices channels rows columns"],
        mask: Bool[Tensor, "batch slices"],
    ) -> SequenceOutput:
        return self.read(self.encode(slices, mask), mask)

    def encode(
        self,
        slices: Float[Tensor, "batch slices channels rows columns"],
        mask: Bool[Tensor, "batch slices"],
    ) -> Float[Tensor, "batch slices embedding"]:
        """Embeddings of the real slices, zero on padding."""
        learns = self.training and torch.is_grad_enabled()
        if learns and self.gradient_slices is not None:
            return self._encode_some(slices, mask, self.gradient_slices)
        found = self._learn(slices[mask]) if learns else self.encoder(slices[mask])
        embeddings = found.new_zeros(*mask.shape, found.shape[1])
        embeddings[mask] = found
        return embeddings

    def _learn(self, slices: Float[Tensor, "n channels rows columns"]) -> Float[Tensor, "n embedding"]:
        encoder = self.training_encoder or self.encoder
        if self.channels_last:
            slices = slices.contiguous(memory_format=torch.channels_last)
        if self.checkpoint_chunk is not None:
            return self._encode_with_checkpoints(encoder, slices, self.checkpoint_chunk)
        embeddings: Tensor = encoder(slices)
        return embeddings

    def _encode_some(
        self,
        slices: Float[Tensor, "batch slices channels rows columns"],
        mask: Bool[Tensor, "batch slices"],
        most: int,
    ) -> Float[Tensor, "batch slices embedding"]:
        """All embeddings, of which ``most`` random ones of each series lead back to the encoder.

        Their gradients are multiplied by the number of slices over that of the chosen: on average the encoder gets the
        gradient that all slices would give.
        """
        chosen = _choose(mask, most)
        quiet = mask & ~chosen
        found = self._learn(slices[chosen])
        embeddings = found.new_zeros(*mask.shape, found.shape[1])
        with torch.no_grad():
            for places in torch.split(quiet.nonzero(), self.checkpoint_chunk or QUIET_CHUNK):
                rows = tuple(places.unbind(dim=1))
                embeddings[rows] = self.encoder(slices[rows])
        more = (mask.sum(dim=1) / chosen.sum(dim=1))[:, None].expand_as(mask)[chosen][:, None].to(found.dtype)
        embeddings[chosen] = found.detach() + more * (found - found.detach())
        return embeddings

    def read(
        self, embeddings: Float[Tensor, "batch slices embedding"], mask: Bool[Tensor, "batch slices"]
    ) -> SequenceOutput:
        """All that follows the encoder, from its embeddings; what stands on padding is never read.

        It runs in the precision of the weights also under autocast, which costs little beside the encoder. Slices
        beyond the longest series are cut off first, so padding does not even change the order of additions.
        """
        if embeddings.shape[-1] != self.encoder.embedding_size:  # a packed LSTM does not check it
            expected = self.encoder.embedding_size
            raise ValueError(f"embeddings of {embeddings.shape[-1]} numbers, but the encoder makes {expected}")
        longest = int(count_slices(mask).max())
        padding = mask.shape[1] - longest
        kept = mask[:, :longest]
        with torch.autocast(embeddings.device.type, enabled=False):
            shown = zero_padding(embeddings[:, :longest].to(self.slice_head.weight.dtype), kept)
            context, slice_logits, volume_logits, attention = self.answer(shown, kept)
        by_class = functional.pad(attention, (0, 0, 0, padding))
        return SequenceOutput(
            embeddings=functional.pad(shown, (0, 0, 0, padding)),
            context=functional.pad(context, (0, 0, 0, padding)),
            volume_logits=volume_logits,
            slice_logits=functional.pad(slice_logits, (0, 0, 0, padding)),
            attention=by_class.mean(dim=2),
            class_attention=by_class if self.attends_by_class else None,
        )

    def answer(
        self, embeddings: Float[Tensor, "batch slices embedding"], mask: Bool[Tensor, "batch slices"]
    ) -> tuple[
        Float[Tensor, "batch slices context"], Float[Tensor, "batch slices outputs"], Float[Tensor, "batch outputs"],
        Float[Tensor, "batch slices attentions"],
    ]:
        """Context, slice logits, volume logits, and one attention for all outputs or one for each: ``read`` of
        embeddings that are 0 on padding, without a look at any value, as an exported graph computes it.
        """
        context = self.relate(embeddings, mask)
        slice_logits = self.slice_head(self.dropout(context))
        volume_logits, attention = self._pool(context, slice_logits, mask)
        slice_logits = zero_padding(slice_logits * self.output_scale + self.output_center, mask)
        return context, slice_logits, volume_logits * self.output_scale + self.output_center, attention

    def relate(
        self, embeddings: Float[Tensor, "batch slices embedding"], mask: Bool[Tensor, "batch slices"]
    ) -> Float[Tensor, "batch slices context"]:
        """The sequence model's context of embeddings, which are 0 on padding; with deltas where it reads those."""
        if self.standardise:
            embeddings = zero_padding((embeddings - self.embedding_center) / self.embedding_scale, mask)
        context: Tensor = self.temporal(add_deltas(embeddings, mask) if self.deltas else embeddings, mask)
        return context

    def _pool(
        self,
        context: Float[Tensor, "batch slices context"],
        slice_logits: Float[Tensor, "batch slices scores"],
        mask: Bool[Tensor, "batch slices"],
    ) -> tuple[Float[Tensor, "batch outputs"], Float[Tensor, "batch slices attentions"]]:
        """Volume logits before their scale, and one attention for all outputs or one for each."""
        if self.volume_head is None:
            logits, attention = self.pooling(slice_logits, mask)
            return logits, attention
        pooled, attention = self.pooling(context, mask)
        if pooled.ndim == 2:
            return self.volume_head(self.dropout(pooled)), attention[..., None]
        own = (self.dropout(pooled) * self.volume_head.weight).sum(dim=2)  # each output reads its own vector
        return own + self.volume_head.bias, attention

    def _encode_with_checkpoints(
        self, encoder: Callable[[Tensor], Tensor], slices: Float[Tensor, "n channels rows columns"], chunk: int
    ) -> Float[Tensor, "n embedding"]:
        """Chen 2016: only the inputs of each chunk are kept for the backward pass."""

        def contexts() -> tuple[AbstractContextManager[Any], AbstractContextManager[Any]]:
            return nullcontext(), _keep_statistics(self.encoder)

        parts = torch.tensor_split(slices, -(-len(slices) // chunk))
        found = [checkpoint(encoder, part, use_reentrant=False, context_fn=contexts) for part in parts]
        return torch.cat(found)


def _choose(mask: Bool[Tensor, "batch slices"], most: int) -> Bool[Tensor, "batch slices"]:
    """True at ``most`` random real slices of each series; at all where there are fewer."""
    drawn = torch.rand(mask.shape, device=mask.device).masked_fill(~mask, -1.0)
    places = drawn.topk(min(most, mask.shape[1]), dim=1).indices
    return torch.zeros_like(mask).scatter(1, places, value=True) & mask


@contextmanager
def _keep_statistics(module: nn.Module) -> Iterator[None]:
    """While a chunk is computed again, BatchNorm must not count it a second time."""
    parts = [part for part in module.modules() if isinstance(part, _BatchNorm)]
    before = [(part.momentum, _copy(part.num_batches_tracked)) for part in parts]
    for part in parts:
        part.momentum = 0.0
    try:
        yield
    finally:
        for part, (momentum, count) in zip(parts, before, strict=True):
            part.momentum, part.num_batches_tracked = momentum, count


def _copy(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.clone()
