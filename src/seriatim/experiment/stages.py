"""How a network learns: a block for each stage of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from seriatim.settings import Settings


class EncoderStageSettings(Settings):
    """How the encoder learns from labelled slices, one by one, before the run itself (optional)."""

    labels: Literal["slices", "series"] = "slices"
    """What a slice without a label of its own has: with `slices` none, so it is left out; with `series` that of its
    series, for what nearly every slice or frame shows: not for a bleed on five of thirty slices (Born et al. 2021 teach
    frames of ultrasound so). Validation of the stage is of the same labels."""
    epochs: int = Field(default=5, ge=1)
    """Epochs; the encoder of the best on validation's slices is kept."""
    batch_size: int = Field(default=16, ge=1)
    """Slices per step."""
    learning_rate: float = Field(default=1e-4, gt=0)
    """AdamW's learning rate, falling along a cosine to 0."""
    weight_decay: float = Field(default=1e-2, ge=0)
    """AdamW's decay of weights."""
    ema_decay: float | None = Field(default=None, gt=0, lt=1)
    """Judge and keep an exponential moving average of the weights, for example 0.98 (Polyak and Juditsky 1992): epochs
    of so few slices differ by chance. Null: the weights themselves."""
    slices_per_epoch: int | None = Field(default=None, ge=2)
    """Slices of an epoch; null: as many as show every positive slice once, of classes as many as are labelled."""
    positive_share: float = Field(default=0.5, gt=0, lt=1)
    """The share of positive slices among them (binary, multilabel); the negative ones are drawn anew for every epoch.
    Of multiclass each class is drawn as often."""


class LoopSettings(Settings):
    """How a network learns from series, epoch by epoch."""

    epochs: int = Field(default=20, ge=1)
    """Epochs at most; `patience` may end them sooner."""
    batch_size: int = Field(default=4, ge=1)
    """Series per batch and process."""
    accumulate: int = Field(default=1, ge=1)
    """Batches whose gradients are added before the weights move: as one batch so many times larger, in the memory of
    one. BatchNorm that learns its statistics sees the small ones."""
    max_slices: int = Field(default=64, ge=1)
    """Longer series are sampled in training: one random slice from each of this many equal stretches, in order."""
    slice_dropout: float = Field(default=0.0, ge=0.0, le=0.9)
    """Leave out each slice of a training sample with this probability; never all, nor all with a labelled finding."""
    reverse_order: float = Field(default=0.0, ge=0.0, le=1.0)
    """How often the sequence model reads a training series from last to first, for example 0.5: for what has no
    direction. With `neighbours` each slice keeps its own; `test_time.reverse_order` does the same at scoring."""
    mixup: float = Field(default=0.0, ge=0.0)
    """Mix the embeddings and losses of two series of a step in a share drawn from Beta(this, this), for example 0.2
    (Zhang et al. 2018; of embeddings, Verma et al. 2019); the shorter is stretched by repeating slices. 0: off."""
    learning_rate: float = Field(default=1e-3, gt=0)
    """AdamW's learning rate after the warm-up."""
    encoder_rate: float = Field(default=1.0, ge=0)
    """The encoder's learning rate as a multiple of `learning_rate`."""
    layer_decay: float = Field(default=1.0, gt=0, le=1)
    """The rate of each block of the encoder as a multiple of that of the block after it; the last has `encoder_rate`.
    For example 0.75: early layers change least (Howard and Ruder 2018; Bao et al. 2021)."""
    unfreeze_epoch: int = Field(default=1, ge=1)
    """The encoder stays as it came until this epoch begins, so that the parts after it, which start from nothing, do
    not spoil it; 1: it learns from the start."""
    ema_decay: float | None = Field(default=None, gt=0, lt=1)
    """Judge and keep an exponential moving average of the weights with this decay, for example 0.999 (Tarvainen and
    Valpola 2017); null: the weights themselves."""
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

    @model_validator(mode="after")
    def _check_loop(self) -> Self:
        if self.mixup and self.batch_size == 1:
            raise ValueError("mixup mixes two series of a batch, and batch_size is 1; set batch_size: 2, or drop mixup")
        if self.unfreeze_epoch > self.epochs:
            raise ValueError(f"unfreeze_epoch is {self.unfreeze_epoch} and the last epoch {self.epochs}: the encoder "
                             "would never learn; set it lower")
        if self.unfreeze_epoch > self.patience:
            raise ValueError(f"unfreeze_epoch is {self.unfreeze_epoch} and patience {self.patience}: training may end "
                             "before the encoder learns; raise patience")
        return self


class TrainingSettings(LoopSettings):
    """How the sequence model learns, with the encoder or on its embeddings; and on which machines."""

    mode: Literal["end-to-end", "two-stage"] = "end-to-end"
    """End to end, or with the encoder frozen and its embeddings computed once."""
    embedding_store: Path | None = None
    """A folder where two-stage embeddings are kept for later runs, found by content: any run may share it."""
    embedding_views: int = Field(default=0, ge=0)
    """Two-stage: embed every training series so many times more, each time with other random `augmentation`."""
    deterministic: bool = False
    """Use deterministic algorithms alone, so that an accelerator repeats a run to the bit; slower there, not on CPU."""
    accelerator: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Where to train; auto takes an accelerator where there is one."""
    devices: int = Field(default=1, ge=1)
    """Processes on each machine (one per device), by DDP where there is more than one."""
    nodes: int = Field(default=1, ge=1)
    """Machines; above 1, torchrun or SLURM starts the processes on each."""
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    """The number format of training, in the names of Lightning Fabric."""
    compile: bool = False
    """Compile the encoder with torch.compile for training (not for validation and scoring, whose bits stay the same).
    It takes a minute or more before the first step, and then saves where an epoch is long; where it cannot be compiled,
    a warning says why, and training goes on without."""
    workers: int = Field(default=0, ge=0)
    """Loader processes; 0 loads in the training process."""


class JointStageSettings(LoopSettings):
    """How encoder and sequence model learn together after `training`, from its best weights (optional).

    They are kept where no epoch is better on validation. An encoder that was frozen (`training.mode: two-stage`,
    `network.encoder.freeze: all`) learns too; BatchNorm keeps its statistics.
    """

    epochs: int = Field(default=3, ge=1)
    """Epochs at most; `patience` may end them sooner."""
    learning_rate: float = Field(default=1e-5, gt=0)
    """AdamW's learning rate after the warm-up; small, since the weights are good already."""
