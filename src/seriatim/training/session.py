"""What all stages of a run share: the settings, the network, the series, and the processes they run in."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor

from seriatim.experiment import BaseExperiment, Experiment
from seriatim.io.tables.outputs import write_json
from seriatim.models.network import SequenceNetwork
from seriatim.tasks import DiagnosisTask
from seriatim.tasks.predict import EncodingNetwork, SeriesScores, embed_series, score_embeddings, score_series
from seriatim.trained.lineage import network_source, source_run
from seriatim.training.dataset import PreparedSeries
from seriatim.training.embeddings import Embedder
from seriatim.training.encoder_source import encoder_weights, transfer_encoder
from seriatim.training.examples import Example, Examples, gather_examples
from seriatim.training.leaks import hold_apart
from seriatim.training.lineage import refuse_seen
from seriatim.training.run_folder import read_duplicates, refuse_changed_data, write_start
from seriatim.training.runtime import start_fabric
from seriatim.training.same_run import START, digest_start, refuse_other_start
from seriatim.training.series_traits import SeriesTraits
from seriatim.training.sides import tell_mirrored_sides
from seriatim.training.transfer import transfer_network


@dataclass(slots=True, kw_only=True)
class RunSession:
    """What the stages of any kind of run share. ``network`` is the one whose encoder embeds.

    ``embedder`` is there while the encoder is frozen and its embeddings are kept; a stage that changes the encoder sets
    it to None. ``start`` is the digest of the weights that the network started from.
    """

    experiment: BaseExperiment
    run: Path
    fabric: Fabric
    network: EncodingNetwork
    prepared: PreparedSeries
    examples: Examples
    traits: SeriesTraits
    start: str
    embedder: Embedder | None = None
    _begun: bool = field(default=False, init=False)

    def begin(self) -> None:
        """Write down what is run. A stage calls it when nothing can refuse it any more, so that a resume that is
        refused leaves the folder as it was, and a run that is stopped in its first stage can go on.
        """
        if self.fabric.is_global_zero and not self._begun:
            write_start(self.run, experiment=self.experiment, examples=self.examples, fabric=self.fabric)
            write_json(self.run / START, {"weights_sha256": self.start})
        self._begun = True

    def freeze_encoder(self) -> Embedder:
        """From here on the encoder stays as it is, and each series is embedded once."""
        if self.embedder is None:
            self.embedder = freeze(self.network, self.prepared, self.experiment, self.fabric)
        return self.embedder


@dataclass(slots=True, kw_only=True)
class Session(RunSession):
    """One diagnosis while it is trained. Every stage changes ``network`` in place and leaves it at its best."""

    experiment: Experiment
    task: DiagnosisTask
    network: SequenceNetwork

    def score(self, example: Example, network: SequenceNetwork | None = None) -> SeriesScores:
        """Score one series as scoring will, from its embeddings where they are kept; with ``network`` in place of the
        session's where one is given.
        """
        network = network or self.network
        network.eval()
        test_time = self.experiment.test_time
        if self.embedder is None:
            return score_series(network, self.task, self.prepared.slices(example.series), test_time)
        views = self.embedder.embed_views(example.series)
        return score_embeddings(network, self.task, *views, reverse_order=test_time.reverse_order)

    def embed(self, example: Example) -> Tensor:
        """The embeddings (S,E) of one series by the present encoder, as it is."""
        if self.embedder is not None:
            return self.embedder.embed(example.series)
        self.network.eval()
        return embed_series(self.network, self.prepared.slices(example.series))


def start_session(experiment: Experiment, run: Path, *, resume: bool, labelled: bool = True) -> Session:
    """Processes, network and series of a run, which need no labels where it is not ``labelled``.

    Raises:
        ConfigError: a setting, the manifest or a label is wrong, or the data changed since the run was started.
        InputError: no series can be used.
        ModelError: encoder weights are missing or do not fit.
    """
    fabric, task, data = start_fabric(experiment.training), experiment.task.build(), experiment.data
    tell_mirrored_sides(experiment)
    again = _reads_images_again(experiment) or experiment.training.embedding_views > 0
    prepared = PreparedSeries(experiment.preprocessing, cache=data.cache and again, limits=data.reading.limits)
    network = build_network(experiment, task)
    start = digest_start(network, experiment)
    if resume:
        refuse_other_start(run, start, experiment)
    embedder = None if _reads_images_again(experiment) else freeze(network, prepared, experiment, fabric)
    examples = gather_examples(
        experiment, task, embedder.embed if embedder else prepared.prepare, labelled=labelled
    )
    refuse_seen(examples, experiment)
    if labelled:
        task = task.with_class_weights(np.array([example.labels for example in examples.of("train")]))
    if task.center is not None and task.scale is not None:
        network.set_output_scale(task.center, task.scale)
    if resume:
        refuse_changed_data(run, examples)
    traits = SeriesTraits(prepared, experiment)
    examples = hold_apart(examples, traits, experiment=experiment, known=read_duplicates(run) if resume else None)
    return Session(experiment=experiment, run=run, fabric=fabric, task=task, network=network, prepared=prepared,
                   examples=examples, traits=traits, start=start, embedder=embedder)


def build_network(experiment: Experiment, task: DiagnosisTask) -> SequenceNetwork:
    """The network with its first weights: by the seed, and the encoder's where the settings give them."""
    torch.manual_seed(experiment.seed)
    network = experiment.network.build(
        experiment.preprocessing.channels, task.outputs, weights=encoder_weights(experiment)
    )
    if (source := source_run(experiment)) is not None:
        transfer_encoder(network, experiment, source)
    if (source := network_source(experiment)) is not None:
        transfer_network(network, experiment, source)
    return network


def _reads_images_again(experiment: Experiment) -> bool:
    """Whether a stage needs the images themselves, beyond their embeddings by the first encoder."""
    learns = experiment.pretraining is not None and experiment.pretraining.encoder
    stages = experiment.encoder_stage or experiment.joint_stage
    return experiment.training.mode == "end-to-end" or learns or stages is not None


def freeze(
    network: EncodingNetwork, prepared: PreparedSeries, experiment: BaseExperiment, fabric: Fabric
) -> Embedder:
    """Freeze the encoder of a network, on its device, and make of it what embeds series."""
    network.encoder.requires_grad_(False)
    fabric.to_device(network)
    network.eval()
    augment = experiment.augmentation.build(experiment.preprocessing.size) if experiment.augmentation.active else None
    return Embedder(network, prepared, experiment, augment=augment)
