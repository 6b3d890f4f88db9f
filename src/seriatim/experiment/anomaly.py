"""An anomaly experiment: normal sequences are learnt, and every frame is scored by how unlike them it is."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from seriatim.experiment.base import BaseExperiment
from seriatim.models import EncoderSettings
from seriatim.models.small_cnn import SmallCNNSettings
from seriatim.settings import Settings
from seriatim.tasks import AnomalySettings, ViewSettings
from seriatim.transforms import AugmentationSettings


class AnomalyNetworkSettings(Settings):
    """The encoder that turns frames into what the detectors read. It stays as it is given."""

    encoder: EncoderSettings = SmallCNNSettings()


class DetectorTrainingSettings(Settings):
    """How detectors learn that learn by gradient, and where."""

    batch_size: int = Field(default=8, ge=1)
    """Sequences per step."""
    max_slices: int = Field(default=128, ge=2)
    """Of longer sequences a stretch of so many frames in a row is drawn anew for every epoch."""
    embedding_store: Path | None = None
    """A folder where embeddings are kept for later runs, found by content: any run may share it."""
    accelerator: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Where to train; auto takes an accelerator where there is one."""


class AnomalyExperiment(BaseExperiment):
    """A whole anomaly run as data: `task.kind: anomaly`."""

    network: AnomalyNetworkSettings = AnomalyNetworkSettings()
    task: AnomalySettings
    training: DetectorTrainingSettings = DetectorTrainingSettings()

    @property
    def augmentation(self) -> AugmentationSettings:
        """None: normal frames are learnt as they are."""
        return AugmentationSettings()

    @property
    def test_time(self) -> ViewSettings:
        """None: frames are scored as they are."""
        return ViewSettings()
