"""Sequence models: embeddings in slice order in, context per slice out."""

from abc import ABC, abstractmethod
from typing import Literal

from jaxtyping import Bool, Float
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from seriatim.models.masks import count_slices, zero_padding
from seriatim.settings import Settings


class Temporal(nn.Module, ABC):
    """``forward(embeddings (B,S,E), mask (B,S)) -> context (B,S,F)``, exactly zero on padding."""

    context_size: int
    bidirectional: bool

    @abstractmethod
    def forward(
        self, embeddings: Float[Tensor, "batch slices embedding"], mask: Bool[Tensor, "batch slices"]
    ) -> Float[Tensor, "batch slices context"]:
        """Context of every slice."""


class RecurrentSettings(Settings):
    """LSTM (Hochreiter and Schmidhuber 1997) or GRU (Cho 2014), by default read in both directions."""

    kind: Literal["lstm", "gru"] = "lstm"
    hidden: int = Field(default=128, ge=1)
    """Units per direction."""
    layers: int = Field(default=1, ge=1, le=8)
    """Recurrent layers on top of each other."""
    bidirectional: bool = True
    """Read in both directions; off for what must not look ahead."""
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Dropout on the embeddings that enter each layer but, without ``project``, the first."""
    project: int | None = Field(default=None, ge=1)
    """Project embeddings to this size (linear, LayerNorm, ReLU, dropout) before the first layer: for large encoders."""

    @model_validator(mode="after")
    def _use_dropout(self) -> "RecurrentSettings":
        if self.dropout and self.layers == 1 and self.project is None:
            raise ValueError("dropout acts between layers or after project; set layers: 2 or project: 128, or drop it")
        return self

    skip: bool = True
    """Add a linear map of each slice's own embedding to its context, so that what a slice shows stays at that slice
    (as in the second place of RSNA 2019): it is learnt sooner, and attention peaks where the finding is."""

    def build(self, embedding_size: int) -> "Recurrent":
        return Recurrent(self, embedding_size=embedding_size)


class NoTemporalSettings(Settings):
    """No sequence model: the context is the embedding. The honest control of every benchmark."""

    kind: Literal["none"] = "none"

    def build(self, embedding_size: int) -> "NoTemporal":
        return NoTemporal(embedding_size)


class Recurrent(Temporal):
    """A packed RNN: padding is never read, so the backward direction starts at the last real slice."""

    def __init__(self, settings: RecurrentSettings, *, embedding_size: int) -> None:
        super().__init__()
        self.bidirectional = settings.bidirectional
        self.context_size = settings.hidden * (2 if settings.bidirectional else 1)
        self.project: nn.Module = nn.Identity()
        if settings.project is not None:
            size = settings.project
            self.project = nn.Sequential(
                nn.Linear(embedding_size, size), nn.LayerNorm(size), nn.ReLU(), nn.Dropout(settings.dropout)
            )
            embedding_size = size
        kind = {"lstm": nn.LSTM, "gru": nn.GRU}[settings.kind]
        self.rnn = kind(
            embedding_size,
            settings.hidden,
            num_layers=settings.layers,
            bidirectional=settings.bidirectional,
            dropout=settings.dropout if settings.layers > 1 else 0.0,
            batch_first=True,
        )
        self.skip = nn.Linear(embedding_size, self.context_size) if settings.skip else None

    def forward(
        self, embeddings: Float[Tensor, "batch slices embedding"], mask: Bool[Tensor, "batch slices"]
    ) -> Float[Tensor, "batch slices context"]:
        projected = self.project(zero_padding(embeddings, mask))
        packed = pack_padded_sequence(projected, count_slices(mask), batch_first=True, enforce_sorted=False)
        context, _ = pad_packed_sequence(self.rnn(packed)[0], batch_first=True, total_length=mask.shape[1])
        return context if self.skip is None else context + zero_padding(self.skip(projected), mask)


class NoTemporal(Temporal):
    """The embeddings themselves, zero on padding."""

    def __init__(self, embedding_size: int) -> None:
        super().__init__()
        self.context_size, self.bidirectional = embedding_size, False

    def forward(
        self, embeddings: Float[Tensor, "batch slices embedding"], mask: Bool[Tensor, "batch slices"]
    ) -> Float[Tensor, "batch slices embedding"]:
        return zero_padding(embeddings, mask)
