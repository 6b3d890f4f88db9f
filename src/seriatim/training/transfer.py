"""Start encoder and sequence model where those of another run ended."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from seriatim.errors import ConfigError, ModelError
from seriatim.experiment import Experiment
from seriatim.models.network import SequenceNetwork
from seriatim.trained import DESCRIPTION, load_model
from seriatim.trained.lineage import CONFIG

PRETRAINED = "pretraining.safetensors"
PARTS = ("encoder", "temporal")
"""What a run hands on; pooling and heads answer its own question and start anew."""


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
