"""Start encoder and sequence model where those of another run ended, and never judge on series that it learnt from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from seriatim.errors import ConfigError, ModelError
from seriatim.experiment import BaseExperiment, Experiment, read_experiment
from seriatim.io.tables.manifest import read_table
from seriatim.models.network import SequenceNetwork
from seriatim.trained import DESCRIPTION, load_model, read_splits
from seriatim.training.encoder_source import source_run
from seriatim.training.examples import Examples
from seriatim.training.run_folder import CONFIG

PRETRAINED, PRETRAINED_SERIES = "pretraining.safetensors", "pretraining.csv"
PARTS = ("encoder", "temporal")
"""What a run hands on; pooling and heads answer its own question and start anew."""


def network_source(experiment: Experiment) -> Path | None:
    """The run folder that the whole network starts from, if any."""
    return None if experiment.network.weights is None else Path(experiment.network.weights)


def transfer_network(network: SequenceNetwork, experiment: Experiment, source: Path) -> None:
    """Start encoder and sequence model where those of a run of ``train`` or ``pretrain`` ended.

    Raises:
        ModelError: the folder is no finished run, or its parts are other ones or see other channels.
    """
    given, weights = _read_source(source)
    for name in PARTS:
        told = [_describe(one, name) for one in (experiment, given)]
        if told[0] != told[1]:
            raise ModelError(f"The {name} of {source} is {told[1]}, and this run asks for {told[0]}. Ask for the same, "
                             "or give other weights.")
        part: nn.Module = getattr(network, name)
        own = {key.removeprefix(f"{name}."): value for key, value in weights.items() if key.startswith(f"{name}.")}
        try:
            part.load_state_dict(own)
        except RuntimeError as error:
            raise ModelError(f"The {name} of {source} does not fit its own config. Copy the run again.") from error


def refuse_seen(examples: Examples, source: Path) -> None:
    """Raise ConfigError where this run would judge by series that the other one learnt from, with or without labels, or
    test on those it was chosen by; also where a run did that the other one started from itself. It cannot be checked
    where a run was copied without its tables.
    """
    used = {"val": ("train",), "test": ("train", "val")}
    for run in _lineage(source):
        seen = _read_seen(run)
        for split, others in used.items():
            count = sum(example.split == split and seen.get(example.series.series_uid) in others
                        for example in examples.used)
            if count:
                raise ConfigError(
                    f"{count} series of the {split} split were used in training {run}, so scores on them would be too "
                    "good. Start from a run that never saw them, or pretrain within this run, which leaves them out."
                )


def _lineage(source: Path) -> list[Path]:
    """A run, the one that it started from, and so on, as far as their folders are there."""
    runs: list[Path] = []
    following: Path | None = source
    while following is not None and following not in runs:
        runs.append(following)
        config = following / CONFIG
        experiment = read_experiment(config) if config.is_file() else None
        following = None if experiment is None else source_of(experiment)
    return runs


def source_of(experiment: BaseExperiment) -> Path | None:
    """The run folder that the encoder, or the whole network, starts from, if any."""
    whole = network_source(experiment) if isinstance(experiment, Experiment) else None
    return whole or source_run(experiment)


def _read_seen(run: Path) -> dict[str, str]:
    """By series UID what a run used it for: ``train`` or ``val``, with or without labels, or ``test``."""
    seen = read_splits(run)
    if (run / PRETRAINED_SERIES).is_file():
        uses = {"train": "train", "validation": "val"}
        rows = read_table(run / PRETRAINED_SERIES)
        seen |= {row["series_uid"]: uses[row["use"]] for row in rows if row["use"] in uses}
    return seen


def _read_source(source: Path) -> tuple[Experiment, Mapping[str, Tensor]]:
    """The settings and the weights of a run, by their names in its network."""
    if (source / DESCRIPTION).is_file() or not (source / PRETRAINED).is_file():
        model = load_model(source)
        if not isinstance(model.experiment, Experiment):
            raise ModelError(f"{source} holds no network of this kind. Start from a run with a task of this kind.")
        return model.experiment, model.network.state_dict()
    try:
        return Experiment.read(source / CONFIG), load_file(source / PRETRAINED)
    except (SafetensorError, OSError, ConfigError) as error:
        raise ModelError(f"{source} is no run to start from: {error}") from error


def _describe(experiment: Experiment, part: str) -> str:
    """What two runs must have in common for one to take this part of the other."""
    network = experiment.network
    encoder, pooled = network.encoder.model_dump(mode="json"), {"pool", "stages"}  # what changes no tensor of it
    if part == "encoder":
        kept = {name: value for name, value in encoder.items() if name not in pooled | {"weights", "freeze"}}
        return f"{kept} with {experiment.preprocessing.channels} channels"
    read = {name: value for name, value in encoder.items() if name in pooled} | {"deltas": network.deltas}
    return f"{network.temporal.model_dump(mode='json', exclude={'dropout'})} on embeddings of {read}"
