"""A frame is as abnormal as it is badly predicted from the frames around it (cloze), or before it (causal)."""

from dataclasses import dataclass
from typing import Literal, cast

import torch
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor, nn

from seriatim.models.detectors.detector import Detector, Evidence
from seriatim.models.masks import count_slices
from seriatim.settings import Settings

LOG_VARIANCE = (-7.0, 4.0)
STEPS = 2
"""Numbers that tell how far a frame is from the one before it and from the one after it."""


class PredictionSettings(Settings):
    """An LSTM over normal sequences predicts each frame's embedding, and how sure it is, from other frames.

    ``cloze``: from the frames before and after it, the frame itself hidden (two LSTMs that read up to but not including
    it). ``causal``: from those before it only, for live use. Beside the embedding the length of the step to the
    neighbour is predicted, since a frozen or repeated frame is anything but badly predicted: it moves too little.
    """

    kind: Literal["cloze", "causal"] = "cloze"
    hidden: int = Field(default=128, ge=1)
    """Units per direction."""
    components: int = Field(default=32, ge=1)
    """Principal components of the normal embeddings that are predicted, each scaled to unit variance."""
    epochs: int = Field(default=60, ge=1)
    """Passes over the normal sequences; the weights of the best one on validation are kept."""
    learning_rate: float = Field(default=2e-3, gt=0)
    """AdamW's learning rate, falling along a cosine to 0."""
    dropout: float = Field(default=0.1, ge=0.0, lt=1.0)
    """Dropout on what the LSTM reads and on its context."""

    def build(self, embedding_size: int) -> "PredictionDetector":
        return PredictionDetector(self, embedding_size=embedding_size)


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What a causal detector carries from frame to frame: the last frame's components, and the LSTM's two states."""

    point: Tensor
    memory: tuple[Tensor, Tensor]


class PredictionDetector(Detector):
    """Raw scores: ``content``, the squared error of the embedding in units of the predicted variance, mean over its
    components; ``motion``, the same of the steps. The first frame of a causal one is predicted from nothing.
    """

    mean: Tensor
    components: Tensor
    step_center: Tensor
    step_scale: Tensor
    least_step: Tensor

    def __init__(self, settings: PredictionSettings, *, embedding_size: int) -> None:
        super().__init__()
        self.kind = settings.kind
        self.causal = settings.kind == "causal"
        self.before, self.after = 1, 0 if self.causal else 1
        size, hidden = settings.components, settings.hidden
        self.register_buffer("mean", torch.zeros(embedding_size))
        self.register_buffer("components", torch.zeros(embedding_size, size))
        for name, value in (("step_center", 0.0), ("step_scale", 1.0), ("least_step", 1e-6)):
            self.register_buffer(name, torch.tensor(value))
        self.steps = 1 if self.causal else STEPS
        self.dropout = nn.Dropout(settings.dropout)
        self.forwards = nn.LSTM(size + 1, hidden, batch_first=True)
        self.backwards = None if self.causal else nn.LSTM(size + 1, hidden, batch_first=True)
        context = hidden * (1 if self.causal else 2)
        self.head = nn.Sequential(
            nn.Linear(context, hidden), nn.ReLU(), nn.Linear(hidden, 2 * (size + self.steps))
        )

    def prepare(self, embeddings: Float[Tensor, "n embedding"], lengths: list[int]) -> None:
        """Learn what the embeddings of normal frames are made of: principal components, and how long steps are.

        ``embeddings`` are those of all sequences one after another, ``lengths`` how many belong to each.

        Raises:
            ValueError: fewer frames than two, or not one step.
        """
        values = embeddings.double()
        if len(values) < 2 or max(lengths, default=0) < 2:
            raise ValueError("prediction needs normal sequences of at least two frames")
        mean = values.mean(dim=0)
        _, sizes, axes = torch.linalg.svd(values - mean, full_matrices=False)
        count = min(self.components.shape[1], int((sizes > 1e-9 * sizes[0]).sum()) or 1)
        scale = (sizes[:count] / len(values) ** 0.5).clamp(min=1e-12)
        self.components.zero_()[:, :count] = (axes[:count].T / scale).float()
        self.mean.copy_(mean)
        clips = torch.split(self.project(embeddings), lengths)
        steps = torch.cat([self._lengths(points) for points in clips if len(points) > 1])
        self.least_step.copy_(0.05 * steps.median().clamp(min=1e-6))
        logs = steps.clamp(min=float(self.least_step)).log()
        self.step_center.copy_(logs.mean())
        self.step_scale.copy_(logs.std().clamp(min=1e-3) if len(logs) > 1 else torch.tensor(1.0))

    def project(self, embeddings: Float[Tensor, "*n embedding"]) -> Float[Tensor, "*n size"]:
        """Principal components with unit variance over normal frames."""
        return (embeddings - self.mean) @ self.components

    def _lengths(self, points: Float[Tensor, "*batch slices size"]) -> Float[Tensor, "*batch steps"]:
        return (points[..., 1:, :] - points[..., :-1, :]).square().mean(dim=-1).sqrt()

    def forward(
        self, points: Float[Tensor, "batch slices size"], mask: Bool[Tensor, "batch slices"]
    ) -> tuple[Float[Tensor, "batch slices told"], Float[Tensor, "batch slices told"]]:
        """Squared errors over their predicted variance, and the log of that variance; zero where nothing is there.

        The last axis is the components and then the steps (to the frame before; for cloze, to the frame after). What a
        frame is told about itself is nothing: both directions stop before it.
        """
        to_before, to_after = self._steps(points, mask)
        context = self._earlier(self._read(self.forwards, points, to_before))
        if self.backwards is not None:
            behind = self._read(self.backwards, self._flip(points, mask), self._flip(to_after, mask))
            context = torch.cat([context, self._flip(self._earlier(behind), mask)], dim=2)
        told = torch.cat([points - self._between(points, mask), to_before, to_after][: 1 + self.steps], dim=2)
        known = self._known(mask)
        errors, spread = self._judge(told, context)
        return errors * known, spread * known

    def _judge(self, told: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        expected, raw = self.head(self.dropout(context)).chunk(2, dim=-1)
        low, high = LOG_VARIANCE
        spread = low + (high - low) * torch.sigmoid(raw)
        return (told - expected).square() * (-spread).exp(), spread

    def _between(self, points: Tensor, mask: Bool[Tensor, "batch slices"]) -> Tensor:
        """The frame before, or the mean of those before and after: what the network says is how the frame differs."""
        near = mask[..., None].to(points)
        before, weight = self._earlier(points * near), self._earlier(near)
        if self.causal:
            return before
        after = torch.cat([(points * near)[:, 1:], torch.zeros_like(points[:, :1])], dim=1)
        weight = weight + torch.cat([near[:, 1:], torch.zeros_like(near[:, :1])], dim=1)
        return (before + after) / weight.clamp(min=1)

    def _steps(self, points: Tensor, mask: Bool[Tensor, "batch slices"]) -> tuple[Tensor, Tensor]:
        """(B,S,1) scaled log lengths of the steps to the frame before and to the one after; 0 where there is none."""
        steps = self._scale(self._lengths(points)) * (mask[:, 1:] & mask[:, :-1])
        edge = steps.new_zeros(len(points), 1)
        return torch.cat([edge, steps], dim=1)[..., None], torch.cat([steps, edge], dim=1)[..., None]

    def _scale(self, lengths: Tensor) -> Tensor:
        return (torch.maximum(lengths, self.least_step).log() - self.step_center) / self.step_scale

    def _read(self, lstm: nn.LSTM, points: Tensor, steps: Tensor) -> Tensor:
        read, _ = lstm(self.dropout(torch.cat([points, steps], dim=2)))
        return cast("Tensor", read)

    @staticmethod
    def _earlier(values: Tensor) -> Tensor:
        """What was known one frame earlier; nothing (zeros) at the first."""
        return torch.cat([torch.zeros_like(values[:, :1]), values[:, :-1]], dim=1)

    @staticmethod
    def _flip(values: Tensor, mask: Bool[Tensor, "batch slices"]) -> Tensor:
        """Each sequence backwards, its padding staying at the end."""
        counts = count_slices(mask).to(values.device)
        index = torch.arange(mask.shape[1], device=values.device)[None]
        index = torch.where(index < counts[:, None], counts[:, None] - 1 - index, index)
        return values.gather(1, index[..., None].expand_as(values))

    def _known(self, mask: Bool[Tensor, "batch slices"]) -> Tensor:
        """(B,S,told) 1 where there is something to predict: real frames, and steps between two real frames."""
        size = self.components.shape[1]
        real = mask[..., None].float()
        before = torch.cat([torch.zeros_like(real[:, :1]), real[:, :-1]], dim=1) * real
        after = torch.cat([real[:, 1:], torch.zeros_like(real[:, :1])], dim=1) * real
        return torch.cat([real.expand(-1, -1, size), before, after][: 1 + self.steps], dim=2)

    def loss(self, points: Float[Tensor, "batch slices size"], mask: Bool[Tensor, "batch slices"]) -> Tensor:
        """The Gaussian negative log-likelihood (Nix and Weigend 1994), mean over all that is predicted."""
        errors, spread = self(points, mask)
        total: Tensor = 0.5 * (errors + spread).sum() / self._known(mask).sum()
        return total

    def examine(self, inputs: Float[Tensor, "slices embedding"]) -> Evidence:
        told = self._follow(inputs) if self.causal else self._look_both_ways(inputs)
        return Evidence(parts={self.kind: told[:, 0], f"{self.kind}_motion": told[:, 1]})

    def _look_both_ways(self, inputs: Float[Tensor, "slices embedding"]) -> Float[Tensor, "slices 2"]:
        mask = torch.ones(1, len(inputs), dtype=torch.bool, device=inputs.device)
        errors, _ = self(self.project(inputs)[None], mask)
        size = self.components.shape[1]
        content, motion = errors[0, :, :size], errors[0, :, size:]
        seen = self._known(mask)[0, :, size:].sum(dim=1)
        # no step at all, as of a single frame, is NaN: nothing is said
        return torch.stack([content.mean(dim=1), motion.sum(dim=1) / seen], dim=1)

    def _follow(self, inputs: Float[Tensor, "slices embedding"]) -> Float[Tensor, "slices 2"]:
        state, told = None, []
        for one in inputs:
            judged, state = self._step(one, state)
            told.append(judged)
        return torch.stack(told)

    def follow(self, frame: Float[Tensor, " embedding"], state: State | None) -> tuple[Evidence, State]:
        if not self.causal:
            raise ValueError("cloze needs the frames after each")
        told, state = self._step(frame, state)
        return Evidence(parts={self.kind: told[:1], f"{self.kind}_motion": told[1:]}), state

    def _step(self, embedding: Float[Tensor, " embedding"], state: State | None) -> tuple[Float[Tensor, "2"], State]:
        """Content and motion of the next frame, and the state to go on from."""
        point = self.project(embedding)
        if state is None:
            step, context = point.new_zeros(1), point.new_zeros(self.forwards.hidden_size)
            errors, _ = self._judge(torch.cat([point, step]), context)
            motion, memory = errors.new_full((), torch.nan), None
        else:
            step = self._scale(self._lengths(torch.stack([state.point, point])))
            errors, _ = self._judge(torch.cat([point - state.point, step]), state.memory[0][0])
            motion, memory = errors[-1], state.memory
        _, after = self.forwards(torch.cat([point, step])[None], memory)
        return torch.stack([errors[:-1].mean(), motion]), State(point=point, memory=after)
