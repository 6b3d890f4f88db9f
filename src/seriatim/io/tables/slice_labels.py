"""Slice labels: a CSV with one row per labelled slice, and which row belongs to which slice of a series."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from seriatim.errors import ConfigError
from seriatim.io.tables.manifest import Case, Row, read_table
from seriatim.series import Series

KEYS = ("sop_instance_uid", "series_uid", "path", "index")


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceRow:
    """One row of the table. ``scope`` is what ``index`` counts in: a file, else a series, else a manifest path."""

    line: int
    row: Row
    scope: str
    index: int | None


class SliceLabels:
    """The rows of a slice-label table, and which of them fitted a slice so far."""

    def __init__(self, rows: Iterable[SliceRow] = ()) -> None:
        self._count = 0
        self._used: set[int] = set()
        self._by_scope: dict[str, dict[int | None, SliceRow]] = defaultdict(dict)
        for row in rows:
            self._count += 1
            if row.scope:
                self._by_scope[row.scope][row.index] = row

    def __len__(self) -> int:
        return self._count

    @property
    def unused_count(self) -> int:
        """How many rows fitted no slice of the series asked for so far."""
        return self._count - len(self._used)

    def of(self, series: Series, case: Case) -> list[Row | None]:
        """The label row of each slice of a series, in its order; None where there is none.

        A slice that is a file of its own is found by its SOP Instance UID, and by index only in rows without one. The
        frames of one file share that UID, so they are found by index. ``path`` counts in rows without a series UID.

        Raises:
            ConfigError: a row's UID and index name two different slices, or an index is beyond the series.
        """
        scopes = [scope for scope in (series.series_uid, case.row.get("path", "")) if scope]
        for scope in scopes:
            self._require_range(series, scope)
        found = [self._find(series, scopes, index) for index in range(len(series.instances))]
        self._used.update(row.line for row in found if row is not None)
        return [None if row is None else row.row for row in found]

    def _find(self, series: Series, scopes: Sequence[str], index: int) -> SliceRow | None:
        instance = series.instances[index]
        files = [_file_scope(uid, instance.sop_instance_uid) for uid in (series.series_uid, "")]
        if instance.frame is None:
            for rows in (self._by_scope[scope] for scope in files if scope in self._by_scope):
                own = rows.get(index) or next(iter(rows.values()))
                _require_agreement(own, series, index)
                return own
        every = [*files, *scopes]
        return next((row for scope in every if (row := self._by_scope.get(scope, {}).get(index))), None)

    def _require_range(self, series: Series, scope: str) -> None:
        count = len(series.instances)
        row = max(self._by_scope.get(scope, {}).values(), key=lambda row: row.index or 0, default=None)
        if row is None or (row.index or 0) < count or series.volume:  # a UID of several volumes counts in each
            return
        raise ConfigError(
            f"Line {row.line} of the slice labels: index {row.index} is beyond series {series.series_uid} with {count} "
            f"slices. The index is 0-based, so the last slice is {count - 1}; correct the table."
        )


def read_slice_labels(path: Path, *, labels: Sequence[str] = ()) -> SliceLabels:
    """Read slice labels by ``sop_instance_uid``, or by 0-based ``index`` with ``series_uid`` or ``path``.

    Args:
        path: the CSV.
        labels: its label columns, in which two rows of one slice must agree; all columns beside the keys if empty.

    Raises:
        ConfigError: a column is missing, an index is no index, or two rows of one slice contradict each other.
    """
    texts = read_table(path)
    columns = set(texts[0])
    if "sop_instance_uid" not in columns and not ({"index"} <= columns and columns & {"series_uid", "path"}):
        raise ConfigError(
            f"{path} needs sop_instance_uid, or index with series_uid or path; it has {', '.join(texts[0])}."
        )
    compared = [name for name in texts[0] if name in labels or (not labels and name not in KEYS)]
    rows: dict[tuple[str, int | None], SliceRow] = {}
    for line, text in enumerate(texts, start=2):
        row = _slice_row(text, path=path, line=line)
        # a row that names no slice is equal to no other
        first = rows.setdefault((row.scope, row.index) if row.scope else (f"line {line}", None), row)
        if any(first.row[name] != row.row[name] for name in compared):
            raise ConfigError(
                f"{path}, lines {first.line} and {line} give one slice different labels. Keep the right one."
            )
    return SliceLabels(rows.values())


def _slice_row(text: Row, *, path: Path, line: int) -> SliceRow:
    index = _index(text["index"], path=path, line=line) if text.get("index") else None
    series_uid, sop_instance_uid = text.get("series_uid", ""), text.get("sop_instance_uid", "")
    if sop_instance_uid:
        scope = _file_scope(series_uid, sop_instance_uid)
    else:
        scope = (series_uid or text.get("path", "")) if index is not None else ""
    return SliceRow(line=line, row=text, scope=scope, index=index)


def _file_scope(series_uid: str, sop_instance_uid: str) -> str:
    return f"{series_uid}|{sop_instance_uid}"


def _require_agreement(row: SliceRow, series: Series, index: int) -> None:
    if row.index is not None and row.index != index:
        raise ConfigError(
            f"Line {row.line} of the slice labels: its sop_instance_uid is slice {index} of series "
            f"{series.series_uid}, its index says {row.index}. Slices are counted from 0 in the order of "
            "docs/geometry.md; correct one of the two, or leave index out."
        )


def _index(text: str, *, path: Path, line: int) -> int:
    try:
        index = int(text)
    except ValueError as error:
        raise ConfigError(f"{path}, line {line}: index {text!r} is not a whole number.") from error
    if index < 0:
        raise ConfigError(f"{path}, line {line}: index {index} is negative; the first slice is 0.")
    return index
