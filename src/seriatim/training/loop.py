"""Training, top to bottom on one page."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import Dataset

from seriatim.errors import ConfigError, ModelError
from seriatim.experiment import Experiment, TrainingSettings
from seriatim.models.network import SequenceNetwork
from seriatim.series.batch import SliceBatch
from seriatim.tasks import DiagnosisTask
from seriatim.tasks.predict import SeriesScores, score_embeddings, score_series
from seriatim.training.checkpoint import Progress, load_checkpoint, save_checkpoint, write_tensors
from seriatim.training.dataset import Item, PreparedSeries, load_batches, plan_epoch
from seriatim.training.embeddings import Embedder
from seriatim.training.examples import Example
from seriatim.training.progress import EpochBar
from seriatim.training.records import MetricsLog
from seriatim.training.runtime import seed_epoch, set_learning_rate

CHECKPOINT = "checkpoint.safetensors"
AfterEpoch = Callable[[int, Mapping[str, float]], None]
"""(epoch, metrics of validation): called when an epoch is finished and saved; what it raises ends the run."""


@dataclass(slots=True, kw_only=True)
class Learner:
    """What a run trains and with what. ``model`` is the LossModule as Fabric wrapped it."""

    experiment: Experiment
    task: DiagnosisTask
    network: SequenceNetwork
    model: Any
    optimizer: Optimizer
    fabric: Fabric
    train: Dataset[Item]
    train_count: int
    validation: Sequence[Example]
    prepared: PreparedSeries
    embedder: Embedder | None


def fit(learner: Learner, run: Path, *, progress: Progress, after_epoch: AfterEpoch | None = None) -> Progress:
    """Train until the last epoch, or until validation stops getting better; ``run`` always holds the best weights.

    From the ``progress`` of ``go_on`` it goes on after the last finished epoch, and ends as it would have without the
    break.
    """
    training, fabric = learner.experiment.training, learner.fabric
    checkpoint, log = run / CHECKPOINT, MetricsLog(run, enabled=fabric.is_global_zero)
    log.start(after_epoch=progress.epoch)
    for epoch in range(progress.epoch + 1, training.epochs + 1):
        if epoch - 1 - progress.best_epoch >= training.patience:
            break
        started = perf_counter()
        with EpochBar(epoch=epoch, epochs=training.epochs, enabled=fabric.is_global_zero, best=_tell(progress)) as bar:
            losses = _train_epoch(learner, epoch=epoch, progress=progress, bar=bar)
        metrics = validate(learner)
        rank = rank_epoch(learner.task, metrics)
        progress.epoch = epoch
        if progress.best is None or rank > progress.best:
            progress.best, progress.best_epoch = rank, epoch
            if fabric.is_global_zero:
                write_tensors(run / "model.safetensors", learner.network.state_dict())
        log.add(
            {
                "epoch": epoch,
                "seconds": perf_counter() - started,
                **losses,
                **{f"val_{key}": value for key, value in metrics.items()},
            }
        )
        if fabric.is_global_zero:
            save_checkpoint(
                checkpoint,
                weights=learner.network.state_dict(),
                optimizer=learner.optimizer,
                progress=progress,
                scaler=_scaler(fabric),
            )
        fabric.barrier()
        if after_epoch is not None:
            after_epoch(epoch, metrics)
    return progress


def go_on(learner: Learner, run: Path) -> Progress:
    """Put a run's last checkpoint into the learner. A run that was stopped in its first epoch starts again.

    Raises:
        ModelError: the checkpoint is damaged, or made by another config.
    """
    path = run / CHECKPOINT
    if not path.exists():
        return Progress()
    weights, progress = load_checkpoint(path, optimizer=learner.optimizer, scaler=_scaler(learner.fabric))
    try:
        learner.network.load_state_dict(weights)
    except RuntimeError as error:
        raise ModelError(f"{path} does not fit the run's config. Train anew, without --resume.") from error
    return progress


def _train_epoch(learner: Learner, *, epoch: int, progress: Progress, bar: EpochBar) -> dict[str, float]:
    training, fabric = learner.experiment.training, learner.fabric
    seed_epoch(learner.experiment, epoch, rank=fabric.global_rank)
    learner.model.train()
    plan = plan_epoch(learner.train_count, epoch=epoch, seed=learner.experiment.seed, batch_size=training.batch_size)
    mine = share(plan, rank=fabric.global_rank, world=fabric.world_size)
    steps = training.epochs * len(mine)
    sums: dict[str, float] = {}
    for number, batch in enumerate(load_batches(learner.train, mine, workers=training.workers), start=1):
        rate = set_learning_rate(learner.optimizer, training, step=progress.step, steps=steps)
        moves = number % training.accumulate == 0 or number == len(mine)
        losses = _step(learner, batch.to(fabric.device), moves=moves)
        progress.step += 1
        for key, value in losses.items():
            sums[key] = sums.get(key, 0.0) + value
        bar.advance(done=number, of=len(mine), loss=sums["loss"] / number)
    return {**{key: value / len(mine) for key, value in sums.items()}, "learning_rate": rate}


class LossModule(nn.Module):
    """Network and loss as the one module that Fabric wraps. It takes a batch by its fields, as a dict: for mixed
    precision Fabric converts the tensors of a dict, and refuses those of a frozen dataclass.
    """

    def __init__(self, network: SequenceNetwork, task: DiagnosisTask) -> None:
        super().__init__()
        self.network, self._task = network, task

    def forward(self, fields: dict[str, Any]) -> dict[str, Tensor]:
        batch = SliceBatch(**fields)
        if batch.slices is not None:
            return self._task.loss(self.network(batch.slices, batch.mask), batch)
        assert batch.embeddings is not None
        return self._task.loss(self.network.read(batch.embeddings, batch.mask), batch)


def _step(learner: Learner, batch: SliceBatch, *, moves: bool) -> dict[str, float]:
    training, fabric, optimizer = learner.experiment.training, learner.fabric, learner.optimizer
    with fabric.no_backward_sync(learner.model, enabled=not moves):
        losses = learner.model({field.name: getattr(batch, field.name) for field in dataclasses.fields(batch)})
        fabric.backward(losses["loss"] / training.accumulate)
    values = {key: float(value.detach()) for key, value in losses.items()}
    _refuse_divergence("loss", values["loss"], training)
    if moves:
        norm = fabric.clip_gradients(
            learner.model, optimizer, max_norm=training.clip_norm, error_if_nonfinite=False
        )
        if _scaler(fabric) is None:  # a scaler skips such a step by itself and tries a smaller scale
            _refuse_divergence("gradient's norm", float(norm), training)
        optimizer.step()
        optimizer.zero_grad()
    return values


def _refuse_divergence(name: str, value: float, training: TrainingSettings) -> None:
    if not math.isfinite(value):
        raise ConfigError(
            f"Training diverged: the {name} is {value}. Lower training.learning_rate (now "
            f"{training.learning_rate:g}), or set training.precision=32-true, and train anew."
        )


def validate(learner: Learner) -> dict[str, float]:
    """Score every validation series once, as scoring would, each process its share; then the metrics over all."""
    fabric = learner.fabric
    rows = range(fabric.global_rank, len(learner.validation), fabric.world_size)
    mine = {row: score_example(learner, learner.validation[row]).probabilities.numpy() for row in rows}
    labels = np.array([example.labels for example in learner.validation])
    return learner.task.metrics(_gather(fabric, mine, len(labels)), labels)


def score_example(learner: Learner, example: Example) -> SeriesScores:
    """Score one example with the present weights, from its cached embeddings where there are any."""
    learner.network.eval()
    test_time = learner.experiment.test_time
    if learner.embedder is not None:
        views = [learner.embedder.embed(example.series)]
        if test_time.flip_left_right:
            views.append(learner.embedder.embed_mirrored(example.series))
        return score_embeddings(learner.network, learner.task, *views, reverse_order=test_time.reverse_order)
    return score_series(learner.network, learner.task, learner.prepared.slices(example.series), test_time)


def share(plan: list[list[Any]], *, rank: int, world: int) -> list[list[Any]]:
    """The batches of one process; the first are repeated so that every process makes the same number of steps."""
    padded = [plan[index % len(plan)] for index in range(-(-len(plan) // world) * world)]
    return padded[rank::world]


def _gather(fabric: Fabric, mine: dict[int, NDArray[np.float64]], count: int) -> NDArray[np.float64]:
    """(V,K) of all processes: each brings its own rows, the sum puts them together."""
    width = fabric.all_reduce(torch.tensor(max(map(len, mine.values()), default=0)), reduce_op="max")
    table = torch.zeros(count, int(width), dtype=torch.float64)
    for row, values in mine.items():
        table[row] = torch.from_numpy(values)
    return np.asarray(fabric.all_reduce(table, reduce_op="sum"))


def rank_epoch(task: DiagnosisTask, metrics: dict[str, float]) -> list[float]:
    """What makes an epoch better: the task's metric, and where that ties or is unknown, a lower loss."""
    name, direction = task.monitor
    sign = 1.0 if direction == "max" else -1.0
    return [sign * metrics.get(name, 0.0), -metrics.get("log_loss", 0.0)]


def _tell(progress: Progress) -> str:
    return "-" if progress.best is None else f"{abs(progress.best[0]):.3f}"


def _scaler(fabric: Fabric) -> Any:
    return getattr(fabric.strategy.precision, "scaler", None)
