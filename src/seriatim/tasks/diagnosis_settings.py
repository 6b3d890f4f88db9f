"""What a diagnosis is asked: its answers, the columns they stand in, its losses and its decisions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from seriatim.settings import Settings
from seriatim.tasks.calibration import CalibrationKind

if TYPE_CHECKING:
    from seriatim.tasks.diagnosis import DiagnosisTask

Target = Literal["binary", "multiclass", "multilabel", "regression"]


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
        from seriatim.tasks.diagnosis import DiagnosisTask  # which is made of these settings

        return DiagnosisTask(
            settings=self, class_weights=None if isinstance(self.class_weights, str) else self.class_weights
        )


def _check_weights(weights: tuple[float, ...], *, count: int) -> None:
    if len(weights) != count or not all(0 < weight < float("inf") for weight in weights):
        raise ValueError(f"class_weights must be {count} positive numbers, none, or balanced")
