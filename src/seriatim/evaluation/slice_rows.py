"""What scoring wrote about slices: the rows of slices.csv, series by series."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from seriatim.errors import ConfigError
from seriatim.evaluation.scores import Row, Scores
from seriatim.io.tables.manifest import read_table

SLICE_SCORE = "score_"


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceRows:
    """The rows of one slices.csv by series UID, and by those of ``told_by`` that it has: study_uid, volume."""

    path: Path
    grouped: Mapping[tuple[str, ...], Sequence[Row]]
    told_by: Sequence[str]

    def of(self, score: Row) -> Sequence[Row]:
        """The rows of one scored series, in order. Raises ConfigError where several series cannot be told apart."""
        rows = self.grouped.get((score["series_uid"], *(score.get(name, "") for name in self.told_by)), ())
        if any(count > 1 for count in Counter(row["index"] for row in rows if row.get("index")).values()):
            raise ConfigError(
                f"{self.path} holds several series with the UID {score['series_uid']}, which cannot be told apart. "
                "Score them apart, or leave out --slices."
            )
        return rows


def read_slices(scores: Scores) -> SliceRows:
    """Read the slices.csv beside a scores.csv.

    Raises:
        ConfigError: it is not there, cannot be read, or lacks a column that scoring writes.
    """
    path = scores.slices_path
    if not path.exists():
        raise ConfigError(f"--slices needs {path}, which `seriatim score` writes beside scores.csv.")
    rows = read_table(path)
    lacking = [name for name in ("series_uid", "sop_instance_uid", "attention") if name not in rows[0]]
    if lacking:
        raise ConfigError(f"{path} has no column {lacking[0]!r}. Score the series again.")
    told_by = [name for name in ("study_uid", "volume") if name in rows[0]]
    grouped: dict[tuple[str, ...], list[Row]] = defaultdict(list)
    for row in rows:
        grouped[row["series_uid"], *(row[name] for name in told_by)].append(row)
    return SliceRows(path=path, grouped=grouped, told_by=told_by)
