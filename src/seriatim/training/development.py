"""The data that choices may be made on: a manifest of its own, in which no test series stands.

A study that tries settings gets this manifest and nothing else, so that no mistake further on can look at a test
series: its path is not there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seriatim.errors import ConfigError
from seriatim.experiment import Experiment
from seriatim.io.tables.manifest import read_table
from seriatim.io.tables.outputs import write_csv
from seriatim.training.examples import Planned, plan_splits
from seriatim.training.split import draw_folds

COLUMN = "tune_split_"


@dataclass(frozen=True, slots=True, kw_only=True)
class Development:
    """Where the tables lie, and the split columns of the manifest: one for each way to train and validate. ``tested``
    says whether there are test series, which are not in it.
    """

    manifest: Path
    slice_labels: Path | None
    columns: tuple[str, ...]
    tested: bool

    def narrow(self, experiment: Experiment, column: str) -> Experiment:
        """The experiment on one split of these data.

        Raises:
            ConfigError: it would pretrain on further series, and nothing here tells which of them are of test patients.
        """
        pretraining = experiment.pretraining
        if self.tested and pretraining is not None and pretraining.unlabelled and not pretraining.include_test:
            raise ConfigError(
                "pretraining.unlabelled may hold series of test patients, and a study does not know who they are. "
                "Leave pretraining.unlabelled out of the study, or allow it: pretraining.include_test=true."
            )
        own: dict[str, Any] = {
            "manifest": self.manifest,
            "slice_labels": self.slice_labels,
            "split": column,
            "fold": None,
            "folds": None,
            "patients_per_class": None,
        }
        return experiment.model_copy(update={"data": experiment.data.model_copy(update=own)})


def write_development(experiment: Experiment, folder: Path, *, folds: int | None) -> Development:
    """Write ``development.csv`` into ``folder``: the manifest's rows that are not tested, with paths from the root.

    The test rows are those of ``data.fold``, or of the split column. Without ``folds``, training and validation are
    those that ``train`` would have; with them, each fold of the labelled patients validates in turn. No file of a
    series is looked for.

    Raises:
        ConfigError: the manifest, a label or a split is wrong, or there are fewer patients than folds.
    """
    planned = plan_splits(experiment)
    rows = [row for row in planned if row.split != "test"]
    splits = _fold_splits(rows, folds, seed=experiment.seed) if folds else [[row.split for row in rows]]
    columns = tuple(f"{COLUMN}{number}" for number in range(len(splits)))
    table = [
        {**row.case.row, "path": str(row.case.path), **dict(zip(columns, own, strict=True))}
        for row, own in zip(rows, zip(*splits, strict=True), strict=True)
    ]
    manifest = folder / "development.csv"
    write_csv(manifest, list(table[0]), table)
    slices = experiment.data.slice_labels
    if slices is not None:
        slices = _move_paths(slices, folder, paths={row.case.row["path"]: str(row.case.path) for row in rows})
    return Development(manifest=manifest, slice_labels=slices, columns=columns, tested=len(rows) < len(planned))


def _fold_splits(rows: Sequence[Planned], count: int, *, seed: int) -> list[list[str]]:
    labelled = [row for row in rows if row.split != "unlabelled"]
    folds = draw_folds([row.case for row in labelled], strata=[row.stratum for row in labelled], count=count, seed=seed)
    fold_of = {row.case.patient: fold for row, fold in zip(labelled, folds, strict=True)}
    return [
        ["unlabelled" if row.split == "unlabelled" else "val" if fold_of[row.case.patient] == one else "train"
         for row in rows]
        for one in sorted(set(folds))
    ]  # fmt: skip


def _move_paths(table: Path, folder: Path, *, paths: Mapping[str, str]) -> Path:
    """Slice labels that name a series by its path in the manifest have to name it as the new one does."""
    rows = read_table(table)
    if not any(row.get("path") in paths for row in rows):
        return table
    moved = folder / "development_slices.csv"
    write_csv(moved, list(rows[0]), [{**row, "path": paths.get(row["path"], row["path"])} for row in rows])
    return moved
