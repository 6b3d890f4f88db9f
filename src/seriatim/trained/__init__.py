"""A trained model on disk: what training writes and everything else reads."""

from seriatim.trained.anomaly import AnomalyModel, load_anomaly_model
from seriatim.trained.ensemble import Ensemble, EnsembleScores, load_ensemble, write_ensemble
from seriatim.trained.envelope import Envelope, refuse_modality
from seriatim.trained.intensity import measure_intensity
from seriatim.trained.model import (
    DESCRIPTION,
    WEIGHTS,
    Model,
    choose_device,
    is_anomaly_model,
    load_model,
    read_splits,
    split_of_run,
    write_description,
)
from seriatim.trained.scorer import Models, Scorer, load_scorer

__all__ = [
    "DESCRIPTION",
    "WEIGHTS",
    "AnomalyModel",
    "Ensemble",
    "EnsembleScores",
    "Envelope",
    "Model",
    "Models",
    "Scorer",
    "choose_device",
    "is_anomaly_model",
    "load_anomaly_model",
    "load_ensemble",
    "load_model",
    "load_scorer",
    "measure_intensity",
    "read_splits",
    "refuse_modality",
    "split_of_run",
    "write_description",
    "write_ensemble",
]
