"""One object = one YAML: data, preprocessing, network, task and training, composed and checked together."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

from pydantic import model_validator

from seriatim.experiment.base import BaseExperiment, find_beside
from seriatim.experiment.envelope import EnvelopeSettings
from seriatim.experiment.pretraining import PretrainingSettings
from seriatim.experiment.stages import EncoderStageSettings, JointStageSettings, TrainingSettings
from seriatim.experiment.tuning import TuneSettings
from seriatim.models import NetworkSettings, SliceScoresSettings
from seriatim.tasks import TaskSettings, ViewSettings
from seriatim.transforms import AugmentationSettings


class Experiment(BaseExperiment):
    """A diagnosis as data. ``read`` makes it from a YAML; an illegal or unknown key says what is legal."""

    augmentation: AugmentationSettings = AugmentationSettings()
    network: NetworkSettings
    task: TaskSettings
    pretraining: PretrainingSettings | None = None
    """Learn from unlabelled series first."""
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
            if self.data.slice_labels is None and self.encoder_stage.labels == "slices":
                raise ValueError("encoder_stage needs data.slice_labels, a CSV of slice labels; or labels: series, "
                                 "where every slice shows what its series is labelled")
            if not self.data.cache:
                raise ValueError("encoder_stage draws slices from all series and needs data.cache, which keeps them")
            if self.task.target == "regression":
                raise ValueError("encoder_stage is for classes, not for regression; leave it out")
        views = self.training.embedding_views
        if views and not self.augmentation.active:
            raise ValueError("training.embedding_views needs augmentation, which makes each view another")
        learns = self.pretraining is not None and self.pretraining.encoder
        changes = views > 0 or learns or self.encoder_stage is not None or self.joint_stage is not None
        if self.training.mode == "two-stage" and self.augmentation.active and not changes:
            raise ValueError(
                "two-stage training embeds images beforehand: augmentation needs training.embedding_views above 0, "
                "an encoder_stage or a joint_stage; or train end-to-end"
            )
        if self.training.mode != "two-stage" and (views or self.training.embedding_store):
            raise ValueError("training.embedding_store and embedding_views are for training.mode two-stage")
        return self

    @model_validator(mode="after")
    def _check_encoding(self) -> Experiment:
        """What says how an encoder learns is for one that does."""
        pretrains = self.pretraining is not None and self.pretraining.encoder
        if self.training.mode == "two-stage" and self.joint_stage is None:
            told = {"training.compile": self.training.compile}
            if not pretrains:
                names = ("checkpoint_chunk", "gradient_slices", "channels_last")
                told |= {f"network.{name}": getattr(self.network, name) for name in names}
            for name, value in told.items():
                if value:
                    raise ValueError(f"{name} is for an encoder that learns, and two-stage freezes it; leave it out")
        return self

    @model_validator(mode="after")
    def _check_standardised(self) -> Experiment:
        if self.network.standardise and (self.training.mode != "two-stage" or self.pretraining is not None):
            raise ValueError("network.standardise is learnt from the embeddings that training.mode two-stage keeps, "
                             "and not with pretraining, which comes before them; leave it out")
        return self

    @model_validator(mode="after")
    def _check_frozen(self) -> Experiment:
        frozen = self.training.mode == "two-stage" or getattr(self.network.encoder, "freeze", "none") == "all"
        for name in ("unfreeze_epoch", "encoder_rate", "layer_decay"):
            if frozen and getattr(self.training, name) != 1:
                raise ValueError(f"training.{name} is for an encoder that learns in training: end-to-end, and not "
                                 "with network.encoder.freeze all; leave it out")
        return self

    @model_validator(mode="after")
    def _check_pooling(self) -> Experiment:
        pooling, yes_no = self.network.pooling, self.task.target in ("binary", "multilabel")
        if isinstance(pooling, SliceScoresSettings) and pooling.how == "linear_softmax" and not yes_no:
            raise ValueError("network.pooling.how linear_softmax is for task.target binary and multilabel only")
        learnt = pooling.kind == "attention" or getattr(pooling, "how", "") in ("log_sum_exp", "linear_softmax")
        if self.task.attention_loss_weight and not learnt:
            raise ValueError("task.attention_loss_weight draws attention that learns: network.pooling attention, or "
                             "slice_scores by log_sum_exp or linear_softmax; leave it out")
        return self

    @model_validator(mode="after")
    def _check_pretraining(self) -> Experiment:
        if self.pretraining is not None and self.network.temporal.kind == "none":
            raise ValueError("pretraining asks about order and needs a sequence model: network.temporal.kind is none")
        if self.pretraining is not None and self.pretraining.encoder and not self.data.cache:
            raise ValueError("pretraining.encoder reads images in every epoch and needs data.cache, which keeps them")
        return self

    @classmethod
    def from_content(cls, content: dict[str, Any], *, where: str, folder: Path | None = None) -> Self:
        """As of every experiment; also the paths of unlabelled series and of a run to start from."""
        located = super().from_content(content, where=where, folder=folder)
        if folder is None:
            return located
        if (pretraining := located.pretraining) is not None:
            found = tuple(find_beside(path, folder) for path in pretraining.unlabelled)
            located = located.model_copy(
                update={"pretraining": pretraining.model_copy(update={"unlabelled": found})}
            )
        if (source := located.network.weights) is not None:
            weights = str(find_beside(Path(source), folder))
            located = located.model_copy(update={"network": located.network.model_copy(update={"weights": weights})})
        return located
