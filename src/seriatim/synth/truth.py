"""What synthetic sets share: seeds, patients, splits, the output folder and the tables of truth.

Everything about series ``index`` is a function of (seed, kind, index) alone, so a larger count only adds series.
"""

from __future__ import annotations

import csv
import hashlib
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from seriatim.errors import OutputError

SERIES_PER_REPEAT = 11
"""Every eleventh series is a second one of the patient before it: the split must go by patient."""
SPLITS = ("train", "test", "val", "train", "test", "train", "train")
"""The split of successive patients of either class: 4/7 train, 1/7 val, 2/7 test."""
Row = Mapping[str, object]


def make_generator(seed: int, *names: object) -> np.random.Generator:
    """A random generator that is a function of the seed and the names alone."""
    digest = hashlib.sha256("/".join(str(name) for name in names).encode()).digest()
    return np.random.default_rng([seed, *np.frombuffer(digest[:16], dtype="<u4").tolist()])


def patient_of(index: int) -> int:
    """The 0-based patient of a 0-based series."""
    return index - (index + 1) // SERIES_PER_REPEAT


def is_positive(seed: int, kind: str, patient: int) -> bool:
    """Whether a patient has the finding: one of each two successive patients, in random order."""
    first_is_positive = bool(make_generator(seed, kind, "pair", patient // 2).integers(2))
    return first_is_positive == (patient % 2 == 0)


def split_of(patient: int) -> str:
    """The split of a patient; both classes are spread alike, since each pair of patients holds one of each."""
    return SPLITS[patient // 2 % len(SPLITS)]


def prepare_folder(folder: Path, *, force: bool) -> None:
    """Make an empty folder for a set; with ``force`` an earlier synthetic set in it is removed first.

    Raises:
        OutputError: the folder cannot be made, holds files and ``force`` is off, or what it holds is no synthetic set.
    """
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder} is a file. Give a new folder.")
    if folder.is_dir() and any(folder.iterdir()):
        if not force:
            raise OutputError(f"{folder} is not empty. Give a new folder, or --force to replace the set in it.")
        if not (folder / "labels.csv").is_file():
            raise OutputError(f"{folder} holds files but no labels.csv, so it is no synthetic set and is left alone.")
        _remove_set(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder} cannot be made: {error}. Give a folder you may write to.") from error


def _remove_set(folder: Path) -> None:
    shutil.rmtree(folder / "series", ignore_errors=True)
    for name in ("labels.csv", "slices.csv"):
        (folder / name).unlink(missing_ok=True)


def write_table(path: Path, rows: Sequence[Row]) -> None:
    """Write rows as CSV with a header; booleans become 0 and 1."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({key: int(value) if isinstance(value, bool) else value for key, value in row.items()})
