"""The stage of `pretraining:`: the sequence model, and the encoder where asked to, learn from series without labels.

What a hidden slice should look like is told by the encoder as it came, frozen: such a target cannot collapse, which one
that learns along with the answer can. Where the encoder stays frozen, epochs read embeddings that were computed once.
"""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from seriatim.errors import ConfigError
from seriatim.experiment import BaseExperiment, PretrainingSettings
from seriatim.io.tables.outputs import read_json, write_csv, write_json
from seriatim.models.network import SequenceNetwork
from seriatim.models.pretext import PretextHeads
from seriatim.series import Series
from seriatim.training.checkpoint import Progress, write_tensors
from seriatim.training.dataset import PreparedSeries, plan_epoch
from seriatim.training.embeddings import Embedder
from seriatim.training.epochs import Stage, run_epochs
from seriatim.training.examples import series_key
from seriatim.training.pretext import (
    FEWEST,
    Answers,
    Question,
    Questions,
    Scale,
    amounts,
    answer,
    draw_question,
    losses,
    pad_questions,
)  # fmt: skip
from seriatim.training.pretext_scores import PretextScores
from seriatim.training.progress import EpochBar
from seriatim.training.runtime import add_up, seed_epoch, share, unfreeze
from seriatim.training.series_traits import SeriesTraits
from seriatim.training.session import Session
from seriatim.training.unlabelled import COLUMNS, PretrainingSeries, gather_pretraining

WEIGHTS, RECORD, TABLE = "pretraining.safetensors", "pretraining.json", "pretraining.csv"
REPEATS = 4
"""Draws of each kind per validation series; the same ones after every epoch."""


def pretrain(session: Session) -> None:
    """Train the session's network on the questions of ``seriatim.training.pretext``; its sequence model and encoder end
    with the weights of the lowest validation loss. Nothing is done where the run has no such stage, and a finished one
    is only loaded.

    Raises:
        ConfigError: an unlabelled manifest is wrong, or the series changed since the run was started.
        InputError: no series is left to learn from or to judge on.
        ModelError: the checkpoint to go on from is damaged, or made by another config.
    """
    settings, run = session.experiment.pretraining, session.run
    if settings is None:
        return
    kept = kept_parts(session.network)
    if (run / WEIGHTS).is_file():
        kept.load_state_dict(load_file(run / WEIGHTS))
    else:
        before = [one.requires_grad for one in session.network.encoder.parameters()]
        stage = PretrainingStage(session, *_gather(session, settings))
        run_epochs(stage)
        for one, learns in zip(session.network.encoder.parameters(), before, strict=True):
            one.requires_grad_(learns)
        if session.fabric.is_global_zero:
            write_tensors(run / WEIGHTS, kept.state_dict())
            stage.checkpoint_path.unlink(missing_ok=True)
            stage.best_path.unlink(missing_ok=True)
        session.fabric.barrier()
    if settings.encoder:
        session.embedder = None


def kept_parts(network: SequenceNetwork) -> nn.ModuleDict:
    """What pretraining hands on."""
    return nn.ModuleDict({"encoder": network.encoder, "temporal": network.temporal})


class PretrainingStage(Stage):
    """The network under heads that are thrown away. ``series`` are embedded by ``embedder``, the encoder as it came."""

    name = "pretraining"
    session: Session

    def __init__(self, session: Session, series: PretrainingSeries, embedder: Embedder) -> None:
        assert session.experiment.pretraining is not None
        self.session, self.series, self.embedder = session, series, embedder
        self.settings, network = session.experiment.pretraining, session.network
        self.epochs = self.patience = self.settings.epochs
        if self.settings.encoder:
            unfreeze(network.encoder)
        torch.manual_seed(self.seed)
        self.heads = PretextHeads(network.encoder.embedding_size, network.temporal.context_size)
        self.scale = _measure_scale(embedder, series.train, session.fabric.device)
        with torch.no_grad():
            self.heads.token.copy_(self.scale.mean)  # what says the least
        optimizer = _build_optimizer(network, self.heads, self.settings)
        self.optimizer: Optimizer
        self.model, self.optimizer = session.fabric.setup(PretextModule(network, self.heads), optimizer)

    def learning(self) -> Mapping[str, nn.Module]:
        return {"kept": self.kept(), "heads": self.heads}

    def kept(self) -> nn.Module:
        return kept_parts(self.session.network)

    def rank(self, metrics: Mapping[str, float]) -> list[float]:
        return [-metrics["loss"]]

    def train_epoch(self, epoch: int, progress: Progress, bar: EpochBar) -> dict[str, float]:
        settings, fabric = self.settings, self.session.fabric
        seed_epoch(self.seed, epoch, rank=fabric.global_rank)
        self.model.train()
        self.session.network.encoder.eval()  # BatchNorm keeps the statistics it came with
        plan = plan_epoch(len(self.series.train), epoch=epoch, seed=self.seed, batch_size=settings.batch_size)
        mine = share(plan, rank=fabric.global_rank, world=fabric.world_size)
        own = len(plan[fabric.global_rank :: fabric.world_size])
        sums: dict[str, float] = {}
        for number, draws in enumerate(mine, start=1):
            done = progress.step / (settings.epochs * len(mine))
            for group in self.optimizer.param_groups:
                group["lr"] = settings.learning_rate * group["rate"] * 0.5 * (1 + math.cos(math.pi * done))
            for key, value in self._step(self._ask(draws), counted=number <= own).items():
                sums[key] = sums.get(key, 0.0) + value
            progress.step += 1
            bar.advance(done=number, of=len(mine), loss=sums["loss"] / number)
        return {key: value / len(mine) for key, value in sums.items()}

    def _step(self, questions: Questions, *, counted: bool = True) -> dict[str, float]:
        """One step over these questions and those of the other processes as one batch; of no weight unless counted."""
        fabric = self.session.fabric
        own = amounts(questions)
        totals = add_up(fabric, {name: amount * counted for name, amount in own.items()})
        shares = {name: amount * counted / totals[name] for name, amount in own.items()}
        found = losses(self._answer(questions), questions, self.settings, self.scale, shares)
        fabric.backward(found["loss"] * fabric.world_size)  # processes average their gradients
        values = add_up(fabric, {key: float(value.detach()) for key, value in found.items()})
        if not math.isfinite(values["loss"]):
            raise ConfigError(f"Pretraining diverged: the loss is {values['loss']}. Lower pretraining.learning_rate "
                              f"(now {self.settings.learning_rate:g}), and train anew.")
        most = self.session.experiment.training.clip_norm
        fabric.clip_gradients(self.model, self.optimizer, max_norm=most, error_if_nonfinite=False)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return values

    def validate(self) -> dict[str, float]:
        """``loss`` and the figures of ``PretextScores``, every validation series asked the same after every epoch."""
        self.model.eval()
        scores, totals = PretextScores(self.scale), []
        with torch.no_grad():
            for questions in self._validation_questions():
                answers = self._answer(questions)
                totals.append(float(losses(answers, questions, self.settings, self.scale)["loss"]))
                scores.add(answers, questions)
        figures = scores.figures(order=self.settings.order_weight > 0, hidden=self.settings.hidden_weight > 0)
        return {"loss": math.fsum(totals) / len(totals), **figures}

    def _answer(self, questions: Questions) -> Answers:
        fields = {field.name: getattr(questions, field.name) for field in dataclasses.fields(questions)}
        return Answers(**self.model(fields))

    def _validation_questions(self) -> Iterator[Questions]:
        for index, series in enumerate(self.series.validation):
            seeds = [(self.seed, index, repeat) for repeat in range(REPEATS)]
            drawn = [self._draw(series, seed, exchange=way) for seed in seeds for way in (False, True)]
            yield self._pad([(series, one, None) for one in drawn])

    def _ask(self, draws: Sequence[tuple[int, int]]) -> Questions:
        """The questions of one step: a series and the seed of what is asked of it, each."""
        asked = [(self.series.train[index], seed) for index, seed in draws]
        return self._pad([(series, self._draw(series, seed), seed) for series, seed in asked])

    def _draw(self, series: Series, seed: int | Sequence[int], *, exchange: bool | None = None) -> Question:
        experiment = self.session.experiment
        return draw_question(
            len(series.instances), self.settings, apart=distance_apart(experiment),
            most=experiment.training.max_slices, seed=seed, exchange=exchange,
        )

    def _pad(self, drawn: Sequence[tuple[Series, Question, int | None]]) -> Questions:
        """A batch on its device: of embeddings, or where the encoder learns of images, augmented by a seed."""
        targets = [self.embedder.embed(series)[one.shown].float() for series, one, _ in drawn]
        inputs = targets
        if self.settings.encoder:
            inputs = [self._images(series, seed)[one.shown] for series, one, seed in drawn]
        return pad_questions([one for _, one, _ in drawn], inputs, targets).to(self.session.fabric.device)

    def _images(self, series: Series, seed: int | None) -> Tensor:
        """(S,C,h,w) of a whole series: all slices are changed alike, so that no change tells which belong together."""
        experiment, prepared = self.session.experiment, self.session.prepared.prepare(series)
        if seed is not None:
            prepared = experiment.augmentation.build(experiment.preprocessing.size)(prepared, seed)
        return experiment.preprocessing.finish(prepared)


class PretextModule(nn.Module):
    """Network and heads as the one module that Fabric wraps; it takes ``Questions`` by their fields, as a dict."""

    def __init__(self, network: SequenceNetwork, heads: PretextHeads) -> None:
        super().__init__()
        self.network, self.heads = network, heads

    def forward(self, fields: dict[str, Tensor]) -> dict[str, Tensor]:
        questions = Questions(**fields)
        if questions.inputs.ndim == 5:
            embedded = self.network.encode(questions.inputs, questions.mask)
            questions = dataclasses.replace(questions, inputs=embedded)
        with torch.autocast(questions.mask.device.type, enabled=False):  # as SequenceNetwork.read
            found = answer(self.network, self.heads, dataclasses.replace(questions, inputs=questions.inputs.float()))
        return {field.name: getattr(found, field.name) for field in dataclasses.fields(found)}


def distance_apart(experiment: BaseExperiment) -> int:
    """How far apart slices are that share no picture: neighbours are channels of a slice (2.5D)."""
    return 2 * experiment.preprocessing.neighbours + 1


def _gather(session: Session, settings: PretrainingSettings) -> tuple[PretrainingSeries, Embedder]:
    """The series, all of them embedded by the encoder as it is now. What they are is written down, or must be what was
    written down before.
    """
    experiment, prepared = session.experiment, _prepared(session, settings)
    embedder = _embed_as_it_is(session, settings, prepared)
    found = gather_pretraining(
        experiment, session.examples, fewest=FEWEST * distance_apart(experiment), check=embedder.embed,
        traits=SeriesTraits(prepared, experiment).of,
    )
    keys = [[series_key(one) for one in part] for part in (found.train, found.validation)]
    record = {"train": len(found.train), "validation": len(found.validation),
              "series_sha256": hashlib.sha256(json.dumps(keys).encode()).hexdigest()}
    path = session.run / RECORD
    if path.is_file():
        if read_json(path) != record:
            raise ConfigError(f"The series of pretraining changed since {session.run} was started. Put them back, or "
                              "train anew.")
    elif session.fabric.is_global_zero:
        session.begin()
        write_csv(session.run / TABLE, COLUMNS, found.rows)
        write_json(path, record)
    return found, embedder


def _prepared(session: Session, settings: PretrainingSettings) -> PreparedSeries:
    """What reads the series: images that are needed just once are not kept."""
    experiment = session.experiment
    if settings.encoder or experiment.training.mode == "two-stage":
        return session.prepared
    return PreparedSeries(experiment.preprocessing, cache=False, limits=experiment.data.reading.limits)


def _embed_as_it_is(session: Session, settings: PretrainingSettings, prepared: PreparedSeries) -> Embedder:
    """Embeds by the present encoder, also after it has learnt on."""
    if not settings.encoder and session.experiment.training.mode == "two-stage":
        return session.freeze_encoder()
    network = copy.deepcopy(session.network).eval().requires_grad_(False)
    session.fabric.to_device(network)
    return Embedder(network, prepared, session.experiment, augment=None)


def _measure_scale(embedder: Embedder, series: Sequence[Series], device: torch.device) -> Scale:
    found = Scale.of(torch.cat([embedder.embed(one).double() for one in series]))
    return Scale(mean=found.mean.float().to(device), spread=found.spread.float().to(device))


def _build_optimizer(network: SequenceNetwork, heads: PretextHeads, settings: PretrainingSettings) -> AdamW:
    """Groups by rate and decay: biases and norms have no decay."""
    parts: list[tuple[nn.Module, float]] = [(network.temporal, 1.0), (heads, 1.0)]
    if settings.encoder:
        parts.append((network.encoder, settings.encoder_rate))
    groups: list[dict[str, Any]] = []
    for part, rate in parts:
        learning = [one for one in part.parameters() if one.requires_grad]
        for decay, chosen in ((settings.weight_decay, [one for one in learning if one.ndim > 1]),
                              (0.0, [one for one in learning if one.ndim <= 1])):
            groups.append({"params": chosen, "rate": rate, "weight_decay": decay})
    return AdamW([group for group in groups if group["params"]], lr=settings.learning_rate)
