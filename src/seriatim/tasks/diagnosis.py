"""Diagnosis: per series yes or no, one of several classes, several findings, or numbers; per slice where known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, model_validator
from torch import Tensor

from seriatim.models.output import SequenceOutput
from seriatim.series.batch import IGNORE, SliceBatch
from seriatim.settings import Settings
from seriatim.tasks.agreement import agree_classes, agree_numbers, agree_yes_no
from seriatim.tasks.balance import measure_spread, weigh_classes, weigh_positives
from seriatim.tasks.calibration import Calibration, CalibrationKind, fit_classes, fit_columns
from seriatim.tasks.conformal import Conformal, fit_answers, fit_numbers
from seriatim.tasks.labels import HALF, encode_class, encode_number, encode_yes_no, read_cell
from seriatim.tasks.losses import Emphasis, attention_loss, class_loss, drawn_series, number_loss, yes_no_loss
from seriatim.tasks.metrics import sensitive_threshold, youden_threshold

Target = Literal["binary", "multiclass", "multilabel", "regression"]
Array = NDArray[Any]
WHOLE: Mapping[str, float] = MappingProxyType({})
"""No shares: the batch is all there is."""


class DiagnosisSettings(Settings):
    """What is asked of a series, and in which columns the answers stand."""

    kind: Literal["diagnosis"] = "diagnosis"
    target: Target = "binary"
    """The kind of answer: yes or no, one of several classes, several findings, or numbers."""
    labels: tuple[str, ...] = Field(min_length=1)
    """Label columns of the manifest: one for binary and multiclass, one per finding or number otherwise."""
    classes: tuple[str, ...] = ()
    """The names of the classes, for multiclass only."""
    slice_labels: tuple[str, ...] = ()
    """Columns of the slice-label table, in the order of `labels`; empty: the same names, where the table has them."""
    slice_loss_weight: float = Field(default=0.0, ge=0.0)
    """Weight of the loss of the slice labels beside that of the series; above 0 needs `data.slice_labels`."""
    slice_positive_weight: float = Field(default=1.0, gt=0.0)
    """Weight of positive slices in the slice loss (binary, multilabel); they are few: above 1 counts them more."""
    attention_loss_weight: float = Field(default=0.0, ge=0.0)
    """Weight of a loss that draws attention to labelled positive slices (binary, multilabel), for example 0.1: what the
    sequence model carries along lets attention settle beside the finding, or anywhere but on it."""
    class_weights: Literal["none", "balanced"] | tuple[float, ...] = "none"
    """Weight of each class (multiclass) or of the positives of each label, in the loss of the series."""
    label_smoothing: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Move labels this share of the way to even odds (Szegedy et al. 2016)."""
    focal_gamma: float = Field(default=0.0, ge=0.0, le=10.0)
    """Focal loss (Lin et al. 2017): an answer that is wrong by d counts d to this power as much, so that many easy
    series do not drown the few hard; 2 in the paper, 0 is off. It draws probabilities to even odds: calibrate."""
    soft_labels: bool = False
    """Label cells may be shares of yes from 0 to 1, for example of the readers who saw it (binary, multilabel). The
    losses take them as they are; metrics, thresholds, calibration and splits count 0.5 and above as yes."""
    target_sensitivity: float | None = Field(default=None, gt=0, le=1)
    """Choose the threshold that reaches this sensitivity on validation, instead of Youden's (binary, multilabel)."""
    coverage: float | None = Field(default=None, gt=0, lt=1)
    """Give prediction sets too, which hold the true answer with this probability, each class by itself: for example
    0.9. For regression intervals. Not for multilabel."""
    calibration: CalibrationKind = "none"
    """Bend the probabilities by what validation says: temperature (one number), platt (two), or isotonic (any rising
    map; needs hundreds of validation series). Multiclass has temperature only."""

    @property
    def outputs(self) -> int:
        return len(self.classes) if self.target == "multiclass" else len(self.labels)

    @model_validator(mode="after")
    def _check(self) -> DiagnosisSettings:
        if self.target in ("binary", "multiclass") and len(self.labels) != 1:
            raise ValueError(f"{self.target} has one label column, not {len(self.labels)}; did you mean multilabel?")
        if self.target == "multiclass" and len(self.classes) < 2:
            raise ValueError("multiclass needs classes: the list of at least two class names, in order")
        if self.target != "multiclass" and self.classes:
            raise ValueError(f"classes are for target multiclass, not {self.target}; leave them out")
        for key, names in (("labels", self.labels), ("classes", self.classes)):
            if len(set(names)) != len(names) or not all(name.strip() for name in names):
                raise ValueError(f"{key} must be different names, none of them empty")
        if self.slice_labels and len(self.slice_labels) != len(self.labels):
            raise ValueError(f"slice_labels must name {len(self.labels)} columns, in the order of labels")
        return self

    @model_validator(mode="after")
    def _check_losses(self) -> DiagnosisSettings:
        if self.attention_loss_weight and self.target not in ("binary", "multilabel"):
            raise ValueError(f"attention_loss_weight is for binary and multilabel, not for {self.target}; leave it out")
        if self.slice_positive_weight != 1 and self.target not in ("binary", "multilabel"):
            raise ValueError(f"slice_positive_weight is for binary and multilabel, not for {self.target}; leave it out")
        if self.target == "regression" and (self.class_weights != "none" or self.label_smoothing or self.focal_gamma):
            raise ValueError(
                "class_weights, label_smoothing and focal_gamma are for classes, not for regression; leave them out"
            )
        if self.soft_labels and self.target not in ("binary", "multilabel"):
            raise ValueError(f"soft_labels are for binary and multilabel, not for {self.target}; leave them out")
        if not isinstance(self.class_weights, str):
            _check_weights(self.class_weights, count=self.outputs)
        return self

    @model_validator(mode="after")
    def _check_decisions(self) -> DiagnosisSettings:
        if self.target_sensitivity is not None and self.target not in ("binary", "multilabel"):
            raise ValueError(f"target_sensitivity is for binary and multilabel, not for {self.target}; leave it out")
        if self.coverage is not None and self.target == "multilabel":
            raise ValueError("coverage is not for multilabel; train a model for each label, or leave it out")
        return self

    @model_validator(mode="after")
    def _check_calibration(self) -> DiagnosisSettings:
        legal = {"multiclass": ("none", "temperature"), "regression": ("none",)}.get(self.target)
        if legal and self.calibration not in legal:
            raise ValueError(f"calibration of {self.target} can be {' or '.join(legal)}, not {self.calibration}")
        return self

    def build(self) -> DiagnosisTask:
        """The task, with class weights where they are given as numbers."""
        return DiagnosisTask(
            settings=self, class_weights=None if isinstance(self.class_weights, str) else self.class_weights
        )


def _check_weights(weights: tuple[float, ...], *, count: int) -> None:
    if len(weights) != count or not all(0 < weight < float("inf") for weight in weights):
        raise ValueError(f"class_weights must be {count} positive numbers, none, or balanced")


@dataclass(frozen=True, kw_only=True)
class DiagnosisTask:
    """Labels, loss, probabilities, metrics and decisions of one diagnosis. K is ``outputs``.

    For regression, ``center`` and ``scale`` (K,) are the mean and spread of the training labels: errors are counted in
    units of the scale, and a network that starts from them (``SequenceNetwork.set_output_scale``) learns numbers of any
    size. ``calibration`` bends the probabilities of series and ``conformal`` gives their prediction sets, once
    they are fitted; slice scores stay as they are.
    """

    settings: DiagnosisSettings
    class_weights: tuple[float, ...] | None = None
    center: tuple[float, ...] | None = None
    scale: tuple[float, ...] | None = None
    calibration: Calibration | None = None
    conformal: Conformal | None = None

    @property
    def outputs(self) -> int:
        return self.settings.outputs

    @property
    def class_names(self) -> tuple[str, ...]:
        """The name of each output: the classes of multiclass, the label columns otherwise."""
        return self.settings.classes if self.settings.target == "multiclass" else self.settings.labels

    @property
    def scores_slices(self) -> bool:
        """Whether slice scores were trained and so mean something."""
        return self.settings.slice_loss_weight > 0

    @property
    def monitor(self) -> tuple[str, Literal["max", "min"]]:
        """The metric that chooses the best epoch; where it cannot be computed (one class only), the loss does."""
        return ("mae", "min") if self.settings.target == "regression" else ("auc", "max")

    def encode_labels(self, row: Mapping[str, str]) -> tuple[float, ...]:
        """A manifest row to K numbers, for multiclass to (class index,); IGNORE where a cell is empty.

        Raises:
            ConfigError: a column is missing, or a value is not legal; value, column and the legal ones are named.
        """
        return tuple(self._encode(read_cell(row, column), column=column) for column in self.settings.labels)

    def encode_slice_labels(self, row: Mapping[str, str]) -> tuple[float, ...]:
        """A row of the slice-label table to K numbers, for multiclass one-hot; IGNORE where not known.

        Raises:
            ConfigError: a column that ``slice_labels`` names is missing, or a value is not legal.
        """
        named = self.settings.slice_labels
        columns = named or self.settings.labels
        values = tuple(
            self._encode(read_cell(row, column), column=column) if named or column in row else IGNORE
            for column in columns
        )
        if self.settings.target != "multiclass":
            return values
        if values[0] == IGNORE:
            return (IGNORE,) * self.outputs
        return tuple(float(index == values[0]) for index in range(self.outputs))

    def harden(self, labels: Array) -> Array:
        """Labels as all but the losses take them: of soft ones yes from 0.5 on, and no; others as they are."""
        return np.where(labels == IGNORE, IGNORE, labels >= HALF) if self.settings.soft_labels else labels

    def with_class_weights(self, labels: Array) -> DiagnosisTask:
        """The task fitted to the training labels (N,K), for multiclass (N,1).

        ``balanced`` becomes numbers; of regression the labels' mean and spread become ``center`` and ``scale``.
        """
        if self.settings.target == "regression":
            center, scale = measure_spread(labels)
            return replace(self, center=center, scale=scale)
        if self.settings.class_weights != "balanced":
            return self
        several = self.settings.target == "multiclass"
        return replace(
            self, class_weights=weigh_classes(labels, classes=self.outputs) if several else weigh_positives(labels)
        )

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
        return self._loss(logits, labels, weights=(self.settings.slice_positive_weight,) * self.outputs)

    def probabilities(self, logits: Tensor) -> Tensor:
        """Probabilities (..., K) in float64: sigmoid, softmax, or for regression the values themselves."""
        if self.settings.target == "regression":
            return logits.double()
        return logits.double().softmax(dim=-1) if self.settings.target == "multiclass" else logits.double().sigmoid()

    def calibrate(self, probabilities: Tensor) -> Tensor:
        """The probabilities (..., K) of series, bent where the task is calibrated; slices are never calibrated."""
        if self.calibration is None:
            return probabilities
        return torch.from_numpy(self.calibration.apply(probabilities.cpu().numpy()))

    def with_calibration(self, probabilities: Array, labels: Array) -> DiagnosisTask:
        """The task calibrated on (N,K) uncalibrated probabilities and (N,K) labels, (N,1) for multiclass."""
        kind = self.settings.calibration
        if self.settings.target == "multiclass":
            known = labels[:, 0] != IGNORE
            return replace(self, calibration=fit_classes(kind, labels[known, 0].astype(int), probabilities[known]))
        columns = self._known_columns(probabilities, labels)
        return replace(self, calibration=fit_columns(kind, [columns[name] for name in self.class_names]))

    def slice_probabilities(self, slice_logits: Tensor) -> Tensor:
        """The same for slices: (..., S, K)."""
        return self.probabilities(slice_logits)

    def metrics(self, probabilities: Array, labels: Array) -> dict[str, float]:
        """What (N,K) probabilities say about (N,K) labels, (N,1) for multiclass, where they are known.

        auc and average_precision (mean over the classes), log_loss, accuracy, balanced_accuracy; for regression mae
        and rmse. With several outputs also each one's auc, or mae. A metric that the data cannot answer is left out.
        """
        if self.settings.target == "multiclass":
            known = labels[:, 0] != IGNORE
            return agree_classes(labels[known, 0].astype(int), probabilities[known], names=self.class_names)
        columns = self._known_columns(probabilities, labels)
        return agree_numbers(columns) if self.settings.target == "regression" else agree_yes_no(columns)

    def thresholds(self, probabilities: Array, labels: Array) -> dict[str, float]:
        """The decision threshold of each output, by Youden's index or ``target_sensitivity``; of yes and no only."""
        if self.settings.target not in ("binary", "multilabel"):
            return {}
        columns, wanted = self._known_columns(probabilities, labels), self.settings.target_sensitivity
        if wanted is None:
            return {name: youden_threshold(true, scores) for name, (true, scores) in columns.items()}
        return {name: sensitive_threshold(*column, sensitivity=wanted) for name, column in columns.items()}

    def with_conformal(self, probabilities: Array, labels: Array) -> DiagnosisTask:
        """The task with prediction sets fitted on (N,K) calibrated probabilities and labels as of ``metrics``."""
        coverage = self.settings.coverage
        if coverage is None:
            return self
        if self.settings.target == "regression":
            errors = np.where(labels == IGNORE, np.nan, probabilities - labels)
            return replace(self, conformal=fit_numbers(coverage, errors))
        known = labels[:, 0] != IGNORE
        answers, true = self._answers(probabilities[known]), self.harden(labels[known, 0]).astype(int)
        return replace(self, conformal=fit_answers(coverage, true, answers))

    def tell_set(self, probabilities: Sequence[float] | Array) -> str:
        """The prediction set of (K,) probabilities: answers joined by |, for numbers [low, high] joined by ;."""
        if self.conformal is None:
            return ""
        if self.settings.target == "regression":
            pairs = zip(probabilities, self.conformal.bounds, strict=True)
            return ";".join(f"[{value - half:.6g}, {value + half:.6g}]" for value, half in pairs)
        names = ("0", "1") if self.settings.target == "binary" else self.class_names
        chosen = self.conformal.choose(self._answers(np.asarray(probabilities)[None])[0])
        return "|".join(name for name, inside in zip(names, chosen, strict=True) if inside)

    def _answers(self, probabilities: Array) -> Array:
        """(N,K) probabilities of answers that exclude each other: of yes or no, those of no and of yes."""
        if self.settings.target == "multiclass":
            return probabilities
        return np.concatenate([1 - probabilities, probabilities], axis=1)

    def one_sided(self, labels: Array) -> tuple[str, ...]:
        """The outputs whose known labels (N,K) are all alike, so that no threshold can be chosen on them."""
        if self.settings.target not in ("binary", "multilabel"):
            return ()
        columns = self._known_columns(labels, labels)
        return tuple(name for name, (true, _) in columns.items() if len(np.unique(true)) < 2)

    def decide(self, probabilities: Sequence[float] | Array, thresholds: Mapping[str, float]) -> str:
        """One answer from (K,) probabilities: 1 or 0, a class name, the positive names joined by ;, or the numbers."""
        named = dict(zip(self.class_names, (float(value) for value in probabilities), strict=True))
        positive = [name for name, value in named.items() if value >= thresholds.get(name, 0.5)]
        match self.settings.target:
            case "binary":
                return "1" if positive else "0"
            case "multilabel":
                return ";".join(positive)
            case "multiclass":
                return max(named, key=lambda name: named[name])
            case "regression":
                return ";".join(f"{value:.6g}" for value in named.values())

    def _encode(self, text: str, *, column: str) -> float:
        if self.settings.target == "multiclass":
            return encode_class(text, column=column, classes=self.settings.classes)
        if self.settings.target == "regression":
            return encode_number(text, column=column)
        return encode_yes_no(text, column=column, soft=self.settings.soft_labels)

    def _loss(self, logits: Tensor, labels: Tensor, *, weights: tuple[float, ...] | None) -> Tensor:
        labels = labels.to(logits.dtype)
        known = labels != IGNORE
        if self.settings.target == "regression":
            return number_loss(logits, labels, known, scale=logits.new_tensor(self.scale or (1.0,) * self.outputs))
        emphasis = Emphasis(
            weights=logits.new_tensor(weights) if weights else None,
            smoothing=self.settings.label_smoothing,
            focal_gamma=self.settings.focal_gamma,
        )
        if self.settings.target == "multiclass":
            return class_loss(logits, labels[:, 0], known[:, 0], emphasis=emphasis)
        return yes_no_loss(logits, labels, known, emphasis=emphasis)

    def _known_columns(self, values: Array, labels: Array) -> dict[str, tuple[Array, Array]]:
        """By output, the known labels, of soft ones yes or no, and their values."""
        hard = self.harden(labels)
        return {
            name: (true[true != IGNORE], value[true != IGNORE])
            for name, true, value in zip(self.class_names, hard.T, values.T, strict=True)
        }
