"""A frame is as abnormal as its picture is badly foreseen from those before it: a small ConvLSTM on pixels."""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from seriatim.models.detectors.detector import Detector, Evidence
from seriatim.settings import Settings


class FutureSettings(Settings):
    """A ConvLSTM (Shi et al. 2015) that foresees the next frame, by which Liu et al. (2018) score. No encoder."""

    kind: Literal["future"] = "future"
    size: int = Field(default=48, ge=16, le=256)
    """Rows and columns of the small grey pictures that it foresees."""
    channels: int = Field(default=16, ge=1)
    """Channels of the ConvLSTM's state."""
    epochs: int = Field(default=60, ge=1)
    """Passes over the normal sequences; the weights of the best one on validation are kept."""
    learning_rate: float = Field(default=3e-3, gt=0)
    """AdamW's learning rate, falling along a cosine to 0."""

    def build(self) -> "FutureDetector":
        return FutureDetector(self)


class ConvLSTMCell(nn.Module):
    """One step of a convolutional LSTM without peepholes: Shi et al. 2015, equation 3."""

    def __init__(self, inputs: int, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.gates = nn.Conv2d(inputs + channels, 4 * channels, kernel_size=3, padding=1)

    def forward(
        self, picture: Float[Tensor, "batch inputs h w"], state: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """The next (hidden, cell), each (B,channels,h,w)."""
        hidden, cell = state
        enter, forget, show, fresh = self.gates(torch.cat([picture, hidden], dim=1)).chunk(4, dim=1)
        cell = torch.sigmoid(forget + 1) * cell + torch.sigmoid(enter) * torch.tanh(fresh)
        return torch.sigmoid(show) * torch.tanh(cell), cell

    def start(self, picture: Tensor) -> tuple[Tensor, Tensor]:
        """The state before the first frame."""
        empty = picture.new_zeros(len(picture), self.channels, *picture.shape[-2:])
        return empty, empty


@dataclass(frozen=True, slots=True, kw_only=True)
class Foresight:
    """What is carried from frame to frame: the foreseen small picture (1,1,h,w), and the ConvLSTM's two states."""

    picture: Tensor
    memory: tuple[Tensor, Tensor]


class FutureDetector(Detector):
    """Raw score: the root mean square error of the foreseen picture. ``places`` are the absolute errors, smoothed.

    It reads slices (S,C,H,W) in [0,1] and makes small grey pictures of them. The first frame is foreseen from nothing,
    and NaN.
    """

    reads = "slices"
    before = 1

    def __init__(self, settings: FutureSettings) -> None:
        super().__init__()
        self.size = settings.size
        self.cell = ConvLSTMCell(16, settings.channels)
        self.look = nn.Conv2d(1, 16, kernel_size=4, stride=2, padding=1)
        self.show = nn.ConvTranspose2d(settings.channels, 1, kernel_size=4, stride=2, padding=1)

    def shrink(self, slices: Float[Tensor, "slices channels rows columns"]) -> Float[Tensor, "slices 1 h w"]:
        """Small grey pictures."""
        grey = slices.mean(dim=1, keepdim=True)
        return functional.interpolate(grey, size=(self.size, self.size), mode="bilinear", antialias=True)

    def forward(self, pictures: Float[Tensor, "batch slices 1 h w"]) -> Float[Tensor, "batch future 1 h w"]:
        """What frames 1 to S-1 are foreseen to be, each from those before it: the last one, changed."""
        state = self.cell.start(self.look(pictures[:, 0]))
        foreseen = []
        for frame in pictures.unbind(dim=1)[:-1]:
            state = self.cell(functional.relu(self.look(frame)), state)
            foreseen.append(frame + self.show(state[0]))
        return torch.stack(foreseen, dim=1)

    def loss(self, pictures: Float[Tensor, "batch slices 1 h w"], mask: Bool[Tensor, "batch slices"]) -> Tensor:
        """The mean squared error of the frames that have one before them."""
        errors = (self(pictures) - pictures[:, 1:]).square().mean(dim=(2, 3, 4))
        mean: Tensor = (errors * mask[:, 1:]).sum() / mask[:, 1:].sum().clamp(min=1)
        return mean

    def examine(self, inputs: Float[Tensor, "slices channels rows columns"]) -> Evidence:
        state, told = None, []
        for one in inputs:
            evidence, state = self.follow(one, state)
            told.append(evidence)
        places = [one.places for one in told if one.places is not None]
        return Evidence(parts={"future": torch.cat([one.parts["future"] for one in told])}, places=torch.cat(places))

    def follow(
        self, frame: Float[Tensor, "channels rows columns"], state: Foresight | None
    ) -> tuple[Evidence, Foresight]:
        """The error of the next frame, and what is foreseen of the one after it. ``examine`` does the same."""
        picture = self.shrink(frame[None])
        errors = torch.full_like(picture, torch.nan) if state is None else (state.picture - picture).abs()
        seen = self.look(picture)
        memory = self.cell(functional.relu(seen), self.cell.start(seen) if state is None else state.memory)
        smooth = functional.avg_pool2d(errors, kernel_size=5, stride=2, padding=2, count_include_pad=False)
        evidence = Evidence(parts={"future": errors.square().mean(dim=(1, 2, 3)).sqrt()}, places=smooth[:, 0])
        return evidence, Foresight(picture=picture + self.show(memory[0]), memory=memory)
