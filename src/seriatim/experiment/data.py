"""Which series, whose, how they are split, and how their files are read."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from seriatim.io.isolation.limits import Limits
from seriatim.series import Code
from seriatim.series.findings import Action, check_actions
from seriatim.series.series import SequenceKind
from seriatim.settings import Settings


class ReadingSettings(Settings):
    """How files are read: in a worker process, so that a file that crashes, hangs or eats memory costs one series."""

    isolated: bool = True
    """Read in a worker process, under the limits below."""
    seconds: float = Field(default=60.0, gt=0)
    """Time for one series or file, beside that for its slices; then TIMEOUT."""
    seconds_per_slice: float = Field(default=1.0, ge=0)
    """More time for each slice (megapixel of larger ones), or (10 min at most) megabyte of a volume file or video."""
    memory_gb: float | None = Field(default=None, gt=0)
    """Most memory of the worker in GiB, then TOO_LARGE; null: four fifths of the machine's, or of the container's."""

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
    patients_per_class: int | None = Field(default=None, ge=2)
    """Use the labels of so many training patients of each class alone, those that validate among them (multilabel: of
    each positive label, and of none; regression: of all), to see how much labels bring. The other training patients
    become the split `unlabelled`."""
    patients_draw: int = Field(default=0, ge=0)
    """Which draw of these patients; the patients of a smaller number are always among those of a larger one."""
    findings: dict[Code, Action] = Field(default_factory=dict)
    """What to do on a finding, where it differs from the default: for example {GAP: keep}."""
    sequence: SequenceKind = "volumes"
    """What a 4D series becomes: `volumes`, the slices at each time, or `frames`, each slice over time."""
    near_duplicates: Literal["refuse", "warn", "ignore"] = "refuse"
    """Series of two splits that show the same images nearly; pixel by pixel they are refused, unless this is ignore."""
    compare_test: bool = True
    """Read the test split too, only to compare its images with those of train and val."""
    source_patients: Literal["refuse", "warn"] = "refuse"
    """Patients of val or test who have the ids of patients that the run which this one starts from learnt from: refuse
    them, or only warn, where the ids of the two manifests are known to be of different people."""
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
