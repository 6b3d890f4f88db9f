"""Mahalanobis distance to the normal frames' embeddings."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from seriatim.models.detectors.detector import Detector, Evidence
from seriatim.settings import Settings


class GaussianSettings(Settings):
    """One Gaussian over the embeddings of normal frames (as PaDiM and Lee et al. 2018 use it). Blind to order."""

    kind: Literal["gaussian"] = "gaussian"

    def build(self, embedding_size: int) -> "GaussianDetector":
        return GaussianDetector(embedding_size)


class GaussianDetector(Detector):
    """Raw score: the Mahalanobis distance, its covariance shrunk as Ledoit and Wolf (2004) do."""

    mean: Tensor
    whiten: Tensor

    def __init__(self, embedding_size: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(embedding_size))
        self.register_buffer("whiten", torch.eye(embedding_size))

    def fit(self, embeddings: Float[Tensor, "n embedding"]) -> None:
        """Learn from the embeddings of all normal frames, at least two.

        Raises:
            ValueError: fewer than two frames.
        """
        if len(embeddings) < 2:
            raise ValueError("a covariance needs at least two frames")
        values = embeddings.double()
        mean = values.mean(dim=0)
        covariance, _ = shrink_covariance(values - mean)
        floor = 1e-12 * max(float(covariance.diagonal().mean()), 1e-12)
        factor = torch.linalg.cholesky(covariance + floor * torch.eye(len(covariance), dtype=torch.float64))
        self.mean.copy_(mean)
        self.whiten.copy_(torch.linalg.inv(factor))

    def examine(self, inputs: Float[Tensor, "slices embedding"]) -> Evidence:
        # one frame at a time: a product of one shape always, so that a score never depends on the frames beside it
        distances = [(self.whiten @ (one - self.mean)).norm() for one in inputs]
        return Evidence(parts={"gaussian": torch.stack(distances)})


def shrink_covariance(centred: Float[Tensor, "n size"]) -> tuple[Float[Tensor, "size size"], float]:
    """The covariance of centred values moved towards a multiple of the identity, and by which share (0 to 1).

    Ledoit and Wolf 2004, "A well-conditioned estimator for large-dimensional covariance matrices", lemma 3.2 onwards.
    """
    count, size = centred.shape
    sample = centred.T @ centred / count
    scale = sample.diagonal().mean()
    distance = (sample**2).sum() / size - scale**2
    spread = ((centred**2).sum(dim=1) ** 2).sum() / count - (sample**2).sum()
    error = torch.minimum(spread / (size * count), distance)
    share = float(error / distance) if float(distance) > 0 else 0.0
    target = scale * torch.eye(size, dtype=centred.dtype, device=centred.device)
    return (1 - share) * sample + share * target, share
