"""What a run may learn from series without labels, before it learns from those with."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, model_validator

from seriatim.settings import Settings


class PretrainingSettings(Settings):
    """Learn from order and from hidden slices first, without labels (optional): the sequence model, and the encoder
    where asked to, start the training with what they learnt. Two tasks, each with a weight: `order` (were slices
    exchanged, and which: after Misra 2016, Xu 2019) and `hidden` (what does a hidden slice's embedding look like, from
    those before and behind: a cloze, as in BERT, Devlin 2019).
    """

    unlabelled: tuple[Path, ...] = ()
    """Folders, or manifests (CSV with `path`, and `patient` where known), of series to learn from beside the training
    split's own; label columns are never read."""
    include_test: bool = False
    """Learn also from given series of this run's test patients: their images are seen then, so scores on them say less
    about new patients. Those of validation patients are always left out, since they judge the pretraining."""
    epochs: int = Field(default=100, ge=1)
    """Epochs; the weights of the lowest validation loss are kept."""
    batch_size: int = Field(default=4, ge=1)
    """Series per step."""
    learning_rate: float = Field(default=5e-4, gt=0)
    """AdamW's learning rate, falling along a cosine to 0."""
    weight_decay: float = Field(default=1e-2, ge=0)
    """AdamW's decay of weights."""
    order_weight: float = Field(default=1.0, ge=0)
    """Weight of the loss of the exchanged slices; 0 leaves this task out."""
    hidden_weight: float = Field(default=1.0, ge=0)
    """Weight of the loss of the hidden slices; 0 leaves this task out."""
    exchanged_share: float = Field(default=0.3, gt=0, le=0.5)
    """In half of the draws pairs of slices are exchanged: up to this share of a series, at least one pair."""
    hidden_share: float = Field(default=0.15, gt=0, le=0.5)
    """The share of a series' slices that is hidden, at least one."""
    encoder: bool = False
    """Does the encoder learn too, from images, with `augmentation`. Else its embeddings are computed once, and epochs
    are fast."""
    encoder_rate: float = Field(default=0.1, gt=0)
    """The encoder's learning rate as a multiple of `learning_rate`, where it learns."""

    @model_validator(mode="after")
    def _has_a_task(self) -> PretrainingSettings:
        if self.order_weight == 0 and self.hidden_weight == 0:
            raise ValueError("order_weight and hidden_weight are both 0, which leaves nothing to learn; set one above")
        return self
