"""The encoder's own stage: it learns from labelled slices, one by one, before the sequence model reads its embeddings.

So did the winners of the RSNA haemorrhage challenge (a CNN on slices first, then a sequence model on its embeddings):
natural-image features are the ceiling of a frozen encoder, and slices are many where series are few.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from seriatim.errors import ConfigError
from seriatim.experiment import EncoderStageSettings, Experiment
from seriatim.models.chunks import encode_in_chunks
from seriatim.series.batch import IGNORE
from seriatim.tasks import DiagnosisTask
from seriatim.training.checkpoint import Progress, load_checkpoint, save_checkpoint, write_tensors
from seriatim.training.dataset import PreparedSeries
from seriatim.training.examples import Example, Examples
from seriatim.training.records import append_line, read_metrics

ENCODER, CHECKPOINT, METRICS = "encoder.safetensors", "encoder_checkpoint.safetensors", "encoder_metrics.jsonl"
Array = NDArray[Any]


@dataclass(slots=True, kw_only=True)
class EncoderStage:
    """What the stage trains and with what: ``encoder`` (which is changed in place) under a linear ``head``."""

    experiment: Experiment
    task: DiagnosisTask
    encoder: Any
    head: nn.Linear
    prepared: PreparedSeries
    fabric: Fabric
    examples: Examples
    best: dict[str, Tensor] = field(default_factory=dict)

    @property
    def settings(self) -> EncoderStageSettings:
        assert self.experiment.encoder_stage is not None
        return self.experiment.encoder_stage


def train_encoder(stage: EncoderStage, run: Path) -> None:
    """Train the encoder on the labelled slices of the training series; it ends with the weights that did best on those
    of validation. A run that was stopped goes on after its last epoch, and a finished stage is only loaded.

    Raises:
        ConfigError: train or val has no labelled slice, or no positive one.
    """
    slices, held_out = labelled_slices(stage.examples.of("train")), labelled_slices(stage.examples.of("val"))
    for name, found in (("train", slices), ("val", held_out)):
        if not found.positive.any() or found.positive.all():
            raise ConfigError(f"encoder_stage needs positive and negative labelled slices in {name}; there are "
                              f"{len(found.labels)} labelled ones. Label some, or leave encoder_stage out.")
    if (run / ENCODER).is_file():
        stage.encoder.load_state_dict(load_file(run / ENCODER))
        return
    trainable = {name: one for name, one in stage.encoder.named_parameters() if one.is_floating_point()}
    before = {name: one.requires_grad for name, one in trainable.items()}
    stage.encoder.requires_grad_(True).eval()  # BatchNorm keeps the statistics it came with
    stage.fabric.to_device(stage.encoder)
    stage.fabric.to_device(stage.head)
    optimizer = AdamW([*trainable.values(), *stage.head.parameters()], lr=stage.settings.learning_rate,
                      weight_decay=stage.settings.weight_decay)
    _run_epochs(stage, run, optimizer, slices, held_out)
    stage.encoder.load_state_dict(stage.best)
    for name, one in trainable.items():
        one.requires_grad_(before[name])
    if stage.fabric.is_global_zero:
        write_tensors(run / ENCODER, stage.best)
        (run / CHECKPOINT).unlink(missing_ok=True)
    stage.fabric.barrier()


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledSlices:
    """N slices of which something is known: ``place`` (N,2) is example and slice, ``labels`` (N,K) as of an Example."""

    examples: Sequence[Example]
    place: Array
    labels: Array

    @property
    def positive(self) -> NDArray[np.bool_]:
        """(N,) True where any label is yes."""
        return np.asarray((self.labels == 1).any(axis=1))


def labelled_slices(examples: Sequence[Example]) -> LabelledSlices:
    """The slices of some series that have a label."""
    known = [(example != IGNORE).any(axis=1) for example in (one.slice_labels for one in examples)]
    place = np.array([(index, row) for index, rows in enumerate(known) for row in np.flatnonzero(rows)], dtype=int)
    labels = [one.slice_labels[rows] for one, rows in zip(examples, known, strict=True)]
    return LabelledSlices(examples=examples, place=place.reshape(-1, 2), labels=np.concatenate(labels))


def draw_epoch(slices: LabelledSlices, settings: EncoderStageSettings, *, seed: int, epoch: int) -> Array:
    """The slices of one epoch in order, as indices: a stated share of positives, the others drawn from the rest.

    A function of seed and epoch alone. Slices repeat only where there are fewer than are drawn.
    """
    generator = np.random.default_rng((seed, epoch))
    positive, negative = np.flatnonzero(slices.positive), np.flatnonzero(~slices.positive)
    count = settings.slices_per_epoch or round(len(positive) / settings.positive_share)
    wanted = round(count * settings.positive_share)
    drawn = [_draw(generator, positive, wanted), _draw(generator, negative, count - wanted)]
    return np.asarray(generator.permutation(np.concatenate(drawn)))


def _draw(generator: np.random.Generator, pool: Array, count: int) -> Array:
    whole, rest = divmod(count, len(pool))
    return np.concatenate([np.tile(pool, whole), generator.permutation(pool)[:rest]])


def _run_epochs(stage: EncoderStage, run: Path, optimizer: Optimizer, slices: LabelledSlices,
                held_out: LabelledSlices) -> None:
    progress = _go_on(stage, run, optimizer)
    log = [line for line in read_metrics(run / METRICS) if line["epoch"] <= progress.epoch]
    if stage.fabric.is_global_zero:
        (run / METRICS).write_text("".join(json.dumps(line) + "\n" for line in log))
    for epoch in range(progress.epoch + 1, stage.settings.epochs + 1):
        loss = _train_epoch(stage, optimizer, slices, epoch)
        metrics = validate_encoder(stage, held_out)
        rank = [metrics.get("auc", 0.0), -metrics.get("log_loss", 0.0)]
        progress.epoch = epoch
        if progress.best is None or rank > progress.best:
            progress.best, progress.best_epoch = rank, epoch
            stage.best = {name: value.detach().cpu().clone() for name, value in stage.encoder.state_dict().items()}
        if stage.fabric.is_global_zero:
            append_line(run / METRICS, {"epoch": epoch, "loss": loss, **{f"val_{k}": v for k, v in metrics.items()}})
            _save(stage, run, optimizer, progress)
        stage.fabric.barrier()


def _train_epoch(stage: EncoderStage, optimizer: Optimizer, slices: LabelledSlices, epoch: int) -> float:
    settings, seed = stage.settings, stage.experiment.seed
    order = draw_epoch(slices, settings, seed=seed, epoch=epoch)
    torch.manual_seed(seed * 1_000_003 + epoch)
    augment = stage.experiment.augmentation.build(stage.experiment.preprocessing.size)
    parts = [order[start : start + settings.batch_size] for start in range(0, len(order), settings.batch_size)]
    steps, done = settings.epochs * len(parts), (epoch - 1) * len(parts)
    total = 0.0
    for number, part in enumerate(parts):
        rate = settings.learning_rate * 0.5 * (1 + np.cos(np.pi * (done + number) / steps))
        for group in optimizer.param_groups:
            group["lr"] = rate
        seeds = np.random.default_rng((seed, epoch, number)).integers(0, 2**31, size=len(part))
        inputs = torch.stack([
            _slice(stage, slices, int(index), lambda window, one=int(one): augment(window, one))
            for index, one in zip(part, seeds, strict=True)
        ])
        with stage.fabric.autocast():
            logits = stage.head(stage.encoder(inputs.to(stage.fabric.device)))
        labels = torch.from_numpy(slices.labels[part]).to(stage.fabric.device)
        loss = stage.task.slice_loss(logits.float(), labels)
        optimizer.zero_grad()
        torch.autograd.backward([loss])
        nn.utils.clip_grad_norm_([*stage.encoder.parameters(), *stage.head.parameters()], 1.0)
        optimizer.step()
        total += float(loss.detach())
    return total / len(parts)


def validate_encoder(stage: EncoderStage, slices: LabelledSlices) -> dict[str, float]:
    """How well the head tells the slices of validation, each seen alone."""
    probabilities = np.empty((len(slices.labels), stage.task.outputs))
    with torch.inference_mode():
        for rows, inputs in _by_series(stage, slices):
            logits = stage.head(encode_in_chunks(stage.encoder, inputs.to(stage.fabric.device)))
            probabilities[rows] = stage.task.slice_probabilities(logits).cpu().numpy()
    labels = slices.labels
    if stage.experiment.task.target == "multiclass":
        labels = np.where((labels == IGNORE).any(axis=1), IGNORE, labels.argmax(axis=1))[:, None]
    return stage.task.metrics(probabilities, labels)


def _by_series(stage: EncoderStage, slices: LabelledSlices) -> Iterator[tuple[Array, Tensor]]:
    for index, example in enumerate(slices.examples):
        rows = np.flatnonzero(slices.place[:, 0] == index)
        if len(rows):
            yield rows, stage.prepared.slices(example.series)[slices.place[rows, 1]]


def _slice(stage: EncoderStage, slices: LabelledSlices, index: int, change: Any) -> Tensor:
    """(C,h,w) one slice as the network sees it, changed together with the neighbours that are its channels."""
    example, row = slices.place[index]
    preprocessing, series = stage.experiment.preprocessing, slices.examples[example].series
    prepared, count = stage.prepared.prepare(series), len(series.instances)
    planes, reach = len(prepared) // count, preprocessing.neighbours
    low, high = max(0, row - reach), min(count, row + reach + 1)
    window = change(prepared[low * planes : high * planes])
    return preprocessing.finish(window)[row - low]


def _save(stage: EncoderStage, run: Path, optimizer: Optimizer, progress: Progress) -> None:
    modules = {"encoder": stage.encoder.state_dict(), "head": stage.head.state_dict(), "best": stage.best}
    weights = {f"{part}.{name}": value for part, state in modules.items() for name, value in state.items()}
    save_checkpoint(run / CHECKPOINT, weights=weights, optimizer=optimizer, progress=progress)


def _go_on(stage: EncoderStage, run: Path, optimizer: Optimizer) -> Progress:
    """Put the last checkpoint of the stage back; a fresh start where there is none."""
    if not (run / CHECKPOINT).is_file():
        return Progress()
    weights, progress = load_checkpoint(run / CHECKPOINT, optimizer=optimizer)
    parts: dict[str, dict[str, Tensor]] = {"encoder": {}, "head": {}, "best": {}}
    for name, value in weights.items():
        part, _, rest = name.partition(".")
        parts[part][rest] = value
    stage.encoder.load_state_dict(parts["encoder"])
    stage.head.load_state_dict(parts["head"])
    stage.best = parts["best"]
    return progress
