"""The encoder's own stage: it learns from labelled slices, one by one, before the sequence model reads its embeddings.

So did the winners of the RSNA haemorrhage challenge (a CNN on slices first, then a sequence model on its embeddings):
natural-image features are the ceiling of a frozen encoder, and slices are many where series are few.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from seriatim.errors import ConfigError
from seriatim.experiment import EncoderStageSettings
from seriatim.models.chunks import encode_in_chunks
from seriatim.series.batch import IGNORE
from seriatim.tasks import DiagnosisTask
from seriatim.tasks.labels import HALF
from seriatim.training.average import Average
from seriatim.training.checkpoint import Progress, write_tensors
from seriatim.training.epochs import Stage, run_epochs
from seriatim.training.examples import Example
from seriatim.training.progress import EpochBar
from seriatim.training.runtime import gather_rows, unfreeze
from seriatim.training.session import Session

ENCODER = "encoder.safetensors"
Array = NDArray[Any]


def train_encoder(session: Session) -> None:
    """Train the encoder on the labelled slices of the training series; it ends with the weights that did best on those
    of validation. Nothing is done where the run has no such stage, and a finished one is only loaded.

    Raises:
        ConfigError: train or val has labelled slices of one kind alone, or none; or the stage diverged.
        ModelError: the checkpoint to go on from is damaged, or made by another config.
    """
    if session.experiment.encoder_stage is None:
        return
    exclusive = session.task.settings.target == "multiclass"
    inherit = session.experiment.encoder_stage.labels == "series"
    slices, held_out = (
        labelled_slices(session.examples.of(split), exclusive=exclusive, inherit=inherit) for split in ("train", "val")
    )
    for name, found in (("train", slices), ("val", held_out)):
        if len(found.groups) < 2:
            kinds = "labelled slices of two classes" if exclusive else "positive and negative labelled slices"
            raise ConfigError(f"encoder_stage needs {kinds} in {name}; there are "
                              f"{len(found.labels)} labelled ones. Label some, or leave encoder_stage out.")
    encoder: nn.Module = session.network.encoder
    if (session.run / ENCODER).is_file():
        encoder.load_state_dict(load_file(session.run / ENCODER))
        return
    before = [one.requires_grad for one in encoder.parameters()]
    unfreeze(encoder)
    stage = EncoderStage(session, slices, held_out)
    run_epochs(stage)
    for one, learns in zip(encoder.parameters(), before, strict=True):
        one.requires_grad_(learns)
    if session.fabric.is_global_zero:
        write_tensors(session.run / ENCODER, encoder.state_dict())
        stage.checkpoint_path.unlink(missing_ok=True)
        stage.best_path.unlink(missing_ok=True)
    session.fabric.barrier()


class EncoderStage(Stage):
    """The encoder of the session's network under a linear head, and the slices it learns from and is judged by."""

    session: Session
    name = "encoder"

    def __init__(self, session: Session, slices: LabelledSlices, held_out: LabelledSlices) -> None:
        assert session.experiment.encoder_stage is not None
        self.session, self.slices, self.held_out = session, slices, held_out
        self.settings = session.experiment.encoder_stage
        self.epochs = self.patience = self.settings.epochs
        self.encoder = session.network.encoder
        torch.manual_seed(session.experiment.seed)
        self.head = nn.Linear(self.encoder.embedding_size, session.task.outputs)
        learning = [one for one in self.encoder.parameters() if one.requires_grad]
        optimizer = AdamW([*learning, *self.head.parameters()], lr=self.settings.learning_rate,
                          weight_decay=self.settings.weight_decay)
        self.module = SliceLossModule(self.encoder, self.head, session.task)
        self.optimizer: Optimizer
        self.model, self.optimizer = session.fabric.setup(self.module, optimizer)
        decay = self.settings.ema_decay
        self.average = None if decay is None else Average(self.module, decay=decay)

    def learning(self) -> Mapping[str, nn.Module]:
        averaged = {} if self.average is None else {
            "average_encoder": self.average.network.encoder, "average_head": self.average.network.head}
        return {"encoder": self.encoder, "head": self.head, **averaged}

    def kept(self) -> nn.Module:
        return self.encoder

    def judged(self) -> nn.Module:
        return self.judging()[0]

    def judging(self) -> tuple[nn.Module, nn.Module]:
        """The encoder and head that are validated: averaged ones, where weights are averaged."""
        if self.average is None:
            return self.encoder, self.head
        return self.average.network.encoder, self.average.network.head

    def train_epoch(self, epoch: int, progress: Progress, bar: EpochBar) -> dict[str, float]:
        settings, seed, fabric = self.settings, self.seed, self.session.fabric
        order = draw_epoch(self.slices, settings, seed=seed, epoch=epoch)
        torch.manual_seed(seed * 1_000_003 + epoch)
        self.model.eval()  # BatchNorm keeps the statistics it came with
        parts = [order[start : start + settings.batch_size] for start in range(0, len(order), settings.batch_size)]
        total = 0.0
        for number, part in enumerate(parts):
            rate = settings.learning_rate * 0.5 * (1 + np.cos(np.pi * progress.step / (settings.epochs * len(parts))))
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            seeds = np.random.default_rng((seed, epoch, number)).integers(0, 2**31, size=len(part))
            total += self._step(part, seeds)
            progress.step += 1
            if self.average is not None:
                self.average.follow(self.module, step=progress.step)
            bar.advance(done=number + 1, of=len(parts), loss=total / (number + 1))
        loss = float(fabric.all_reduce(torch.tensor(total), reduce_op="sum")) / len(parts)
        if not math.isfinite(loss):
            raise ConfigError(f"The encoder stage diverged: the loss is {loss}. Lower encoder_stage.learning_rate (now "
                              f"{settings.learning_rate:g}), and train anew.")
        return {"loss": loss}

    def _step(self, part: Array, seeds: Array) -> float:
        """One step over the slices ``part``, of which each process takes its share; its part of the mean loss.

        Processes average their gradients, so each multiplies its loss by its share of the known labels and by their
        number: the step is that of one process with all slices.
        """
        fabric = self.session.fabric
        known = (self.slices.labels[part] != IGNORE).sum(axis=1)
        mine = np.arange(len(part))[fabric.global_rank :: fabric.world_size]
        own = float(known[mine].sum() / known.sum())
        mine = mine if len(mine) else np.arange(1)  # of no weight, but every process must take part
        inputs = torch.stack([self._slice(int(part[one]), int(seeds[one])) for one in mine])
        labels = torch.from_numpy(self.slices.labels[part[mine]])
        loss = self.model(inputs.to(fabric.device), labels.to(fabric.device)) * own
        fabric.backward(loss * fabric.world_size)
        fabric.clip_gradients(self.model, self.optimizer, max_norm=1.0, error_if_nonfinite=False)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return float(loss.detach())

    def _slice(self, index: int, seed: int) -> Tensor:
        """(C,h,w) one slice as the network sees it, changed together with the neighbours that are its channels."""
        example, row = self.slices.place[index]
        experiment, series = self.session.experiment, self.slices.examples[example].series
        prepared, count = self.session.prepared.prepare(series), len(series.instances)
        planes, reach = len(prepared) // count, experiment.preprocessing.neighbours
        low, high = max(0, row - reach), min(count, row + reach + 1)
        augment = experiment.augmentation.build(experiment.preprocessing.size)
        window = augment(prepared[low * planes : high * planes], seed)
        return experiment.preprocessing.finish(window)[row - low]

    def validate(self) -> dict[str, float]:
        return validate_encoder(self)

    def rank(self, metrics: Mapping[str, float]) -> list[float]:
        return [metrics.get("auc", 0.0), -metrics.get("log_loss", 0.0)]


class SliceLossModule(nn.Module):
    """Encoder, head and loss as the one module that Fabric wraps."""

    def __init__(self, encoder: nn.Module, head: nn.Linear, task: DiagnosisTask) -> None:
        super().__init__()
        self.encoder, self.head, self._task = encoder, head, task

    def forward(self, inputs: Tensor, labels: Tensor) -> Tensor:
        inputs = inputs.contiguous(memory_format=torch.channels_last)
        return self._task.slice_loss(self.head(self.encoder(inputs)).float(), labels)


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledSlices:
    """N slices of which something is known: ``place`` (N,2) is example and slice, ``labels`` (N,K) as of an Example.

    With ``exclusive`` the K labels are classes, of which each slice has one.
    """

    examples: Sequence[Example]
    place: Array
    labels: Array
    exclusive: bool = False

    @property
    def groups(self) -> list[Array]:
        """The indices of the slices of each class; else of those where any label is yes, and of the others. Where one
        of these has none, it is left out.
        """
        found = self.labels >= HALF
        columns = found.T if self.exclusive else (found.any(axis=1), ~found.any(axis=1))
        return [np.flatnonzero(column) for column in columns if column.any()]


def labelled_slices(
    examples: Sequence[Example], *, exclusive: bool = False, inherit: bool = False
) -> LabelledSlices:
    """The slices of some series that have a label; with ``inherit`` those without one have that of their series."""
    told = [_inherit(one, exclusive=exclusive) if inherit else one.slice_labels for one in examples]
    known = [(labels != IGNORE).any(axis=1) for labels in told]
    place = np.array([(index, row) for index, rows in enumerate(known) for row in np.flatnonzero(rows)], dtype=int)
    labels = [own[rows] for own, rows in zip(told, known, strict=True)]
    return LabelledSlices(
        examples=examples, place=place.reshape(-1, 2), labels=np.concatenate(labels), exclusive=exclusive
    )


def _inherit(example: Example, *, exclusive: bool) -> Array:
    """(S,K) the labels of the slices, and those of the series in slices of which nothing is known."""
    own, given = example.slice_labels, np.asarray(example.labels, dtype=np.float32)
    if exclusive:
        given = np.where(given == IGNORE, IGNORE, given == np.arange(own.shape[1])).astype(np.float32)
    return np.where((own != IGNORE).any(axis=1, keepdims=True), own, given)


def draw_epoch(slices: LabelledSlices, settings: EncoderStageSettings, *, seed: int, epoch: int) -> Array:
    """The slices of one epoch in order, as indices: a stated share of positives, the others drawn from the rest; of
    classes each as often.

    A function of seed and epoch alone. Slices repeat only where there are fewer than are drawn.
    """
    generator, groups = np.random.default_rng((seed, epoch)), slices.groups
    if slices.exclusive:
        count = settings.slices_per_epoch or len(slices.labels)
        wanted = [(count + place) // len(groups) for place in range(len(groups))]
    else:
        count = settings.slices_per_epoch or round(len(groups[0]) / settings.positive_share)
        positives = round(count * settings.positive_share)
        wanted = [positives, count - positives]
    drawn = [_draw(generator, group, number) for group, number in zip(groups, wanted, strict=True)]
    return np.asarray(generator.permutation(np.concatenate(drawn)))


def _draw(generator: np.random.Generator, pool: Array, count: int) -> Array:
    whole, rest = divmod(count, len(pool))
    return np.concatenate([np.tile(pool, whole), generator.permutation(pool)[:rest]])


def validate_encoder(stage: EncoderStage) -> dict[str, float]:
    """How well the head tells the slices of validation, each seen alone; each process takes its share of series."""
    session, slices = stage.session, stage.held_out
    encoder, head = stage.judging()
    stage.model.eval()
    mine: dict[int, Array] = {}
    with torch.inference_mode():
        for rows, inputs in _by_series(stage):
            logits = head(encode_in_chunks(encoder, inputs.to(session.fabric.device)))
            mine |= dict(zip(rows.tolist(), session.task.slice_probabilities(logits.cpu()).numpy(), strict=True))
    labels = slices.labels
    if session.experiment.task.target == "multiclass":
        labels = np.where((labels == IGNORE).any(axis=1), IGNORE, labels.argmax(axis=1))[:, None]
    return session.task.metrics(gather_rows(session.fabric, mine, len(labels)), labels)


def _by_series(stage: EncoderStage) -> Iterator[tuple[Array, Tensor]]:
    fabric, slices = stage.session.fabric, stage.held_out
    for index in range(fabric.global_rank, len(slices.examples), fabric.world_size):
        rows = np.flatnonzero(slices.place[:, 0] == index)
        if len(rows):
            yield rows, stage.session.prepared.slices(slices.examples[index].series)[slices.place[rows, 1]]
