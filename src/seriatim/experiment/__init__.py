"""The experiment: everything that a run is told, as data read from one YAML."""

from seriatim.experiment.anomaly import AnomalyExperiment
from seriatim.experiment.base import BaseExperiment
from seriatim.experiment.data import DataSettings, ReadingSettings
from seriatim.experiment.envelope import EnvelopeSettings
from seriatim.experiment.experiment import Experiment
from seriatim.experiment.kinds import kind_of, read_experiment
from seriatim.experiment.pretraining import PretrainingSettings
from seriatim.experiment.stages import EncoderStageSettings, JointStageSettings, LoopSettings, TrainingSettings
from seriatim.experiment.tuning import RangeSettings, TuneSettings

__all__ = [
    "AnomalyExperiment",
    "BaseExperiment",
    "DataSettings",
    "EncoderStageSettings",
    "EnvelopeSettings",
    "Experiment",
    "JointStageSettings",
    "LoopSettings",
    "PretrainingSettings",
    "RangeSettings",
    "ReadingSettings",
    "TrainingSettings",
    "TuneSettings",
    "kind_of",
    "read_experiment",
]
