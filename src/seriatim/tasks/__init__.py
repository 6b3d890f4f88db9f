"""What is asked of a series: labels, loss, metrics, and how logits become scores."""

from typing import TypeAlias

from seriatim.tasks.anomaly import AnomalySettings, AnomalyTask
from seriatim.tasks.diagnosis import DiagnosisTask
from seriatim.tasks.diagnosis_settings import DiagnosisSettings
from seriatim.tasks.views import ViewSettings

TaskSettings: TypeAlias = DiagnosisSettings
AnyTask: TypeAlias = DiagnosisTask | AnomalyTask

__all__ = [
    "AnomalySettings",
    "AnomalyTask",
    "AnyTask",
    "DiagnosisSettings",
    "DiagnosisTask",
    "TaskSettings",
    "ViewSettings",
]
