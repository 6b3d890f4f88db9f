"""One object = one YAML: data, preprocessing, network, task and training, composed and checked together."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from seriatim.io.isolation.limits import Limits
from seriatim.models import NetworkSettings
from seriatim.series import Code
from seriatim.series.findings import Action, check_actions
from seriatim.series.series import SequenceKind
from seriatim.settings import Settings, apply_overrides, build_settings, read_yaml
from seriatim.tasks import TaskSettings
from seriatim.transforms import AugmentationSettings, PreprocessingSettings


class ReadingSettings(Settings):
    """How files are read: in a worker process, so that a file that crashes, hangs or eats memory costs one series."""

    isolated: bool = True
    """Read in a worker process, under the limits below."""
    seconds: float = Field(default=60.0, gt=0)
    """Time for one series or file, beside that for its slices; then TIMEOUT."""
    seconds_per_slice: float = Field(default=1.0, ge=0)
    """More time for each slice (megapixel of larger ones), or (10 min at most) megabyte of a volume file or video."""
    memory_gb: float | None = Field(default=None, gt=0)
    """Most memory of the worker in GiB, then TOO_LARGE; null: four fifths of the machine's."""

    @property
    def limits(self) -> Limits:
        """The same for ``seriatim.io``."""
        return Limits(**self.model_dump())


class DataSettings(Settings):
    """Which series, whose, and how they are split. Paths are relative to the config's folder, else to where you are."""

    manifest: Path
    """CSV: path, patient, label columns, and split or fold."""
    slice_labels: Path | None = None
    """CSV of slice labels by sop_instance_uid, or by index with series_uid or path."""
    patient: str = "patient"
    """The column that says whose a series is; no patient is ever in two splits."""
    split: str = "split"
    """The column with train, val or test."""
    fold_column: str = "fold"
    """The column with the fold, used when `fold` is given."""
    fold: str | None = None
    """Leave this fold out as the test split; validation is drawn from the others, by patient."""
    folds: int | None = Field(default=None, ge=2)
    """Make so many folds (0, 1, ...) by patient and alike in labels, where the manifest has no column of folds."""
    validation_fraction: float = Field(default=0.2, gt=0, lt=1)
    """The share of training patients that validates, where the manifest does not say which."""
    findings: dict[Code, Action] = Field(default_factory=dict)
    """What to do on a finding, where it differs from the default: for example {GAP: keep}."""
    sequence: SequenceKind = "volumes"
    """What a 4D series becomes: `volumes`, the slices at each time, or `frames`, each slice over time."""
    cache: bool = True
    """Keep prepared series in memory (float32 on the network's grid)."""
    reading: ReadingSettings = ReadingSettings()

    @field_validator("findings")
    @classmethod
    def _check_findings(cls, findings: dict[Code, Action]) -> dict[Code, Action]:
        check_actions(findings)
        return findings

    @model_validator(mode="before")
    @classmethod
    def _fold_as_text(cls, content: Any) -> Any:
        if isinstance(content, dict) and isinstance(content.get("fold"), int | float):
            return {**content, "fold": str(content["fold"]).removesuffix(".0")}
        return content


class TrainingSettings(Settings):
    """How the network learns."""

    mode: Literal["end-to-end", "two-stage"] = "end-to-end"
    """End to end, or with the encoder frozen and its embeddings computed once."""
    embedding_store: Path | None = None
    """A folder where two-stage embeddings are kept for later runs, found by content: any run may share it."""
    embedding_views: int = Field(default=0, ge=0)
    """Two-stage: embed every training series so many times more, each time with other random `augmentation`."""
    epochs: int = Field(default=20, ge=1)
    """Epochs at most; `patience` may end the run sooner."""
    batch_size: int = Field(default=4, ge=1)
    """Series per step and process."""
    accumulate: int = Field(default=1, ge=1)
    """Steps whose gradients are added before the weights move."""
    max_slices: int = Field(default=64, ge=1)
    """Longer series are sampled in training: one random slice from each of this many equal stretches, in order."""
    learning_rate: float = Field(default=1e-3, gt=0)
    """AdamW's learning rate after the warm-up."""
    encoder_rate: float = Field(default=1.0, ge=0)
    """The encoder's learning rate as a multiple of `learning_rate`."""
    weight_decay: float = Field(default=1e-2, ge=0)
    """AdamW's decay of weights; biases and norms have none."""
    warmup: float = Field(default=0.05, ge=0, lt=1)
    """The share of all steps in which the learning rate rises."""
    schedule: Literal["cosine", "constant"] = "cosine"
    """How the learning rate goes on after the warm-up: down to 0 along a cosine, or constant."""
    clip_norm: float = Field(default=1.0, gt=0)
    """Gradients are scaled down to this norm where theirs is larger."""
    patience: int = Field(default=10, ge=1)
    """Stop after this many epochs without a better validation score."""
    accelerator: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Where to train; auto takes an accelerator where there is one."""
    devices: int = Field(default=1, ge=1)
    """Processes (one per device), by DDP where there is more than one."""
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    """The number format of training, in the names of Lightning Fabric."""
    workers: int = Field(default=0, ge=0)
    """Loader processes; 0 loads in the training process."""


class EncoderStageSettings(Settings):
    """How the encoder learns from labelled slices, one by one, before the run itself (optional)."""

    epochs: int = Field(default=5, ge=1)
    """Epochs; the encoder of the best on validation's slices is kept."""
    batch_size: int = Field(default=16, ge=1)
    """Slices per step."""
    learning_rate: float = Field(default=1e-4, gt=0)
    """AdamW's learning rate, falling along a cosine to 0."""
    weight_decay: float = Field(default=1e-2, ge=0)
    """AdamW's decay of weights."""
    slices_per_epoch: int | None = Field(default=None, ge=2)
    """Slices of an epoch; null: as many as show every positive slice once."""
    positive_share: float = Field(default=0.5, gt=0, lt=1)
    """The share of positive slices among them; the negative ones are drawn anew for every epoch."""


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
        changes = views > 0 or self.encoder_stage is not None
        if self.training.mode == "two-stage" and self.augmentation.active and not changes:
            raise ValueError(
                "two-stage training embeds images beforehand: augmentation needs training.embedding_views above 0, or "
                "an encoder_stage; or train end-to-end"
            )
        if self.training.mode != "two-stage" and (views or self.training.embedding_store):
            raise ValueError("training.embedding_store and embedding_views are for training.mode two-stage")
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
