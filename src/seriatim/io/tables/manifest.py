"""The training manifest: a CSV with one row per series."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from seriatim.errors import ConfigError
from seriatim.io.source import exists

Row = Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One manifest row: where the series lies, whose it is, and its labels as text.

    ``path`` is absolute; ``series_uid`` and ``volume`` pick one of several series below it ("" where there must
    be just one); ``line`` is that of the manifest, whose header is line 1.
    """

    path: Path
    patient: str
    row: Row
    series_uid: str = ""
    volume: str = ""
    line: int = 0


def read_table(path: Path, *, may_be_empty: bool = False) -> list[dict[str, str]]:
    """Read a CSV with a header into rows of text, cells stripped.

    Raises:
        ConfigError: the file cannot be read, has no header, or a row has more or fewer cells than the header; or it has
            no rows, unless it ``may_be_empty``.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True)
            rows = [_checked(row, path=path, line=reader.line_num) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"The table {path} cannot be read: {error}. Give the path of a UTF-8 CSV file.") from error
    if not rows and not may_be_empty:
        raise ConfigError(f"The table {path} has no rows. Give a CSV with a header and one row per series.")
    return rows


def read_manifest(path: Path, *, patient: str = "patient", look: bool = True) -> tuple[Case, ...]:
    """Read the manifest: column ``path`` (relative to the manifest), the ``patient`` column, labels, split or fold.

    Without ``look`` the table alone is read, and the paths may lead nowhere.

    Raises:
        ConfigError: a needed column is missing or empty, a path does not exist, or a series stands there twice.
    """
    rows = read_table(path)
    for column in ("path", patient):
        if column not in rows[0]:
            raise ConfigError(f"The manifest {path} has no column {column!r}; it has {', '.join(rows[0])}.")
    cases = tuple(_case(row, folder=path.parent, patient=patient, line=line) for line, row in enumerate(rows, start=2))
    for line, case in enumerate(cases if look else (), start=2):
        if not exists(case.path):
            raise ConfigError(
                f"Manifest line {line}: {case.path} does not exist. Paths are relative to the manifest's folder."
            )
    seen: dict[tuple[Path, str, str], int] = {}
    for line, case in enumerate(cases, start=2):
        first = seen.setdefault((case.path, case.series_uid, case.volume), line)
        if first != line:
            raise ConfigError(f"The manifest {path} names the same series in lines {first} and {line}. Remove one.")
    return cases


def _checked(row: dict[str | None, str | list[str] | None], *, path: Path, line: int) -> dict[str, str]:
    if None in row or None in row.values():
        raise ConfigError(f"{path}, line {line}: the row has more or fewer cells than the header. Correct the line.")
    return {str(key).strip(): str(value).strip() for key, value in row.items()}


def _case(row: dict[str, str], *, folder: Path, patient: str, line: int) -> Case:
    for column in ("path", patient):
        if not row[column]:
            raise ConfigError(
                f"Manifest line {line}: {column!r} is empty. Every series needs its path and its patient."
            )
    path = (folder / row["path"]).resolve()
    return Case(path=path, patient=row[patient], row=MappingProxyType(row), series_uid=row.get("series_uid", ""),
                volume=row.get("volume", ""), line=line)
