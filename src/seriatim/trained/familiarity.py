"""How far a series lies from those of training, as the encoder sees it: for what no tag tells.

The distance is that to the k-th nearest of training's mean embeddings, each scaled to length 1 (Sun et al. 2022,
Out-of-distribution detection with deep nearest neighbors).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from torch import Tensor

from seriatim.errors import ModelError
from seriatim.tasks.student import quantile

NEIGHBOURS = 3
Points = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Familiarity:
    """Training's mean embeddings, ``points`` (N,E) of length 1, and the distance beyond which a series is foreign."""

    points: Points
    threshold: float

    def measure(self, embeddings: Tensor) -> float:
        """How far a series lies, from its embeddings (S,E), as a multiple of the threshold: above 1 it is foreign."""
        point = mean_direction(embeddings)
        return kth_distance(np.linalg.norm(self.points - point, axis=1)) / self.threshold

    def save(self, path: Path) -> None:
        """Write it as safetensors, put in place whole."""
        partial = path.with_suffix(".partial")
        save_file({"points": self.points, "threshold": np.array([self.threshold])}, partial)
        partial.replace(path)


def load_familiarity(path: Path) -> Familiarity:
    """Read what ``save`` wrote.

    Raises:
        ModelError: the file is damaged.
    """
    try:
        found = load_file(path)
        return Familiarity(points=found["points"], threshold=float(found["threshold"][0]))
    except (OSError, SafetensorError, LookupError, ValueError) as error:
        raise ModelError(f"{path} cannot be read: {error}. Copy the run again.") from error


def mean_direction(embeddings: Tensor) -> Points:
    """(S,E) -> (E,) the mean embedding, scaled to length 1."""
    mean = embeddings.cpu().double().mean(dim=0).numpy()
    return np.asarray(mean / max(float(np.linalg.norm(mean)), 1e-12), dtype=np.float32)


def kth_distance(distances: NDArray[np.floating]) -> float:
    """The NEIGHBOURS-th smallest of some distances, or the largest of fewer."""
    return float(np.sort(distances)[min(NEIGHBOURS, len(distances)) - 1])


def limit_distances(distances: Sequence[float], *, false_refusals: float) -> float:
    """The distance that another series of the same kind exceeds with the probability ``false_refusals``.

    Where there are enough distances it is their conformal quantile, which assumes nothing but that the series were
    drawn alike (Vovk et al. 2005). Of fewer it is the upper prediction limit of a log-normal, and no less than the
    largest of them.
    """
    ordered = np.sort(np.asarray(distances, dtype=np.float64))
    place = math.ceil((len(ordered) + 1) * (1 - false_refusals))
    if place <= len(ordered):
        return float(ordered[place - 1])
    logs = np.log(np.maximum(ordered, 1e-12))
    reach = quantile(1 - false_refusals, len(logs) - 1) * math.sqrt(1 + 1 / len(logs))
    return max(float(ordered[-1]), math.exp(float(logs.mean()) + reach * float(logs.std(ddof=1))))
