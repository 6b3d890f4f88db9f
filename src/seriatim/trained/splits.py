"""Which series a run learnt from, and which it held out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from seriatim.errors import ConfigError
from seriatim.io.tables.manifest import read_table
from seriatim.trained.lineage import MANIFEST, read_uses, walk_lineage

SEEN_MOST = ("train", "val", "unlabelled", "test")
"""Splits, from the one whose series a model knows best."""


def read_splits(run: Path) -> dict[str, str]:
    """The split of each series UID in a run's manifest, as far as the folder was copied with it: see ``find_split``.

    A series that stands in none, but that the run learnt from without labels, or that a run used which it started from,
    is ``unlabelled``. Careless anonymisers give many series one UID: then the best known of them says the split, and
    where the studies tell them apart, each study's has an entry of its own, by both UIDs.
    """
    splits = {uid: "unlabelled" for one in walk_lineage(run) for uid, _, _ in read_uses(one) if uid}
    rows = read_table(run / MANIFEST) if (run / MANIFEST).is_file() else ()
    own: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        if row["series_uid"] and (row["split"] == "test" or row["status"] == "used"):
            own[row["series_uid"]][row.get("study_uid", "")].append(row["split"])
    for uid, by_study in own.items():
        splits[uid] = most_seen(split for found in by_study.values() for split in found)
        if len({split for found in by_study.values() for split in found}) > 1:
            splits |= {_join(study, uid): most_seen(found) for study, found in by_study.items() if study}
    return splits


def find_split(splits: Mapping[str, str], study_uid: str, series_uid: str) -> str:
    """The split of a series, from what ``read_splits`` read; "" where it stands in none."""
    return splits.get(_join(study_uid, series_uid)) or splits.get(series_uid, "")


def merge_splits(every: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """Those of several runs: of each series that of the run that knows it best."""
    return {
        key: most_seen(split for one in every if (split := one.get(key) or one.get(key.rpartition(" ")[2])))
        for key in dict.fromkeys(key for one in every for key in one)
    }


def most_seen(splits: Iterable[str]) -> str:
    """Of some splits, the one whose series a model knows best."""
    return min(splits, key=SEEN_MOST.index)


def _join(study_uid: str, series_uid: str) -> str:
    return f"{study_uid} {series_uid}"


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
