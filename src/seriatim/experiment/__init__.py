"""The experiment: everything that a run is told, as data read from one YAML."""

from seriatim.experiment.data import DataSettings, ReadingSettings
from seriatim.experiment.envelope import EnvelopeSettings
from seriatim.experiment.experiment import Experiment
from seriatim.experiment.stages import EncoderStageSettings, JointStageSettings, LoopSettings, TrainingSettings
from seriatim.experiment.tuning import RangeSettings, TuneSettings

__all__ = [
    "DataSettings",
    "EncoderStageSettings",
    "EnvelopeSettings",
    "Experiment",
    "JointStageSettings",
    "LoopSettings",
    "RangeSettings",
    "ReadingSettings",
    "TrainingSettings",
    "TuneSettings",
]
