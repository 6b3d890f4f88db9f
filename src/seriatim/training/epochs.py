"""The epochs of a stage: train, validate, keep the best, write it down, go on after a stop. The same for all stages."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from time import perf_counter
from typing import Any

from safetensors.torch import load_file
from torch import nn
from torch.optim import Optimizer

from seriatim.errors import ModelError
from seriatim.models.inference import forget_forms
from seriatim.training.checkpoint import Progress, Tensors, read_checkpoint, save_checkpoint, write_tensors
from seriatim.training.progress import EpochBar
from seriatim.training.records import MetricsLog
from seriatim.training.runtime import scaler_of
from seriatim.training.session import RunSession

AfterEpoch = Callable[[int, Mapping[str, float]], None]
"""(epoch, metrics of validation): called when an epoch is finished and saved; what it raises ends the run."""


class Stage(ABC):
    """What one stage of a run does in an epoch; ``run_epochs`` does the rest.

    Everything random in an epoch must follow from the seed and the epoch's number alone.
    """

    session: RunSession
    optimizer: Optimizer
    epochs: int
    patience: int
    """Epochs without a better validation after which the stage ends; as many as ``epochs`` for never."""
    name: str
    """Before the names of its files: NAME_metrics.jsonl, NAME_checkpoint, NAME_best; "" for that of ``training``."""
    keeps_start: bool = False
    """Whether the weights it starts from are kept where no epoch is better; a changed start then begins it anew."""

    @abstractmethod
    def learning(self) -> Mapping[str, nn.Module]:
        """All whose weights it changes, by name: what a checkpoint holds."""

    @abstractmethod
    def kept(self) -> nn.Module:
        """The module that has the best weights when the stage ends."""

    def judged(self) -> nn.Module:
        """The module whose weights ``validate`` judges and the best epoch saves: ``kept``, unless they are averaged."""
        return self.kept()

    @abstractmethod
    def train_epoch(self, epoch: int, progress: Progress, bar: EpochBar) -> dict[str, float]:
        """Learn for one epoch, count ``progress.step``, and return what the log says of it, with its ``loss``."""

    @abstractmethod
    def validate(self) -> dict[str, float]:
        """How good the present weights are on validation: the same in all processes."""

    @abstractmethod
    def rank(self, metrics: Mapping[str, float]) -> list[float]:
        """What makes one epoch better than another: larger is better, first number first."""

    def path(self, name: str) -> Path:
        """The stage's own file of this name in the run folder."""
        return self.session.run / (f"{self.name}_{name}" if self.name else name)

    @property
    def seed(self) -> int:
        """The run's seed, and of each stage with a name another."""
        seed = self.session.experiment.seed
        return seed if not self.name else int(hashlib.sha256(f"{seed} {self.name}".encode()).hexdigest()[:7], 16)

    @property
    def checkpoint_path(self) -> Path:
        return self.path("checkpoint.safetensors")

    @property
    def best_path(self) -> Path:
        return self.path("best.safetensors")


def run_epochs(stage: Stage, *, after_epoch: AfterEpoch | None = None) -> Progress:
    """Run a stage to its last epoch, or until validation stops getting better; it ends with its best weights loaded.

    A run that was stopped goes on after the last finished epoch, and ends as it would have without the break.

    Raises:
        ModelError: the checkpoint is damaged, or made by another config.
    """
    session, progress = stage.session, go_on(stage)
    session.begin()
    first = session.fabric.is_global_zero
    log = MetricsLog(session.run, stage=stage.name, enabled=first)
    log.start(after_epoch=progress.epoch or -1)
    if stage.keeps_start and progress.best is None:
        _end_epoch(stage, progress, log, {"epoch": 0})
    while progress.epoch < stage.epochs and progress.epoch - progress.best_epoch < stage.patience:
        epoch, started = progress.epoch + 1, perf_counter()
        with EpochBar(epoch=epoch, epochs=stage.epochs, enabled=first, best=_tell(progress)) as bar:
            losses = stage.train_epoch(epoch, progress, bar)
        progress.epoch = epoch
        line = {"epoch": epoch, "seconds": perf_counter() - started, **losses}
        metrics = _end_epoch(stage, progress, log, line)
        if first:
            _save(stage, progress)
        session.fabric.barrier()
        if after_epoch is not None:
            after_epoch(epoch, metrics)
    stage.kept().load_state_dict(load_file(stage.best_path))
    session.fabric.barrier()  # the file may be removed now, which no process needs any more
    return progress


def go_on(stage: Stage) -> Progress:
    """Put the stage's last checkpoint back. A stage that was stopped in its first epoch starts again.

    Raises:
        ModelError: the checkpoint is damaged, or made by another config.
    """
    start = digest_weights(stage.kept().state_dict()) if stage.keeps_start else ""
    if not stage.checkpoint_path.exists():
        return Progress(start=start)
    found = read_checkpoint(stage.checkpoint_path)
    if found.progress.start != start:
        return Progress(start=start)
    try:
        found.restore(stage.optimizer, scaler_of(stage.session.fabric))
        for name, module in stage.learning().items():
            module.load_state_dict(found.weights(name))
    except (RuntimeError, ValueError) as error:
        raise ModelError(
            f"{stage.checkpoint_path} does not fit the run's config. Train anew, without --resume."
        ) from error
    return found.progress


def digest_weights(weights: Tensors) -> str:
    """SHA-256 of named tensors."""
    digest = hashlib.sha256()
    for name, tensor in sorted(weights.items()):
        values = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {values.dtype} {tuple(values.shape)}".encode() + values.numpy().tobytes())
    return digest.hexdigest()


def _end_epoch(stage: Stage, progress: Progress, log: MetricsLog, line: dict[str, Any]) -> dict[str, float]:
    """Validate, keep the weights where they are the best so far, and log."""
    started = perf_counter()
    forget_forms()  # not every optimizer lets torch see that weights changed
    metrics = stage.validate()
    rank = stage.rank(metrics)
    if progress.best is None or rank > progress.best:
        progress.best, progress.best_epoch = rank, progress.epoch
        if stage.session.fabric.is_global_zero:
            write_tensors(stage.best_path, stage.judged().state_dict())
    seconds = line.get("seconds", 0.0) + perf_counter() - started
    log.add({**line, "seconds": seconds, **{f"val_{key}": value for key, value in metrics.items()}})
    stage.session.fabric.barrier()
    return metrics


def _save(stage: Stage, progress: Progress) -> None:
    weights = {
        f"{part}.{name}": value
        for part, module in stage.learning().items()
        for name, value in module.state_dict().items()
    }
    save_checkpoint(
        stage.checkpoint_path, weights=weights, optimizer=stage.optimizer, progress=progress,
        scaler=scaler_of(stage.session.fabric),
    )


def _tell(progress: Progress) -> str:
    return "-" if progress.best is None else f"{abs(progress.best[0]):.3f}"
