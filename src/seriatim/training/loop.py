"""The loop over batches of series, top to bottom on one page: what an epoch of the sequence model is."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import islice
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
from seriatim.training.average import Average
from seriatim.training.checkpoint import Progress
from seriatim.training.compiled import CompiledEncoder
from seriatim.training.dataset import Item, load_batches, plan_epoch
from seriatim.training.epochs import Stage
from seriatim.training.mixup import mixed_loss
from seriatim.training.optimizer import build_optimizer, set_learning_rate
from seriatim.training.progress import EpochBar
from seriatim.training.runtime import add_up, gather_rows, scaler_of, seed_epoch, share, share_buffers
from seriatim.training.session import Session


@dataclass(kw_only=True)
class SequenceStage(Stage):
    """A stage that learns from whole series. ``model`` is the LossModule as Fabric wrapped it.

    ``adapting`` are the encoder's parameters that learn once it is not frozen. ``average`` is there where averaged
    weights are judged and kept. With ``still_encoder`` BatchNorm keeps the statistics it came with.
    """

    session: Session
    settings: LoopSettings
    name: str
    model: Any
    optimizer: Optimizer
    train: Dataset[Item]
    adapting: Sequence[nn.Parameter] = ()
    average: Average[SequenceNetwork] | None = None
    keeps_start: bool = False
    still_encoder: bool = False

    def __post_init__(self) -> None:
        self.epochs, self.patience = self.settings.epochs, self.settings.patience

    def learning(self) -> Mapping[str, nn.Module]:
        averaged = {} if self.average is None else {"average": self.average.network}
        return {"weights": self.session.network, **averaged}

    def kept(self) -> nn.Module:
        return self.session.network

    def judged(self) -> SequenceNetwork:
        return self.session.network if self.average is None else self.average.network

    def train_epoch(self, epoch: int, progress: Progress, bar: EpochBar) -> dict[str, float]:
        session, settings = self.session, self.settings
        rank, world = session.fabric.global_rank, session.fabric.world_size
        seed_epoch(self.seed, epoch, rank=rank)
        self._set_modes(epoch)
        count = len(session.examples.of("train"))
        plan = plan_epoch(count, epoch=epoch, seed=self.seed, batch_size=settings.batch_size)
        mine, left = share(plan, rank=rank, world=world), len(plan[rank::world])
        moves = -(-len(mine) // settings.accumulate)
        sums: dict[str, float] = {}
        batches = load_batches(self.train, mine, workers=session.experiment.training.workers)
        for number in range(1, moves + 1):
            rate = set_learning_rate(self.optimizer, settings, step=progress.step, steps=settings.epochs * moves)
            group = list(islice(batches, settings.accumulate))
            losses = _step(self, group, counted=max(0, min(left, len(group))))
            left -= len(group)
            progress.step += 1
            if self.average is not None:
                self.average.follow(session.network, step=progress.step)
            for key, value in losses.items():
                sums[key] = sums.get(key, 0.0) + value
            bar.advance(done=number, of=moves, loss=sums["loss"] / number)
        return {**{key: value / moves for key, value in sums.items()}, "learning_rate": rate}

    def _set_modes(self, epoch: int) -> None:
        """Training mode, with the encoder frozen until its epoch comes, or for good where its rate is 0: its weights
        and statistics stay.
        """
        encoder = self.session.network.encoder
        frozen = epoch < self.settings.unfreeze_epoch or self.settings.encoder_rate == 0
        for parameter in self.adapting:
            parameter.requires_grad_(not frozen)
        self.model.train()
        if frozen or self.still_encoder:
            encoder.eval()

    def validate(self) -> dict[str, float]:
        """Score every validation series once, as scoring would, each process its share; then the metrics over all."""
        session, validation = self.session, self.session.examples.of("val")
        share_buffers(session.fabric, self.judged())
        rows = range(session.fabric.global_rank, len(validation), session.fabric.world_size)
        mine = {row: session.score(validation[row], self.judged()).probabilities.numpy() for row in rows}
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
    adapting = [one for one in session.network.encoder.parameters() if one.requires_grad]
    optimizer = build_optimizer(session.network, settings)
    model, optimizer = session.fabric.setup(LossModule(session.network, session.task), optimizer)
    average = None if settings.ema_decay is None else Average(session.network, decay=settings.ema_decay)
    compiles = session.experiment.training.compile and session.embedder is None
    session.network.training_encoder = CompiledEncoder(session.network.encoder) if compiles else None
    return SequenceStage(session=session, settings=settings, name=name, model=model, optimizer=optimizer, train=train,
                         adapting=adapting, average=average, keeps_start=adapts, still_encoder=adapts)


class LossModule(nn.Module):
    """Network and loss as the one module that Fabric wraps. It takes a batch by its fields, as a dict: for mixed
    precision Fabric converts the tensors of a dict, and refuses those of a frozen dataclass.
    """

    def __init__(self, network: SequenceNetwork, task: DiagnosisTask) -> None:
        super().__init__()
        self.network, self._task = network, task

    def forward(self, fields: dict[str, Any], shares: dict[str, float]) -> dict[str, Tensor]:
        batch = SliceBatch(**fields)
        embeddings = batch.embeddings if batch.slices is None else self.network.encode(batch.slices, batch.mask)
        assert embeddings is not None
        if batch.mixing < 1.0:
            return mixed_loss(self.network, self._task, embeddings, batch, shares)
        return self._task.loss(self.network.read(embeddings, batch.mask), batch, shares)


def _step(stage: SequenceStage, group: Sequence[SliceBatch], *, counted: int) -> dict[str, float]:
    """Move the weights once, by the gradient of one batch made of the first ``counted`` of ``group`` and of those of
    the other processes. The others are here so that all processes make the same steps, and weigh nothing.
    """
    fabric, optimizer, task = stage.session.fabric, stage.optimizer, stage.session.task
    amounts = [task.amounts(batch) for batch in group[:counted]]
    totals = add_up(fabric, {name: sum(one[name] for one in amounts) for name in task.amounts(group[0])})
    values: dict[str, float] = {}
    for index, batch in enumerate(group):
        own = amounts[index] if index < counted else {}
        shares = {name: own.get(name, 0.0) / total if total else 0.0 for name, total in totals.items()}
        with fabric.no_backward_sync(stage.model, enabled=index + 1 < len(group)):
            moved = batch.to(fabric.device)
            losses = stage.model({field.name: getattr(moved, field.name) for field in fields(moved)}, shares)
            fabric.backward(losses["loss"] * fabric.world_size)  # processes average their gradients
        for name, value in losses.items():
            values[name] = values.get(name, 0.0) + float(value.detach())
    values = add_up(fabric, values)
    _refuse_divergence("loss", values["loss"], stage)
    norm = fabric.clip_gradients(stage.model, optimizer, max_norm=stage.settings.clip_norm, error_if_nonfinite=False)
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
