"""A transformer over the slices of a series: every slice looks at every other."""

import math
from typing import Literal

import torch
from jaxtyping import Bool, Float
from pydantic import Field, model_validator
from torch import Tensor, nn

from seriatim.models.masks import count_slices, zero_padding
from seriatim.models.temporal import Temporal
from seriatim.settings import Settings

RELATIVE_LENGTH = 100.0
"""The length on which ``relative`` places lie: that of a series of 101 slices counted one by one."""

Position = Literal["relative", "slice", "none"]


class TransformerSettings(Settings):
    """Transformer encoder (Vaswani et al. 2017), normalised before each part (Xiong et al. 2020)."""

    kind: Literal["transformer"] = "transformer"
    size: int = Field(default=128, ge=2, multiple_of=2)
    """Embeddings are projected to this size, which is that of the context."""
    layers: int = Field(default=2, ge=1, le=16)
    """Layers of attention and feed-forward on top of each other."""
    heads: int = Field(default=4, ge=1)
    """Attention heads of each layer; `size` is a multiple of them."""
    feedforward: int = Field(default=256, ge=1)
    """Hidden units of each feed-forward part."""
    dropout: float = Field(default=0.1, ge=0.0, lt=1.0)
    """Dropout in training, in every part."""
    position: Position = "relative"
    """Sinusoids that tell where a slice is: `relative` to the ends of its series (the same place in the body, however
    many slices were taken or sampled), by `slice` counted from the first (for clips of one frame rate), or `none`."""

    @model_validator(mode="after")
    def _check_heads(self) -> "TransformerSettings":
        if self.size % self.heads:
            raise ValueError(f"size must be a multiple of heads; {self.size} is none of {self.heads}")
        return self

    def build(self, embedding_size: int) -> "Transformer":
        return Transformer(self, embedding_size=embedding_size)


class Transformer(Temporal):
    """Projection, positions, then attention in which no slice ever looks at padding."""

    def __init__(self, settings: TransformerSettings, *, embedding_size: int) -> None:
        super().__init__()
        self.bidirectional, self.context_size = False, settings.size  # each slice's context is of one piece
        self.position = settings.position
        self.project = nn.Sequential(nn.Linear(embedding_size, settings.size), nn.LayerNorm(settings.size))
        self.dropout = nn.Dropout(settings.dropout)
        layer = nn.TransformerEncoderLayer(
            settings.size,
            settings.heads,
            settings.feedforward,
            dropout=settings.dropout,
            activation="gelu",
            batch_first=True,
            norm_first=True,
        )
        self.layers = nn.TransformerEncoder(
            layer, settings.layers, norm=nn.LayerNorm(settings.size), enable_nested_tensor=False
        )

    def forward(
        self, embeddings: Float[Tensor, "batch slices embedding"], mask: Bool[Tensor, "batch slices"]
    ) -> Float[Tensor, "batch slices context"]:
        projected = self.project(zero_padding(embeddings, mask))
        if self.position != "none":
            projected = projected + self._encode_positions(mask).to(projected.dtype)
        context = self.layers(self.dropout(projected), src_key_padding_mask=~mask)
        return zero_padding(context, mask)

    def _encode_positions(self, mask: Bool[Tensor, "batch slices"]) -> Float[Tensor, "batch slices context"]:
        places = torch.arange(mask.shape[1], device=mask.device, dtype=torch.float32).expand(mask.shape)
        if self.position == "relative":
            last = (count_slices(mask).to(mask.device) - 1).clamp(min=1)
            places = places * (RELATIVE_LENGTH / last[:, None])
        return encode_sinusoids(places, size=self.context_size)


def encode_sinusoids(
    places: Float[Tensor, "batch slices"], *, size: int
) -> Float[Tensor, "batch slices {size}"]:
    """Sines and cosines of ``places`` at wavelengths from 2 pi to 20000 pi (Vaswani et al. 2017, section 3.5)."""
    rates = torch.exp(torch.arange(0, size, 2, device=places.device) * (-math.log(10000.0) / size))
    angles = places[..., None] * rates
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(-2)
