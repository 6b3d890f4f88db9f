"""A trained model on disk: what training writes and everything else reads."""

from seriatim.trained.anomaly import AnomalyModel, load_anomaly_model
from seriatim.trained.device import choose_device
from seriatim.trained.ensemble import Ensemble, EnsembleScores, Look, load_ensemble, write_ensemble
from seriatim.trained.envelope import Envelope, refuse_modality
from seriatim.trained.files import DESCRIPTION, WEIGHTS, is_anomaly_model, write_description
from seriatim.trained.intensity import measure_intensity
from seriatim.trained.model import Model, load_model
from seriatim.trained.scorer import Models, Scorer, load_scorer
from seriatim.trained.splits import find_split, read_patients, read_splits, split_of_run

__all__ = [
    "DESCRIPTION",
    "WEIGHTS",
    "AnomalyModel",
    "Ensemble",
    "EnsembleScores",
    "Envelope",
    "Look",
    "Model",
    "Models",
    "Scorer",
    "choose_device",
    "find_split",
    "is_anomaly_model",
    "load_anomaly_model",
    "load_ensemble",
    "load_model",
    "load_scorer",
    "measure_intensity",
    "read_patients",
    "read_splits",
    "refuse_modality",
    "split_of_run",
    "write_description",
    "write_ensemble",
]
