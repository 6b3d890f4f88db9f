"""A small residual CNN that trains from scratch on a CPU in minutes."""

from collections.abc import Mapping
from typing import Annotated, Literal

import torch
from jaxtyping import Float
from pydantic import Field, field_validator
from torch import Tensor, nn
from torch.nn import functional

from seriatim.models.encoder import Encoder, load_encoder_weights
from seriatim.settings import Settings

CHANNELS_PER_GROUP = 8


class SmallCNNSettings(Settings):
    """A residual CNN with GroupNorm, so that a slice never depends on the others in its batch."""

    kind: Literal["small_cnn"] = "small_cnn"
    widths: tuple[Annotated[int, Field(ge=1, le=4096)], ...] = Field(default=(16, 32, 64, 128), min_length=1)
    """Channels of each stage; each stage halves the maps but the last; the last width is the embedding size."""
    weights: str | None = None
    """Path of a state dict of this network, or None to train from scratch."""

    @field_validator("weights")
    @classmethod
    def _refuse_imagenet(cls, weights: str | None) -> str | None:
        if weights == "imagenet":
            raise ValueError("there are no ImageNet weights for small_cnn; leave them out, or use kind torchvision")
        return weights

    @property
    def name(self) -> str:
        return self.kind

    def build(self, in_channels: int, weights: Mapping[str, Tensor] | None = None) -> "SmallCNN":
        """The encoder, with ``weights`` loaded where given. Raises ModelError where they do not fit."""
        encoder = SmallCNN(in_channels, widths=self.widths)
        if weights is not None:
            load_encoder_weights(encoder, weights, name=self.name)
        return encoder


class SmallCNN(Encoder):
    """Stem and one residual block per stage; the last maps have 1/2^stages of the rows and columns of a slice."""

    def __init__(self, in_channels: int, *, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.embedding_size = widths[-1]
        self.stem = nn.Sequential(
            nn.Conv2d(in_channels, widths[0], 3, stride=2, padding=1, bias=False), _norm(widths[0]), nn.ReLU()
        )
        inputs = (widths[0], *widths[:-1])
        last = len(widths) - 1
        self.stages = nn.Sequential(
            *(
                ResidualBlock(inputs[i], width, stride=1 if i == last else 2)  # fine last maps serve Grad-CAM
                for i, width in enumerate(widths)
            )
        )

    def feature_maps(self, slices: Float[Tensor, "n channels rows columns"]) -> Float[Tensor, "n depth h w"]:
        maps: Tensor = self.stages(self.stem((slices - 0.5) * 4.0))
        return maps

    def pool_maps(self, maps: Float[Tensor, "n depth h w"]) -> Float[Tensor, "n embedding"]:
        return functional.adaptive_avg_pool2d(maps, 1).flatten(1)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions around a shortcut (He 2016), with GroupNorm (Wu and He 2018)."""

    def __init__(self, inputs: int, outputs: int, *, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False),
            _norm(outputs),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
            _norm(outputs),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False), _norm(outputs))

    def forward(self, maps: Float[Tensor, "n depth h w"]) -> Float[Tensor, "n depth2 h2 w2"]:
        return torch.relu(self.body(maps) + self.shortcut(maps))


def _norm(channels: int) -> nn.GroupNorm:
    groups = channels // CHANNELS_PER_GROUP if channels % CHANNELS_PER_GROUP == 0 else 1
    return nn.GroupNorm(groups, channels)
