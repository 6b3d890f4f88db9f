"""Which series a run learnt from, and which it held out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from seriatim.errors import ConfigError
from seriatim.io.tables.manifest import read_table
from seriatim.trained.lineage import MANIFEST, read_uses, walk_lineage


def read_splits(run: Path) -> dict[str, str]:
    """The split of each series UID in a run's manifest, as far as the run folder was copied with it.

    A series that stands in none, but that the run learnt from without labels, or that a run used which it started from,
    is ``unlabelled``.
    """
    splits = {uid: "unlabelled" for one in walk_lineage(run) for uid, _, _ in read_uses(one) if uid}
    rows = read_table(run / MANIFEST) if (run / MANIFEST).is_file() else ()
    seen = [row for row in rows if row["series_uid"] and (row["split"] == "test" or row["status"] == "used")]
    return splits | {row["series_uid"]: row["split"] for row in seen}


def read_patients(run: Path) -> frozenset[str]:
    """The ids of all patients that a run, or one that it started from, learnt from or was chosen by."""
    return frozenset(patient for one in walk_lineage(run) for _, patient, _ in read_uses(one) if patient)


def split_of_run(run: Path, split: str) -> set[str]:
    """The series UIDs that a run's manifest put in ``split``: to score just the held-out part."""
    return choose_split(read_splits(run), split, where=str(run))


def choose_split(splits: Mapping[str, str], split: str, *, where: str) -> set[str]:
    """The series UIDs of one split. Raises ConfigError where there are none."""
    chosen = {uid for uid, own in splits.items() if own == split}
    if not chosen:
        raise ConfigError(f"{where} has no series in the split {split!r}. Give train, val or test.")
    return chosen
