"""A trained model on disk: what training writes and everything else reads."""

from seriatim.trained.ensemble import Ensemble, EnsembleScores, load_ensemble, write_ensemble
from seriatim.trained.envelope import Envelope, refuse_modality
from seriatim.trained.intensity import measure_intensity
from seriatim.trained.model import (
    DESCRIPTION,
    WEIGHTS,
    Model,
    choose_device,
    load_model,
    read_splits,
    split_of_run,
    write_description,
)

__all__ = [
    "DESCRIPTION",
    "WEIGHTS",
    "Ensemble",
    "EnsembleScores",
    "Envelope",
    "Model",
    "choose_device",
    "load_ensemble",
    "load_model",
    "measure_intensity",
    "read_splits",
    "refuse_modality",
    "split_of_run",
    "write_description",
    "write_ensemble",
]
