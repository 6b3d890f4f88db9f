"""Diagnosis: per series yes or no, one of several classes, several findings, or numbers; per slice where known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seriatim.models.output import SequenceOutput
from seriatim.series.batch import IGNORE, SliceBatch
from seriatim.tasks.agreement import agree_classes, agree_numbers, agree_yes_no
from seriatim.tasks.balance import measure_spread, weigh_classes, weigh_positives
from seriatim.tasks.calibration import Calibration, fit_classes, fit_columns
from seriatim.tasks.conformal import Conformal, fit_answers, fit_numbers
from seriatim.tasks.diagnosis_settings import DiagnosisSettings
from seriatim.tasks.labels import HALF, encode_class, encode_number, encode_yes_no, read_cell
from seriatim.tasks.metrics import sensitive_threshold, youden_threshold
from seriatim.tasks.objective import WHOLE, Objective

Array = NDArray[Any]


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

    @property
    def objective(self) -> Objective:
        """Its losses."""
        return Objective(settings=self.settings, class_weights=self.class_weights, scale=self.scale)

    def loss(
        self, output: SequenceOutput, batch: SliceBatch, shares: Mapping[str, float] = WHOLE
    ) -> dict[str, Tensor]:
        """The losses of a batch by name, ``loss`` their sum: see ``Objective.loss``."""
        return self.objective.loss(output, batch, shares)

    def amounts(self, batch: SliceBatch) -> dict[str, float]:
        """What the losses of a batch are means over: see ``Objective.amounts``."""
        return self.objective.amounts(batch)

    def slice_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The mean loss over slices of which something is known: see ``Objective.slice_loss``."""
        return self.objective.slice_loss(logits, labels)

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

    def lead(self, probabilities: Sequence[float] | Array, thresholds: Mapping[str, float]) -> int:
        """The class to look at first of (K,) probabilities: the likeliest, or where each has a threshold of its own the
        one farthest above it, else the one least below.
        """
        values = np.asarray(probabilities, dtype=np.float64)
        if self.settings.target == "multilabel":
            values = values - [thresholds.get(name, 0.5) for name in self.class_names]
        return int(values.argmax())

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

    def _known_columns(self, values: Array, labels: Array) -> dict[str, tuple[Array, Array]]:
        """By output, the known labels, of soft ones yes or no, and their values."""
        hard = self.harden(labels)
        return {
            name: (true[true != IGNORE], value[true != IGNORE])
            for name, true, value in zip(self.class_names, hard.T, values.T, strict=True)
        }
