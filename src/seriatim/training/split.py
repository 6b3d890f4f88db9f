"""Which series train, validate and test: by patient, and proven so."""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from seriatim.errors import ConfigError
from seriatim.experiment import DataSettings
from seriatim.io.tables.manifest import Case
from seriatim.training.few_shot import Groups, draw_labelled

FOLD = re.compile(r"[\w.-]{1,64}")
Split = Literal["train", "val", "test", "unlabelled"]
"""``unlabelled``: a training patient whose labels are not used (``data.patients_per_class``)."""
NAMES: Mapping[str, Split] = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "unlabelled": "unlabelled",
}


def assign_splits(
    cases: Sequence[Case], data: DataSettings, *, strata: Sequence[str], seed: int, groups: Groups = ()
) -> list[Split]:
    """The split of every case: from `fold`, from the split column, or drawn; validation is drawn where none is given.

    ``strata`` is the label text of each case; the draw keeps its shares and moves whole patients. ``groups`` are needed
    with ``data.patients_per_class``: see ``draw_labelled``.

    Raises:
        ConfigError: a split or fold is unknown or empty, or a patient stands in two splits.
    """
    if data.fold is not None:
        splits = _from_folds(assign_folds(cases, data, strata=strata, seed=seed), data)
    else:
        splits = _from_column(cases, data)
    refuse_overlap(cases, splits)
    if data.patients_per_class is not None:
        splits = draw_labelled(cases, splits, data, groups=groups, seed=seed)
    if "val" not in splits:
        splits = _draw_validation(cases, splits, strata=strata, fraction=data.validation_fraction, seed=seed)
        refuse_overlap(cases, splits)
    for name in ("train", "val"):
        if name not in splits:
            raise ConfigError(
                f"No series is left for {name}; the manifest has {len(cases)} rows. Add rows or change the split."
            )
    return splits


def refuse_overlap(cases: Sequence[Case], splits: Sequence[str]) -> None:
    """Raise ConfigError when a patient stands in two splits, naming manifest lines and never the patient."""
    lines: dict[str, dict[str, int]] = defaultdict(dict)
    for line, (case, split) in enumerate(zip(cases, splits, strict=True), start=2):
        lines[case.patient].setdefault(split, line)
    mixed = [" and ".join(str(line) for line in found.values()) for found in lines.values() if len(found) > 1]
    if mixed:
        raise ConfigError(
            f"{len(mixed)} patient(s) are in more than one split, the first in manifest lines {mixed[0]}. "
            "A patient in two splits makes every score too good; put all their series in one."
        )


def prove_split(cases: Sequence[Case], splits: Sequence[str]) -> dict[str, Any]:
    """Counts and a digest of the patients of each split, and how many patients stand in two (0, or it was refused)."""
    names = ("train", "val", "test", *(("unlabelled",) if "unlabelled" in splits else ()))
    patients: dict[str, set[str]] = {name: set() for name in names}
    for case, split in zip(cases, splits, strict=True):
        patients[split].add(case.patient)
    total = len(set().union(*patients.values()))
    return {
        "patients_in_two_splits": sum(map(len, patients.values())) - total,
        "splits": {
            name: {
                "series": sum(split == name for split in splits),
                "patients": len(members),
                "patients_sha256": hashlib.sha256("\n".join(sorted(members)).encode()).hexdigest(),
            }
            for name, members in patients.items()
        },
    }


def assign_folds(cases: Sequence[Case], data: DataSettings, *, strata: Sequence[str], seed: int) -> list[str]:
    """The fold of every case: from the manifest's column, or drawn by patient and alike in ``strata``.

    Raises:
        ConfigError: there is neither a column of folds nor ``data.folds``, or both, a patient stands in two folds, or a
            fold has no name that a folder can have.
    """
    if data.fold_column in cases[0].row:
        if data.folds is not None:
            raise ConfigError(f"The manifest has a column {data.fold_column!r}: leave data.folds out.")
        folds = [_cell(case, data.fold_column).removesuffix(".0") for case in cases]  # as pandas writes whole numbers
        _require_names(folds, column=data.fold_column)
        refuse_overlap(cases, folds)
        return folds
    if data.folds is None:
        raise ConfigError(
            f"The manifest has no column {data.fold_column!r}; it has {', '.join(cases[0].row)}. Add it, or let folds "
            "be made: data.folds=5."
        )
    return draw_folds(cases, strata=strata, count=data.folds, seed=seed)


def _require_names(folds: Sequence[str], *, column: str) -> None:
    """Raise ConfigError where a row names no fold, which would be one of its own, or one that cannot name a folder."""
    for line, fold in enumerate(folds, start=2):
        if not FOLD.fullmatch(fold):
            raise ConfigError(
                f"Manifest line {line}: {column!r} is {fold!r}, and folders are named after folds. Give every row one "
                "of letters, digits, '_', '-' or '.', 64 at most; drop rows that belong to none."
            )


def draw_folds(cases: Sequence[Case], *, strata: Sequence[str], count: int, seed: int) -> list[str]:
    """Deal the patients of each stratum out to the folds in turn; a patient's first label counts.

    Raises:
        ConfigError: there are fewer patients than folds.
    """
    stratum_of: dict[str, str] = {}
    for case, stratum in zip(cases, strata, strict=True):
        stratum_of.setdefault(case.patient, stratum)
    if len(stratum_of) < count:
        raise ConfigError(f"{count} folds need as many patients; there are {len(stratum_of)}. Ask for fewer.")
    generator = np.random.default_rng(seed)
    fold_of: dict[str, str] = {}
    for stratum in sorted(set(stratum_of.values())):
        patients = sorted(patient for patient, own in stratum_of.items() if own == stratum)
        for index in generator.permutation(len(patients)):
            fold_of[patients[index]] = str(len(fold_of) % count)
    return [fold_of[case.patient] for case in cases]


def _from_folds(folds: Sequence[str], data: DataSettings) -> list[Split]:
    if data.fold not in folds:
        raise ConfigError(f"data.fold={data.fold} is none of the folds, which are {_listed(folds)}.")
    return ["test" if fold == data.fold else "train" for fold in folds]


def _from_column(cases: Sequence[Case], data: DataSettings) -> list[Split]:
    if data.split not in cases[0].row:
        return ["train"] * len(cases)
    texts = [_cell(case, data.split) for case in cases]
    unknown = sorted({text for text in texts if text.lower() not in NAMES})
    if unknown:
        legal = "train, val, test and unlabelled"
        raise ConfigError(f"The split column {data.split!r} has {_listed(unknown)}; legal are {legal}.")
    return [NAMES[text.lower()] for text in texts]


def _cell(case: Case, column: str) -> str:
    if column not in case.row:
        raise ConfigError(f"The manifest has no column {column!r}; it has {', '.join(case.row)}.")
    return case.row[column]


def _listed(values: Sequence[str]) -> str:
    return ", ".join(repr(value) for value in sorted(set(values))[:10])


def _draw_validation(
    cases: Sequence[Case], splits: list[Split], *, strata: Sequence[str], fraction: float, seed: int
) -> list[Split]:
    """Move about ``fraction`` of each stratum's training patients to validation; a patient's first label counts.

    Strata of one patient are drawn from together.
    """
    stratum_of: dict[str, str] = {}
    for case, split, stratum in zip(cases, splits, strata, strict=True):
        if split == "train":
            stratum_of.setdefault(case.patient, stratum)
    generator = np.random.default_rng(seed)
    chosen: set[str] = set()
    sizes = Counter(stratum_of.values())
    pooled = {patient: own if sizes[own] > 1 else "" for patient, own in stratum_of.items()}
    for stratum in sorted(set(pooled.values())):
        patients = sorted(patient for patient, own in pooled.items() if own == stratum)
        count = max(1, round(fraction * len(patients))) if len(patients) > 1 else 0
        chosen.update(patients[index] for index in generator.permutation(len(patients))[:count])
    return [
        "val" if split == "train" and case.patient in chosen else split
        for case, split in zip(cases, splits, strict=True)
    ]
