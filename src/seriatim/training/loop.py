"""The loop over batches of series, top to bottom on one page: what an epoch of the sequence model is."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import Dataset

from seriatim.errors import ConfigError
from seriatim.experiment import LoopSettings
from seriatim.models.network import SequenceNetwork
from seriatim.series.batch import SliceBatch
from seriatim.tasks import DiagnosisTask
from seriatim.training.checkpoint import Progress
from seriatim.training.dataset import Item, load_batches, plan_epoch
from seriatim.training.epochs import Stage
from seriatim.training.mixup import mixed_loss
from seriatim.training.progress import EpochBar
from seriatim.training.runtime import build_optimizer, gather_rows, scaler_of, seed_epoch, set_learning_rate, share
from seriatim.training.session import Session


@dataclass(kw_only=True)
class SequenceStage(Stage):
    """A stage that learns from whole series. ``model`` is the LossModule as Fabric wrapped it.

    ``still_encoder``: the encoder stays in eval mode, so that BatchNorm keeps the statistics it came with.
    """

    session: Session
    settings: LoopSettings
    name: str
    model: Any
    optimizer: Optimizer
    train: Dataset[Item]
    keeps_start: bool = False
    still_encoder: bool = False

    def __post_init__(self) -> None:
        self.epochs, self.patience = self.settings.epochs, self.settings.patience

    def learning(self) -> Mapping[str, nn.Module]:
        return {"weights": self.session.network}

    def kept(self) -> nn.Module:
        return self.session.network

    def train_epoch(self, epoch: int, progress: Progress, bar: EpochBar) -> dict[str, float]:
        session, settings = self.session, self.settings
        experiment, fabric = session.experiment, session.fabric
        seed_epoch(self.seed, epoch, rank=fabric.global_rank)
        self.model.train()
        if self.still_encoder:
            session.network.encoder.eval()
        count = len(session.examples.of("train"))
        plan = plan_epoch(count, epoch=epoch, seed=self.seed, batch_size=settings.batch_size)
        mine = share(plan, rank=fabric.global_rank, world=fabric.world_size)
        steps = settings.epochs * len(mine)
        sums: dict[str, float] = {}
        batches = load_batches(self.train, mine, workers=experiment.training.workers)
        for number, batch in enumerate(batches, start=1):
            rate = set_learning_rate(self.optimizer, settings, step=progress.step, steps=steps)
            moves = number % settings.accumulate == 0 or number == len(mine)
            losses = _step(self, batch.to(fabric.device), moves=moves)
            progress.step += 1
            for key, value in losses.items():
                sums[key] = sums.get(key, 0.0) + value
            bar.advance(done=number, of=len(mine), loss=sums["loss"] / number)
        return {**{key: value / len(mine) for key, value in sums.items()}, "learning_rate": rate}

    def validate(self) -> dict[str, float]:
        """Score every validation series once, as scoring would, each process its share; then the metrics over all."""
        session, validation = self.session, self.session.examples.of("val")
        rows = range(session.fabric.global_rank, len(validation), session.fabric.world_size)
        mine = {row: session.score(validation[row]).probabilities.numpy() for row in rows}
        labels = np.array([example.labels for example in validation])
        return session.task.metrics(gather_rows(session.fabric, mine, len(labels)), labels)

    def rank(self, metrics: Mapping[str, float]) -> list[float]:
        return rank_epoch(self.session.task, metrics)


def build_stage(
    session: Session, settings: LoopSettings, train: Dataset[Item], *, name: str, adapts: bool = False
) -> SequenceStage:
    """The stage with its optimizer, wrapped for the devices it runs on.

    With ``adapts`` it goes on from trained weights: these stay the best until an epoch is better, and BatchNorm keeps
    its statistics.
    """
    optimizer = build_optimizer(session.network, settings)
    model, optimizer = session.fabric.setup(LossModule(session.network, session.task), optimizer)
    return SequenceStage(session=session, settings=settings, name=name, model=model, optimizer=optimizer, train=train,
                         keeps_start=adapts, still_encoder=adapts)


class LossModule(nn.Module):
    """Network and loss as the one module that Fabric wraps. It takes a batch by its fields, as a dict: for mixed
    precision Fabric converts the tensors of a dict, and refuses those of a frozen dataclass.
    """

    def __init__(self, network: SequenceNetwork, task: DiagnosisTask) -> None:
        super().__init__()
        self.network, self._task = network, task

    def forward(self, fields: dict[str, Any]) -> dict[str, Tensor]:
        batch = SliceBatch(**fields)
        embeddings = batch.embeddings if batch.slices is None else self.network.encode(batch.slices, batch.mask)
        assert embeddings is not None
        if batch.mixing < 1.0:
            return mixed_loss(self.network, self._task, embeddings, batch)
        return self._task.loss(self.network.read(embeddings, batch.mask), batch)


def _step(stage: SequenceStage, batch: SliceBatch, *, moves: bool) -> dict[str, float]:
    settings, fabric, optimizer = stage.settings, stage.session.fabric, stage.optimizer
    with fabric.no_backward_sync(stage.model, enabled=not moves):
        losses = stage.model({field.name: getattr(batch, field.name) for field in dataclasses.fields(batch)})
        fabric.backward(losses["loss"] / settings.accumulate)
    values = {key: float(value.detach()) for key, value in losses.items()}
    _refuse_divergence("loss", values["loss"], stage)
    if moves:
        norm = fabric.clip_gradients(stage.model, optimizer, max_norm=settings.clip_norm, error_if_nonfinite=False)
        if scaler_of(fabric) is None:  # a scaler skips such a step by itself and tries a smaller scale
            _refuse_divergence("gradient's norm", float(norm), stage)
        optimizer.step()
        optimizer.zero_grad()
    return values


def _refuse_divergence(name: str, value: float, stage: SequenceStage) -> None:
    if not math.isfinite(value):
        block = "joint_stage" if stage.name else "training"
        raise ConfigError(
            f"Training diverged: the {name} is {value}. Lower {block}.learning_rate (now "
            f"{stage.settings.learning_rate:g}), or set training.precision=32-true, and train anew."
        )


def rank_epoch(task: DiagnosisTask, metrics: Mapping[str, float]) -> list[float]:
    """What makes an epoch better: the task's metric, and where that ties or is unknown, a lower loss."""
    name, direction = task.monitor
    sign = 1.0 if direction == "max" else -1.0
    return [sign * metrics.get(name, 0.0), -metrics.get("log_loss", 0.0)]
