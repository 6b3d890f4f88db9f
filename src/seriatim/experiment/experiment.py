"""One object = one YAML: data, preprocessing, network, task and training, composed and checked together."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from seriatim.experiment.data import DataSettings
from seriatim.experiment.envelope import EnvelopeSettings
from seriatim.experiment.stages import EncoderStageSettings, JointStageSettings, TrainingSettings
from seriatim.experiment.tuning import TuneSettings
from seriatim.models import NetworkSettings, SliceScoresSettings
from seriatim.settings import Settings, apply_overrides, build_settings, read_yaml
from seriatim.tasks import TaskSettings, ViewSettings
from seriatim.transforms import AugmentationSettings, PreprocessingSettings


class Experiment(Settings):
    """A whole run as data. ``read`` makes it from a YAML; an illegal or unknown key says what is legal."""

    name: str
    """What the run is called in pictures, in its model card, and in `runs/<name>` where no --output is given."""
    seed: int = Field(default=0, ge=0)
    """Everything random follows from it: first weights, validation draw, order, augmentation, dropout."""
    data: DataSettings
    preprocessing: PreprocessingSettings
    augmentation: AugmentationSettings = AugmentationSettings()
    network: NetworkSettings
    task: TaskSettings
    encoder_stage: EncoderStageSettings | None = None
    """Train the encoder on slice labels first; then it stays frozen (`training.mode: two-stage`) or learns on."""
    training: TrainingSettings = TrainingSettings()
    joint_stage: JointStageSettings | None = None
    """Train encoder and sequence model together at the end, from the best weights so far."""
    test_time: ViewSettings = ViewSettings()
    envelope: EnvelopeSettings = EnvelopeSettings()
    tune: TuneSettings | None = None
    """What `seriatim tune` searches; all other commands ignore it."""

    @model_validator(mode="after")
    def _check_together(self) -> Experiment:
        for name in ("slice_loss_weight", "attention_loss_weight"):
            if getattr(self.task, name) > 0 and self.data.slice_labels is None:
                raise ValueError(f"task.{name} needs data.slice_labels, a CSV of slice labels")
        if self.encoder_stage is not None:
            if self.data.slice_labels is None:
                raise ValueError("encoder_stage needs data.slice_labels, a CSV of slice labels")
            if not self.data.cache:
                raise ValueError("encoder_stage draws slices from all series and needs data.cache, which keeps them")
            if self.task.target == "regression":
                raise ValueError("encoder_stage is for classes, not for regression; leave it out")
        views = self.training.embedding_views
        if views and not self.augmentation.active:
            raise ValueError("training.embedding_views needs augmentation, which makes each view another")
        changes = views > 0 or self.encoder_stage is not None or self.joint_stage is not None
        if self.training.mode == "two-stage" and self.augmentation.active and not changes:
            raise ValueError(
                "two-stage training embeds images beforehand: augmentation needs training.embedding_views above 0, "
                "an encoder_stage or a joint_stage; or train end-to-end"
            )
        if self.training.mode != "two-stage" and (views or self.training.embedding_store):
            raise ValueError("training.embedding_store and embedding_views are for training.mode two-stage")
        return self

    @model_validator(mode="after")
    def _check_pooling(self) -> Experiment:
        pooling, yes_no = self.network.pooling, self.task.target in ("binary", "multilabel")
        if isinstance(pooling, SliceScoresSettings) and pooling.how == "linear_softmax" and not yes_no:
            raise ValueError("network.pooling.how linear_softmax is for task.target binary and multilabel only")
        return self

    @classmethod
    def read(cls, path: Path, overrides: Iterable[str] = ()) -> Experiment:
        """Read a YAML, apply ``KEY=VALUE`` overrides, and check the whole.

        Raises:
            ConfigError: the file cannot be read or a setting is illegal; the message names it and what is legal.
        """
        return cls.from_content(apply_overrides(read_yaml(path), overrides), where=str(path), folder=path.parent)

    @classmethod
    def from_content(cls, content: dict[str, Any], *, where: str, folder: Path | None = None) -> Experiment:
        """Check a mapping as an experiment, and resolve its paths against ``folder`` where they exist there."""
        experiment = build_settings(cls, content, where=where)
        if folder is None:
            return experiment
        data = experiment.data
        found = {name: _find(getattr(data, name), folder) for name in ("manifest", "slice_labels")}
        located = experiment.model_copy(update={"data": data.model_copy(update=found)})
        encoder = experiment.network.encoder
        if encoder.weights in (None, "imagenet"):
            return located
        weights = encoder.model_copy(update={"weights": str(_find(Path(str(encoder.weights)), folder))})
        return located.model_copy(update={"network": experiment.network.model_copy(update={"encoder": weights})})


def _find(path: Path | None, folder: Path) -> Path | None:
    if path is None:
        return None
    beside = folder / path
    return (beside if beside.exists() else path).resolve()
