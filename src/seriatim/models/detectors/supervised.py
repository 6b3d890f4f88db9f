"""A frame is as abnormal as a BiLSTM says that has seen which frames of other sequences are."""

from typing import Literal

import torch
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from seriatim.models.detectors.detector import Detector, Evidence
from seriatim.models.temporal import RecurrentSettings
from seriatim.series.batch import IGNORE
from seriatim.settings import Settings


class SupervisedSettings(Settings):
    """A BiLSTM over embeddings with a logit per frame, where frames of train are labelled (`data.slice_labels`).

    It alone learns from abnormal series too: from each frame whose label is known. It finds what it was shown.
    """

    kind: Literal["supervised"] = "supervised"
    hidden: int = Field(default=64, ge=1)
    """Units per direction."""
    epochs: int = Field(default=40, ge=1)
    """Passes over the labelled sequences; the weights of the best one on validation are kept."""
    learning_rate: float = Field(default=1e-3, gt=0)
    """AdamW's learning rate, falling along a cosine to 0."""
    dropout: float = Field(default=0.3, ge=0.0, lt=1.0)
    """Dropout on the embeddings and on the context."""

    def build(self, embedding_size: int) -> "SupervisedDetector":
        return SupervisedDetector(self, embedding_size=embedding_size)


class SupervisedDetector(Detector):
    """Raw score: the logit of a frame being abnormal. It reads all frames of a sequence, so it cannot watch."""

    before = 1
    after = 1
    causal = False
    mean: Tensor
    spread: Tensor

    def __init__(self, settings: SupervisedSettings, *, embedding_size: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(embedding_size))
        self.register_buffer("spread", torch.ones(embedding_size))
        self.dropout = nn.Dropout(settings.dropout)
        self.temporal = RecurrentSettings(hidden=settings.hidden).build(embedding_size)
        self.head = nn.Linear(self.temporal.context_size, 1)

    def prepare(self, embeddings: Float[Tensor, "n embedding"]) -> None:
        """Learn the mean and spread of the embeddings' numbers, which are of unlike size."""
        values = embeddings.double()
        self.mean.copy_(values.mean(dim=0))
        self.spread.copy_(values.std(dim=0, correction=0).clamp(min=1e-6))

    def forward(
        self, embeddings: Float[Tensor, "batch slices embedding"], mask: Bool[Tensor, "batch slices"]
    ) -> Float[Tensor, "batch slices"]:
        """The logit of every frame."""
        known = self.dropout((embeddings - self.mean) / self.spread)
        logits: Tensor = self.head(self.dropout(self.temporal(known, mask)))[..., 0]
        return logits

    def loss(
        self, embeddings: Float[Tensor, "batch slices embedding"], labels: Float[Tensor, "batch slices"],
        mask: Bool[Tensor, "batch slices"],
    ) -> Tensor:  # fmt: skip
        """Binary cross-entropy, mean over the frames whose label is known; 0 where none is."""
        known = mask & (labels != IGNORE)
        logits = self(embeddings, mask)[known]
        total = functional.binary_cross_entropy_with_logits(logits, labels[known], reduction="sum")
        return total / known.sum().clamp(min=1)

    def examine(self, inputs: Float[Tensor, "slices embedding"]) -> Evidence:
        mask = torch.ones(1, len(inputs), dtype=torch.bool, device=inputs.device)
        return Evidence(parts={"supervised": self(inputs[None], mask)[0]}, by_level=False)
