"""Which label belongs to which score: by series UID where labels.csv gives one, else by path."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TypeAlias

import numpy as np

from seriatim.errors import ConfigError
from seriatim.evaluation.intervals import Clusters
from seriatim.evaluation.scores import Row, Scores
from seriatim.io.manifest import read_table

Parts: TypeAlias = tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A label row and the score row of its series; ``file`` is the index of the scores.csv it stands in."""

    label: Row
    score: Row
    file: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """A labelled series without a score, and why."""

    series: str
    status: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Joined:
    """Every row of labels.csv: scored (``pairs``), or ``missing``. ``unlabelled`` scored series have no label row."""

    pairs: tuple[Pair, ...]
    missing: tuple[Missing, ...]
    unlabelled: int
    joined_by: dict[str, int]

    @property
    def labelled(self) -> int:
        return len(self.pairs) + len(self.missing)


@dataclass(frozen=True, slots=True)
class _Labels:
    path: Path
    rows: Sequence[Row]

    def name(self, index: int) -> str:
        """How a message names a label row: its line, since its cells may name a patient."""
        return f"line {index + 2} of {self.path}"


Found: TypeAlias = tuple[int, str]
"""The index of a label row, and what it was found by."""


def join(scores: Sequence[Scores], labels_path: Path) -> Joined:
    """Find the score of every label row.

    A row with ``series_uid`` (and ``volume``, where one series holds several) is found by it. Another is found by
    ``path``, relative to the folder of labels.csv: as the same file or folder or the nearest one above the series,
    else by the longest common end of the two paths.

    Raises:
        ConfigError: a series has two labels, a label fits several scored series, or no label fits any.
    """
    rows = read_table(labels_path)
    if "series_uid" not in rows[0] and "path" not in rows[0]:
        raise ConfigError(f"{labels_path} has neither a column series_uid nor path; it has {', '.join(rows[0])}.")
    labels = _Labels(labels_path, rows)
    by_uid, by_path = _Uids(labels), _Paths(labels)
    matches: dict[int, list[Pair]] = defaultdict(list)
    joined_by: Counter[str] = Counter()
    unlabelled = 0
    for file, one in enumerate(scores):
        for row in one.rows:
            found = by_uid.find(row) or by_path.find(row)
            if found is None:
                unlabelled += row["status"] == "scored"
                continue
            matches[found[0]].append(Pair(label=rows[found[0]], score=row, file=file))
            joined_by[found[1]] += 1
    if not matches:
        raise ConfigError(
            f"No row of {labels_path} fits a series of {scores[0].path}. Give labels a series_uid column, or paths "
            f"relative to the folder of the labels; the first scored path is {scores[0].rows[0]['path']!r}."
        )
    chosen = {index: _only_one(pairs, labels.name(index)) for index, pairs in matches.items()}
    return Joined(
        pairs=tuple(pair for pair in chosen.values() if pair.score["status"] == "scored"),
        missing=tuple(_missing(row, chosen.get(index)) for index, row in enumerate(rows) if _is_missing(index, chosen)),
        unlabelled=unlabelled,
        joined_by=dict(joined_by),
    )


def cluster(pairs: Sequence[Pair]) -> tuple[Clusters, str]:
    """Whose each series is, and how that is known: the ``patient`` column, else the study, else each its own."""
    keys = [
        ("patient", pair.label["patient"])
        if pair.label.get("patient")
        else ("study", pair.score["study_uid"])
        if pair.score.get("study_uid")
        else ("series", str(index))
        for index, pair in enumerate(pairs)
    ]
    numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    kinds = sorted({kind for kind, _ in keys})
    return Clusters(np.array([numbers[key] for key in keys], dtype=int)), " or ".join(kinds)


class _Uids:
    """Label rows by series UID, and by volume where given."""

    def __init__(self, labels: _Labels) -> None:
        self.index: dict[tuple[str, str], int] = {}
        for index, row in enumerate(labels.rows):
            if row.get("series_uid"):
                key = (row["series_uid"], row.get("volume", ""))
                first = self.index.setdefault(key, index)
                if first != index:
                    raise ConfigError(_twice(labels, first, index))

    def find(self, score: Row) -> Found | None:
        uid = score["series_uid"]
        index = self.index.get((uid, score.get("volume", "")), self.index.get((uid, "")))
        return None if index is None else (index, "series_uid")


class _Paths:
    """Label rows without a series UID, by where their path leads and by how it ends."""

    def __init__(self, labels: _Labels) -> None:
        self.labels = labels
        self.resolved: dict[Path, int] = {}
        self.given: dict[Parts, list[int]] = defaultdict(list)
        self.ends: dict[Parts, list[int]] = defaultdict(list)
        for index, row in enumerate(labels.rows):
            if row.get("series_uid") or not row.get("path"):
                continue
            resolved = (labels.path.parent / _portable(row["path"])).resolve()
            first = self.resolved.setdefault(resolved, index)
            if first != index:
                raise ConfigError(_twice(labels, first, index))
            self.given[_portable(row["path"]).parts].append(index)
            for end in _ends(resolved.parts):
                self.ends[end].append(index)

    def find(self, score: Row) -> Found | None:
        path = _portable(score["path"])
        candidates = [] if path.is_absolute() else self.ends.get(_below(path.parts), [])
        if not candidates:
            # A relative path is read as if the folder of the labels had been scored, the usual layout.
            resolved = (self.labels.path.parent / path).resolve()
            above = next((self.resolved[one] for one in (resolved, *resolved.parents) if one in self.resolved), None)
            if above is not None:
                return above, "path"
            candidates = next((self.given[end] for end in _ends(path.parts) if end in self.given), [])
        if len(candidates) > 1:
            raise ConfigError(
                f"The scored path {score['path']!r} fits {self.labels.name(candidates[0])} and "
                f"{self.labels.name(candidates[1])}. Give the labels a series_uid column."
            )
        return (candidates[0], "end of path") if candidates else None


def _portable(path: str) -> PurePosixPath:
    """A path as written on any system, without ``.`` and with ``..`` resolved where it can be."""
    parts: list[str] = []
    for part in PurePosixPath(path.replace("\\", "/")).parts:
        if part == ".." and parts and parts[-1] not in ("..", "/"):
            parts.pop()
        else:
            parts.append(part)
    return PurePosixPath(*parts)


def _below(parts: Parts) -> Parts:
    """A relative path without the ``..`` it begins with, which lead out of a folder that is not known here."""
    return tuple(part for part in parts if part != "..")


def _ends(parts: Parts) -> Iterator[Parts]:
    """Every end of a path, the longest first."""
    return (parts[start:] for start in range(len(parts)))


def _only_one(pairs: list[Pair], label: str) -> Pair:
    """The one scored series among those a label fits: a refused scout beside it does not make the label ambiguous."""
    scored = [pair for pair in pairs if pair.score["status"] == "scored"]
    if len(scored) > 1:
        shown = [(pair.score["series_uid"], pair.score.get("volume", "")) for pair in scored[:2]]
        names = " and ".join(" ".join(filter(None, one)) for one in shown)
        raise ConfigError(
            f"The label in {label} fits {len(scored)} scored series, among them {names}. Give the labels a series_uid "
            "column (and a volume column where they share the UID), and each scores.csv only once."
        )
    return scored[0] if scored else pairs[0]


def _is_missing(index: int, chosen: dict[int, Pair]) -> bool:
    return index not in chosen or chosen[index].score["status"] != "scored"


def _missing(row: Row, pair: Pair | None) -> Missing:
    series = row.get("series_uid") or row.get("path", "")
    if pair is None:
        return Missing(series=series, status="missing", reason="not in scores.csv")
    return Missing(series=series, status=pair.score["status"], reason=pair.score.get("reason", ""))


def _twice(labels: _Labels, first: int, second: int) -> str:
    return (
        f"{labels.path} labels one series twice, in lines {first + 2} and {second + 2}. Keep one row per series; "
        "slice labels go into --slices."
    )
