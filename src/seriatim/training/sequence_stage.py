"""The stage of `training:`: the sequence model learns, with the encoder or on its embeddings (two-stage)."""

from __future__ import annotations

from itertools import product

import torch
from torch.utils.data import Dataset

from seriatim.experiment import LoopSettings
from seriatim.training.checkpoint import Progress
from seriatim.training.dataset import EmbeddingDataset, Item, SequenceDataset
from seriatim.training.epochs import AfterEpoch, run_epochs
from seriatim.training.loop import build_stage
from seriatim.training.session import Session


def train_sequence(session: Session, *, after_epoch: AfterEpoch | None = None) -> Progress:
    """Train the network as `training` says; it ends with the weights that did best on validation.

    ``after_epoch`` is told the validation metrics after each epoch.

    Raises:
        ConfigError: training diverged.
        ModelError: the checkpoint to go on from is damaged, or made by another config.
    """
    settings = session.experiment.training
    dataset = _embeddings(session) if settings.mode == "two-stage" else slices_of(session, settings)
    return run_epochs(build_stage(session, settings, dataset, name=""), after_epoch=after_epoch)


def slices_of(session: Session, settings: LoopSettings) -> Dataset[Item]:
    """The training series as slices, augmented anew whenever they are drawn."""
    experiment = session.experiment
    return SequenceDataset(
        session.examples.of("train"), session.prepared, finish=experiment.preprocessing,
        augment=experiment.augmentation.build(experiment.preprocessing.size), settings=settings,
    )


def _embeddings(session: Session) -> Dataset[Item]:
    """The training series as embeddings by the frozen encoder, all of them made here."""
    settings, used, embedder = session.experiment.training, session.examples.of("train"), session.freeze_encoder()
    for example, view in product(used, range(settings.embedding_views + 1)):  # before loader processes would, each anew
        embedder.embed(example.series, view)
    if session.network.standardise:
        session.network.set_embedding_scale(torch.cat([embedder.embed(example.series) for example in used]))
    return EmbeddingDataset(used, embedder.embed, views=settings.embedding_views, settings=settings)
