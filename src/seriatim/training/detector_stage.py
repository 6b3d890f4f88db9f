"""The stage of a detector that learns by gradient."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_
from torch.nn.utils.rnn import pad_sequence
from torch.optim import AdamW, Optimizer

from seriatim.errors import ConfigError
from seriatim.experiment import AnomalyExperiment
from seriatim.models.detectors import Detector, FutureDetector, PredictionDetector, SupervisedDetector
from seriatim.models.detectors.network import AnomalyNetwork, DetectorSettings
from seriatim.tasks.anomaly import AnomalyTask
from seriatim.training.checkpoint import Progress
from seriatim.training.epochs import Stage
from seriatim.training.progress import EpochBar
from seriatim.training.session import RunSession

Sequences = Sequence[tuple[Tensor, ...]]
"""Of each sequence what a detector's ``loss`` reads, every tensor with a first axis of S frames."""


@dataclass(slots=True, kw_only=True)
class AnomalySession(RunSession):
    """One anomaly run while its detectors are trained."""

    experiment: AnomalyExperiment
    task: AnomalyTask
    network: AnomalyNetwork


class DetectorStage(Stage):
    """A detector that learns by gradient, the sequences it learns from, and the held-out ones it is judged by."""

    session: AnomalySession

    def __init__(
        self, session: AnomalySession, method: DetectorSettings, detector: Detector, learn: Sequences, judge: Sequences
    ) -> None:
        assert method.kind in ("cloze", "causal", "future", "supervised")
        assert isinstance(detector, PredictionDetector | FutureDetector | SupervisedDetector)
        self.session, self.detector, self.sequences, self.held_out = session, detector, learn, judge
        self.name, self.rate = method.kind, method.learning_rate
        self.epochs = self.patience = method.epochs
        torch.manual_seed(self.seed)
        for part in detector.modules():
            if isinstance(part, nn.Linear | nn.LSTM | nn.Conv2d | nn.ConvTranspose2d):
                part.reset_parameters()  # so that the first weights follow from the seed and not from the other methods
        self.optimizer: Optimizer = AdamW(detector.parameters(), lr=self.rate, weight_decay=0.01)

    def learning(self) -> Mapping[str, nn.Module]:
        return {"detector": self.detector}

    def kept(self) -> nn.Module:
        return self.detector

    def train_epoch(self, epoch: int, progress: Progress, bar: EpochBar) -> dict[str, float]:
        generator = np.random.default_rng((self.seed, epoch))
        torch.manual_seed(self.seed * 1_000_003 + epoch)
        training = self.session.experiment.training
        self.detector.train()
        order = generator.permutation(len(self.sequences))
        steps = -(-len(order) // training.batch_size)
        total = 0.0
        for number, part in enumerate(np.array_split(order, steps)):
            for group in self.optimizer.param_groups:
                group["lr"] = self.rate * 0.5 * (1 + np.cos(np.pi * progress.step / (self.epochs * steps)))
            windows = [cut_window(self.sequences[one], training.max_slices, generator) for one in part]
            loss = self.detector.loss(*_batch(windows))
            if not bool(torch.isfinite(loss)):
                raise ConfigError(f"Training of {self.name} diverged. Lower its learning_rate (now {self.rate:g}).")
            self.optimizer.zero_grad()
            torch.autograd.backward([loss])
            clip_grad_norm_(self.detector.parameters(), 1.0)
            self.optimizer.step()
            progress.step += 1
            total += float(loss.detach())
            bar.advance(done=number + 1, of=steps, loss=total / (number + 1))
        return {"loss": total / steps}

    def validate(self) -> dict[str, float]:
        self.detector.eval()
        with torch.inference_mode():
            return {"loss": float(torch.stack([self.detector.loss(*_batch([one])) for one in self.held_out]).mean())}

    def rank(self, metrics: Mapping[str, float]) -> list[float]:
        return [-metrics["loss"]]


def cut_window(sequence: tuple[Tensor, ...], most: int, generator: np.random.Generator) -> tuple[Tensor, ...]:
    """``most`` frames in a row from a random place; all of a shorter sequence."""
    start = int(generator.integers(0, max(0, len(sequence[0]) - most) + 1))
    return tuple(values[start : start + most] for values in sequence)


def _batch(sequences: Sequences) -> list[Tensor]:
    """What the sequences hold, each (B,S,...) padded, and the mask (B,S)."""
    counts = [len(one[0]) for one in sequences]
    mask = torch.stack([torch.arange(max(counts)) < count for count in counts])
    padded = [pad_sequence(list(values), batch_first=True) for values in zip(*sequences, strict=True)]
    return [*padded, mask.to(padded[0].device)]
