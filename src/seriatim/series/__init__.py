"""What a study is: series, instances, geometry, findings, predictions. No files, no torch.nn."""

from seriatim.series.findings import DEFAULT_ACTIONS, Code, Finding, find
from seriatim.series.prediction import Prediction
from seriatim.series.series import Instance, Inventory, Series, Skipped, Volume

__all__ = [
    "DEFAULT_ACTIONS", "Code", "Finding", "Instance", "Inventory", "Prediction", "Series", "Skipped", "Volume", "find",
]
