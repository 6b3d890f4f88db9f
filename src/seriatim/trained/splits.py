"""Which series a run learnt from, and which it held out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from seriatim.errors import ConfigError
from seriatim.io.tables.manifest import read_table


def read_splits(run: Path) -> dict[str, str]:
    """The split of each series UID in a run's manifest; empty where the run folder was copied without it."""
    if not (run / "manifest.csv").is_file():
        return {}
    rows = read_table(run / "manifest.csv")
    seen = [row for row in rows if row["series_uid"] and (row["split"] == "test" or row["status"] == "used")]
    return {row["series_uid"]: row["split"] for row in seen}


def split_of_run(run: Path, split: str) -> set[str]:
    """The series UIDs that a run's manifest put in ``split``: to score just the held-out part."""
    return choose_split(read_splits(run), split, where=str(run))


def choose_split(splits: Mapping[str, str], split: str, *, where: str) -> set[str]:
    """The series UIDs of one split. Raises ConfigError where there are none."""
    chosen = {uid for uid, own in splits.items() if own == split}
    if not chosen:
        raise ConfigError(f"{where} has no series in the split {split!r}. Give train, val or test.")
    return chosen
