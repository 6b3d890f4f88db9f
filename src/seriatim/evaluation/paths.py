"""Which label belongs to which score where only paths say it: the same place, else the same path below one folder."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import TypeAlias

from seriatim.errors import ConfigError
from seriatim.evaluation.scores import Row
from seriatim.io.source import exists

Parts: TypeAlias = tuple[str, ...]
Root: TypeAlias = tuple[str, Parts]
"""The folder that one table's paths begin with and the other's lack; which table, ``scores`` or ``labels``, first."""

REPAIR = "Give the labels a series_uid column, or absolute paths."


class Paths:
    """Label rows without a series UID, by where their path leads and by how it ends.

    A row with ``study_uid`` fits only series of that study.
    """

    def __init__(self, rows: Sequence[Row], *, labels_path: Path) -> None:
        self._labels_path = labels_path
        self._places: dict[int, Path] = {}
        self._by_place: dict[tuple[Path, str], int] = {}
        self._given: dict[tuple[Parts, str], int] = {}
        self._ends: dict[Parts, list[tuple[int, str]]] = defaultdict(list)
        for index, row in enumerate(rows):
            if row.get("path") and not row.get("series_uid"):
                self._add(index, _portable(row["path"]), row.get("study_uid", ""))

    def match(self, rows: Sequence[Row]) -> list[tuple[int, str] | None]:
        """For each row of one scores.csv the index of its label and what it was found by, or None.

        Where a label leads to a scored series, only places count. Otherwise (tables that were moved, or relative paths)
        labels are found by the end of the path, all of them below one folder.

        Raises:
            ConfigError: the ends fit below different folders, or what they fit is another place that exists.
        """
        placed = [self._find_place(row) for row in rows]
        if any(index is not None for index in placed):
            return [None if index is None else (index, "path") for index in placed]
        ended = self._match_ends(rows)
        for row, end in zip(rows, ended, strict=True):
            if end is not None:
                self._refuse_another(row, self._places[end])
        return [None if index is None else (index, "end of path") for index in ended]

    def _add(self, index: int, path: PurePosixPath, study: str) -> None:
        place = (self._labels_path.parent / path).resolve()
        first = self._by_place.setdefault((place, study), index)
        if first != index:
            raise ConfigError(tell_twice(self._labels_path, first, index))
        self._places[index] = place
        self._given[path.parts, study] = index
        for end in _ends(place.parts):
            self._ends[end].append((index, study))

    def _find_place(self, row: Row) -> int | None:
        """The label of the series' own file or folder, or of the nearest one above it."""
        path = Path(_portable(row["path"]))
        place = path.resolve()
        for one in (place, *place.parents):
            index = self._by_place.get((one, row.get("study_uid", "")), self._by_place.get((one, "")))
            # A relative path may have been written in another working directory: only what is there counts.
            if index is not None and (path.is_absolute() or exists(one)):
                return index
        return None

    def _match_ends(self, rows: Sequence[Row]) -> list[int | None]:
        below = [self._find_roots(row) for row in rows]
        known = [(row, roots) for row, roots in zip(rows, below, strict=True) if roots]
        if not known:
            return [None] * len(rows)
        shared = set(known[0][1])
        for row, roots in known:
            if not shared & set(roots):
                raise ConfigError(
                    f"The scored paths {known[0][0]['path']!r} and {row['path']!r} end like paths of "
                    f"{self._labels_path}, but below different folders, so they may be other series. {REPAIR}"
                )
            shared &= set(roots)
        for row, roots in known:
            fitting = sorted({roots[root] for root in shared})
            if len(fitting) > 1:
                first, second = (tell_line(self._labels_path, index) for index in fitting[:2])
                raise ConfigError(f"The scored path {row['path']!r} fits {first} and {second}. {REPAIR}")
        chosen = min(shared)
        return [roots.get(chosen) for roots in below]

    def _find_roots(self, row: Row) -> dict[Root, int]:
        """Every folder below which the series lies at, or under, the path of a label, and the nearest such label."""
        path, study = _portable(row["path"]), row.get("study_uid", "")
        parts, roots = path.parts, dict[Root, int]()
        for start in range(len(parts)):
            for stop in range(start + 1, len(parts) + 1):
                index = self._given.get((parts[start:stop], study), self._given.get((parts[start:stop], "")))
                if index is not None:
                    roots["scores", parts[:start]] = index
        if path.is_absolute():
            return roots
        inner = tuple(part for part in parts if part != "..")  # it leads out of a folder that is not known here
        for stop in range(1, len(inner) + 1):
            for index, of_study in sorted(self._ends.get(inner[:stop], ()), key=lambda end: end[1]):
                if of_study in ("", study):
                    roots["labels", self._places[index].parts[:-stop]] = index
        return roots

    def _refuse_another(self, row: Row, place: Path) -> None:
        """Two places that both exist are two data sets, however alike their paths end."""
        if exists(place) and exists(Path(_portable(row["path"]))):
            raise ConfigError(
                f"The scored path {row['path']!r} ends like a path of {self._labels_path}, but that one leads to "
                f"{place}: these are labels of other data, or of a copy. {REPAIR}"
            )


def tell_line(labels_path: Path, index: int) -> str:
    """How a message names a label row: its line, since its cells may name a patient."""
    return f"line {index + 2} of {labels_path}"


def tell_twice(labels_path: Path, first: int, second: int) -> str:
    """The message for two label rows of one series."""
    return (
        f"{labels_path} labels one series twice, in lines {first + 2} and {second + 2}. Keep one row per series; "
        "slice labels go into --slices."
    )


def _portable(path: str) -> PurePosixPath:
    """A path as written on any system, without ``.`` and with ``..`` resolved where it can be."""
    parts: list[str] = []
    for part in PurePosixPath(path.replace("\\", "/")).parts:
        if part == ".." and parts and parts[-1] not in ("..", "/"):
            parts.pop()
        else:
            parts.append(part)
    return PurePosixPath(*parts)


def _ends(parts: Parts) -> Iterator[Parts]:
    """Every end of a path, the longest first."""
    return (parts[start:] for start in range(len(parts)))
