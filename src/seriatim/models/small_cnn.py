"""A small CNN that trains from scratch on a CPU in minutes.

Weights are standardized instead of activations (Qiao et al. 2019, arXiv:1903.10520; scaled as in Brock et al. 2021,
arXiv:2101.08692): it trains as fast as with BatchNorm, and a slice never depends on the others in its batch. GroupNorm
also keeps slices apart, but takes away the brightness that tells a small lesion. Maxima are pooled, since a lesion is
small.
"""

import math
from collections.abc import Mapping
from typing import Annotated, Literal

import torch
from jaxtyping import Float
from pydantic import Field, field_validator
from torch import Tensor, nn
from torch.nn import functional

from seriatim.models.encoder import Encoder, load_encoder_weights
from seriatim.settings import Settings

RELU_GAIN = (2.0 / (1.0 - 1.0 / math.pi)) ** 0.5
"""What keeps the variance through a ReLU of a standardized layer (Brock et al. 2021)."""


class SmallCNNSettings(Settings):
    """One standardized convolution and ReLU per stage, then the maximum of each map."""

    kind: Literal["small_cnn"] = "small_cnn"
    widths: tuple[Annotated[int, Field(ge=1, le=4096)], ...] = Field(default=(16, 32, 64, 64), min_length=1)
    """Channels of each stage; each stage halves the maps; the last width is the embedding size."""
    weights: str | None = None
    """Path of a state dict of this network or of a run folder whose encoder to go on from, or null: from scratch."""

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
    """Stages of stride 2; the last maps have 1/2^stages of the rows and columns of a slice."""

    def __init__(self, in_channels: int, *, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.embedding_size = widths[-1]
        inputs = (in_channels, *widths[:-1])
        stages = (StandardizedConv2d(i, o, 3, stride=2, padding=1) for i, o in zip(inputs, widths, strict=True))
        self.stages = nn.Sequential(*(layer for stage in stages for layer in (stage, nn.ReLU())))

    def feature_maps(self, slices: Float[Tensor, "n channels rows columns"]) -> Float[Tensor, "n depth h w"]:
        maps: Tensor = self.stages(slices - 0.3)  # the mean of a windowed head or fan is nearer to 0.3 than to 0.5
        return maps

    def pool_maps(self, maps: Float[Tensor, "n depth h w"]) -> Float[Tensor, "n embedding"]:
        return maps.amax(dim=(2, 3))


class StandardizedConv2d(nn.Conv2d):
    """A convolution whose filters have mean 0 and a fixed variance; a gain per output channel is learnt."""

    def __init__(self, inputs: int, outputs: int, size: int, *, stride: int, padding: int) -> None:
        super().__init__(inputs, outputs, size, stride=stride, padding=padding)
        self.gain = nn.Parameter(torch.ones(outputs, 1, 1, 1))

    def forward(self, input: Float[Tensor, "n inputs h w"]) -> Float[Tensor, "n outputs h2 w2"]:  # noqa: A002
        weight = self.weight
        centred = weight - weight.mean(dim=(1, 2, 3), keepdim=True)
        fan_in = weight[0].numel()
        scale = torch.rsqrt((centred**2).mean(dim=(1, 2, 3), keepdim=True) * fan_in + 1e-4)
        return functional.conv2d(input, RELU_GAIN * self.gain * scale * centred, self.bias, self.stride, self.padding)
