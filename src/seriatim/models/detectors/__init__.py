"""Detectors: each learns what normal frames or slices look like, and scores how unlike that a new one is."""

from seriatim.models.detectors.detector import Detector, Evidence
from seriatim.models.detectors.future import FutureDetector, FutureSettings
from seriatim.models.detectors.gaussian import GaussianDetector, GaussianSettings
from seriatim.models.detectors.memory import MemoryDetector, MemorySettings
from seriatim.models.detectors.prediction import PredictionDetector, PredictionSettings
from seriatim.models.detectors.supervised import SupervisedDetector, SupervisedSettings

__all__ = [
    "Detector",
    "Evidence",
    "FutureDetector",
    "FutureSettings",
    "GaussianDetector",
    "GaussianSettings",
    "MemoryDetector",
    "MemorySettings",
    "PredictionDetector",
    "PredictionSettings",
    "SupervisedDetector",
    "SupervisedSettings",
]
