"""What is asked of a series: labels, loss, metrics, and how logits become scores."""

from typing import TypeAlias

from seriatim.tasks.diagnosis import DiagnosisSettings, DiagnosisTask
from seriatim.tasks.views import ViewSettings

TaskSettings: TypeAlias = DiagnosisSettings

__all__ = ["DiagnosisSettings", "DiagnosisTask", "TaskSettings", "ViewSettings"]
