"""The stage of an anomaly task: detectors learn normal sequences, then validation's normal frames set the scale."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_
from torch.nn.utils.rnn import pad_sequence
from torch.optim import AdamW, Optimizer

from seriatim.errors import ConfigError, InputError
from seriatim.experiment import AnomalyExperiment
from seriatim.models.detectors import Detector, Evidence, FutureDetector, GaussianDetector, MemoryDetector
from seriatim.models.detectors.memory import make_patches
from seriatim.models.detectors.network import AnomalyNetwork, DetectorSettings
from seriatim.models.detectors.prediction import PredictionDetector
from seriatim.tasks.anomaly import AnomalySettings, AnomalyTask
from seriatim.training.checkpoint import Progress
from seriatim.training.epochs import Stage, run_epochs
from seriatim.training.examples import Example
from seriatim.training.progress import EpochBar
from seriatim.training.session import RunSession

FEWEST_FRAMES = 20


@dataclass(slots=True, kw_only=True)
class AnomalySession(RunSession):
    """One anomaly run while its detectors are trained."""

    experiment: AnomalyExperiment
    task: AnomalyTask
    network: AnomalyNetwork


def train_detectors(session: AnomalySession) -> AnomalyTask:
    """Fit the detectors on the normal series of train, and return the task with the norms of those of val.

    Raises:
        ConfigError: training diverged, or the threshold cannot be chosen as asked.
        InputError: train or val has no normal series that is long enough.
    """
    task, network = session.task, session.network
    least = network.fewest_frames
    normal, held_out = (choose_normal(session.examples.of(split), task.settings, least=least)
                        for split in ("train", "val"))
    for name, found in (("train", normal), ("val", held_out)):
        if sum(len(one.series.instances) for one in found) < FEWEST_FRAMES:
            raise InputError(
                f"An anomaly model learns from normal series, and {name} has {len(found)} of at least {least} frames; "
                f"together they need {FEWEST_FRAMES} frames. Add normal series, or check task.label and task.normal."
            )
    session.begin()
    session.freeze_encoder()
    network.eval()
    for method, detector in zip(task.settings.methods, network.methods, strict=True):
        _fit(session, method, detector, normal=normal, held_out=held_out)
    evidence = [examine(session, example) for example in held_out]
    try:
        return task.learn_norms(evidence, [example.series.duration_s for example in held_out])
    except ValueError as error:
        raise ConfigError(f"The threshold of the anomaly task cannot be chosen: {error}.") from error


def choose_normal(examples: Sequence[Example], settings: AnomalySettings, *, least: int) -> list[Example]:
    """The series known as normal (all, where no column tells) that have at least ``least`` frames."""
    return [
        one for one in examples
        if (settings.label is None or one.labels[0] == 0.0) and len(one.series.instances) >= least
    ]


def examine(session: AnomalySession, example: Example) -> list[Evidence]:
    """The evidence of every detector about one series, as scoring will have it."""
    with torch.inference_mode():
        return [one.examine(_look(session, example, one.reads)) for one in session.network.methods]


def _look(session: AnomalySession, example: Example, reads: str) -> Tensor:
    if reads == "embeddings":
        return session.freeze_encoder().embed(example.series).to(session.fabric.device)
    with torch.inference_mode():
        return session.network.look(session.prepared.slices(example.series).to(session.fabric.device), reads).clone()


def _fit(
    session: AnomalySession, method: DetectorSettings, detector: Detector, *,
    normal: Sequence[Example], held_out: Sequence[Example],
) -> None:
    if isinstance(detector, GaussianDetector):
        detector.fit(torch.cat([_look(session, one, detector.reads) for one in normal]))
    elif isinstance(detector, MemoryDetector):
        assert method.kind == "memory"
        detector.fit(_gather_patches(session, normal, most=method.patches), seed=session.experiment.seed)
    else:
        assert isinstance(detector, PredictionDetector | FutureDetector)
        assert method.kind in ("cloze", "causal", "future")
        seen = [[_look(session, one, detector.reads) for one in part] for part in (normal, held_out)]
        _run_stage(session, method, detector, *seen)


def _run_stage(
    session: AnomalySession, method: DetectorSettings, detector: PredictionDetector | FutureDetector,
    normal: list[Tensor], held_out: list[Tensor],
) -> None:
    if isinstance(detector, PredictionDetector):
        detector.prepare(torch.cat(normal), [len(one) for one in normal])
        ready = [[detector.project(one) for one in part] for part in (normal, held_out)]
    else:
        ready = [[detector.shrink(one) for one in part] for part in (normal, held_out)]
    run_epochs(DetectorStage(session, method, detector, *ready))
    detector.eval()


def _gather_patches(session: AnomalySession, examples: Sequence[Example], *, most: int) -> Tensor:
    """At most ``most`` patches, as many of each series, evenly spread over its frames."""
    quota, parts = max(1, most // len(examples)), []
    for example in examples:
        patches = make_patches(_look(session, example, "maps"))
        chosen = torch.linspace(0, len(patches) - 1, min(quota, len(patches))).round().long()
        parts.append(patches[chosen.to(patches.device)].cpu())
    return torch.cat(parts)


class DetectorStage(Stage):
    """A detector that learns by gradient, and the normal sequences it learns from and is judged by."""

    session: AnomalySession

    def __init__(
        self, session: AnomalySession, method: DetectorSettings, detector: PredictionDetector | FutureDetector,
        normal: Sequence[Tensor], held_out: Sequence[Tensor],
    ) -> None:  # fmt: skip
        assert method.kind in ("cloze", "causal", "future")
        self.session, self.detector, self.normal, self.held_out = session, detector, normal, held_out
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
        order = generator.permutation(len(self.normal))
        steps = -(-len(order) // training.batch_size)
        total = 0.0
        for number, part in enumerate(np.array_split(order, steps)):
            for group in self.optimizer.param_groups:
                group["lr"] = self.rate * 0.5 * (1 + np.cos(np.pi * progress.step / (self.epochs * steps)))
            windows = [cut_window(self.normal[one], training.max_slices, generator) for one in part]
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


def cut_window(sequence: Tensor, most: int, generator: np.random.Generator) -> Tensor:
    """``most`` frames in a row from a random place; all of a shorter sequence."""
    start = int(generator.integers(0, max(0, len(sequence) - most) + 1))
    return sequence[start : start + most]


def _batch(sequences: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """(B,S,...) padded, and the mask (B,S)."""
    longest = max(map(len, sequences))
    mask = torch.stack([torch.arange(longest) < len(one) for one in sequences])
    return pad_sequence(list(sequences), batch_first=True), mask.to(sequences[0].device)
