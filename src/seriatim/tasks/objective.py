"""The losses of a diagnosis, and what each of them is a mean over."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor

from seriatim.models.output import SequenceOutput
from seriatim.series.batch import IGNORE, SliceBatch
from seriatim.tasks.diagnosis_settings import DiagnosisSettings
from seriatim.tasks.losses import Emphasis, attention_loss, class_loss, drawn_series, number_loss, yes_no_loss

WHOLE: Mapping[str, float] = MappingProxyType({})
"""No shares: the batch is all there is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """What training makes small. ``class_weights`` and ``scale`` (K,) are those of the ``DiagnosisTask``."""

    settings: DiagnosisSettings
    class_weights: tuple[float, ...] | None = None
    scale: tuple[float, ...] | None = None

    def loss(
        self, output: SequenceOutput, batch: SliceBatch, shares: Mapping[str, float] = WHOLE
    ) -> dict[str, Tensor]:
        """``loss`` = ``volume_loss`` + ``slice_loss_weight`` x ``slice_loss``, each a mean over what is known.

        With ``attention_loss_weight`` also that times ``attention_loss``. Each is multiplied by its share, where there
        is one: the part that this batch has in the ``amounts`` of several, whose losses then add up to that of all.
        """
        volume_loss = self._loss(output.volume_logits, batch.labels, weights=self.class_weights)
        slices = batch.mask  # (B,S): the loss sees real slices only, as (N,K)
        slice_loss = self.slice_loss(output.slice_logits[slices], batch.slice_labels[slices])
        volume_loss, slice_loss = volume_loss * shares.get("volume", 1.0), slice_loss * shares.get("slice", 1.0)
        total = volume_loss + self.settings.slice_loss_weight * slice_loss
        losses = {"loss": total, "volume_loss": volume_loss, "slice_loss": slice_loss}
        if not self.settings.attention_loss_weight:
            return losses
        shown = output.attention if output.class_attention is None else output.class_attention
        share = shares.get("attention" if output.class_attention is None else "class_attention", 1.0)
        drawn = attention_loss(shown, batch.slice_labels, batch.mask) * share
        return {**losses, "loss": total + self.settings.attention_loss_weight * drawn, "attention_loss": drawn}

    def amounts(self, batch: SliceBatch) -> dict[str, float]:
        """What the losses of a batch are means over: numbers of known labels, of classes the weights of their classes.

        For gradients added over batches or processes, which shall be those of one large batch.
        """
        known, classes = batch.labels != IGNORE, self.settings.target == "multiclass" and self.class_weights
        weights = known.new_tensor(classes, dtype=torch.float64)[batch.labels.clamp(min=0).long()] if classes else 1.0
        return {
            "volume": float((known * weights).sum()),
            "slice": float((batch.slice_labels[batch.mask] != IGNORE).sum()),
            "attention": float(drawn_series(batch.slice_labels, batch.mask).any(dim=1).sum()),
            "class_attention": float(drawn_series(batch.slice_labels, batch.mask).sum()),
        }

    def slice_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The mean loss over slices of which something is known: ``logits`` and ``labels`` (N,K), IGNORE where not."""
        if self.settings.target == "multiclass":
            unknown = labels[:, :1] == IGNORE
            labels = torch.where(unknown, IGNORE, labels.argmax(dim=1, keepdim=True).to(labels.dtype))
        return self._loss(logits, labels, weights=(self.settings.slice_positive_weight,) * self.settings.outputs)

    def _loss(self, logits: Tensor, labels: Tensor, *, weights: tuple[float, ...] | None) -> Tensor:
        labels = labels.to(logits.dtype)
        known = labels != IGNORE
        if self.settings.target == "regression":
            scale = logits.new_tensor(self.scale or (1.0,) * self.settings.outputs)
            return number_loss(logits, labels, known, scale=scale)
        emphasis = Emphasis(
            weights=logits.new_tensor(weights) if weights else None,
            smoothing=self.settings.label_smoothing,
            focal_gamma=self.settings.focal_gamma,
        )
        if self.settings.target == "multiclass":
            return class_loss(logits, labels[:, 0], known[:, 0], emphasis=emphasis)
        return yes_no_loss(logits, labels, known, emphasis=emphasis)
