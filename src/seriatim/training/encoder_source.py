"""Where an encoder's first weights come from: a file, torchvision, or the run of another model."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from seriatim.errors import ModelError
from seriatim.experiment import BaseExperiment
from seriatim.io.weights import load_weights
from seriatim.tasks.predict import EncodingNetwork
from seriatim.trained import load_model
from seriatim.trained.lineage import source_run


def encoder_weights(experiment: BaseExperiment) -> dict[str, Tensor] | None:
    """The pretrained weights the encoder's settings ask for, or None."""
    encoder = experiment.network.encoder
    if encoder.weights is None or source_run(experiment) is not None:
        return None
    return load_weights(encoder.weights, name=encoder.name if encoder.kind == "torchvision" else encoder.kind)


def transfer_encoder(network: EncodingNetwork, experiment: BaseExperiment, source: Path) -> None:
    """Start the encoder where that of another run ended.

    Raises:
        ModelError: the folder is no finished run, or its encoder is another network or sees other channels.
    """
    given = load_model(source)
    apart = {"weights", "freeze", "pool", "stages"}  # what changes no tensor of it
    told = [
        (one.network.encoder.model_dump(mode="json", exclude=apart), one.preprocessing.channels)
        for one in (experiment, given.experiment)
    ]
    if told[0] != told[1]:
        raise ModelError(f"The encoder of {source} is {told[1][0]} with {told[1][1]} channels, and this run asks for "
                         f"{told[0][0]} with {told[0][1]}. Ask for the same, or give other weights.")
    network.encoder.load_state_dict(given.network.encoder.state_dict())
