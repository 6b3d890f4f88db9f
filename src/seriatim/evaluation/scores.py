"""What scoring wrote: scores.csv, and beside it run.json, which says what was asked and the thresholds."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from pydantic import ConfigDict, Field

from seriatim.errors import ConfigError
from seriatim.io.tables.manifest import read_table
from seriatim.settings import Settings, build_settings

Row: TypeAlias = Mapping[str, str]
Target = Literal["binary", "multiclass", "multilabel", "regression"]

NEEDED = ("series_uid", "path", "status")
PROBABILITY = "probability_"
VALUE = "value_"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """One scores.csv. ``target``, ``thresholds`` and the like come from run.json, None and empty where there is none.

    ``slice_labels`` are the columns of slice labels in the order of ``labels``, empty where they have the same names;
    ``soft_labels``: the model learnt from shares of yes, so a label may be one. ``anomaly``: the scores are no
    probabilities, and ``normal`` are the words of the label that mean normal, empty where it holds 0 and 1. ``models``
    are the run folders that scored.
    """

    path: Path
    rows: Sequence[Row]
    target: Target | None
    labels: tuple[str, ...]
    classes: tuple[str, ...]
    thresholds: Mapping[str, float]
    slice_labels: tuple[str, ...] = ()
    soft_labels: bool = False
    anomaly: bool = False
    normal: tuple[str, ...] = ()
    models: tuple[Path, ...] = ()

    @property
    def slices_path(self) -> Path:
        """Where scoring writes the rows per slice."""
        return self.path.with_name("slices.csv")

    def columns(self, prefix: str) -> tuple[str, ...]:
        """What follows ``prefix`` in the names of the columns that begin with it."""
        return tuple(name.removeprefix(prefix) for name in self.rows[0] if name.startswith(prefix))


def read_scores(path: Path) -> Scores:
    """Read a scores.csv and the run.json beside it.

    Raises:
        ConfigError: a file cannot be read, or scores.csv lacks a column that scoring writes.
    """
    rows = read_table(path)
    missing = [name for name in NEEDED if name not in rows[0]]
    if missing:
        raise ConfigError(f"{path} has no column {missing[0]!r}. Give the scores.csv that `seriatim score` wrote.")
    run = _read_run(path.with_name("run.json"))
    task = run.task or _Task()
    return Scores(
        path=path,
        rows=rows,
        target=task.target,
        labels=task.labels,
        classes=task.classes or (),
        thresholds=run.thresholds or {},
        slice_labels=task.slice_labels or (),
        soft_labels=bool(task.soft_labels),
        anomaly=task.kind == "anomaly",
        normal=task.normal or (),
        models=tuple(path.parent / one for one in _models(run.model)),
    )


def read_number(row: Row, column: str, *, where: Path) -> float:
    """A finite number of a scored row; of a probability, one from 0 to 1.

    Raises:
        ConfigError: the column is not there, or holds no such number.
    """
    try:
        number = float(row[column])
    except (KeyError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise ConfigError(
            f"{where}: series {row['series_uid']} is scored, but its {column} is {row.get(column)!r}, not a number. "
            "Score the series again."
        )
    if column.startswith(PROBABILITY) and not 0 <= number <= 1:
        raise ConfigError(
            f"{where}: series {row['series_uid']} has {column} {row[column]}, and a probability lies from 0 to 1. "
            f"Score the series again; where these are other numbers, name the column {VALUE}... or scale them."
        )
    return number


class _Task(Settings):
    """What of a run.json's task an evaluation needs; the rest may be anything."""

    model_config = ConfigDict(extra="ignore")

    kind: str | None = None
    target: Target | None = None
    labels: tuple[str, ...] = ()
    classes: tuple[str, ...] | None = None
    slice_labels: tuple[str, ...] | None = None
    soft_labels: bool | None = None
    normal: tuple[str, ...] | None = None


class _Member(Settings):
    model_config = ConfigDict(extra="ignore")

    path: Path | None = None


class _Models(_Member):
    members: tuple[_Member, ...] | None = None


class _Run(Settings):
    """The same of a whole run.json."""

    model_config = ConfigDict(extra="ignore")

    task: _Task | None = None
    thresholds: dict[str, Annotated[float, Field(allow_inf_nan=False)]] | None = None
    model: _Models | None = None


def _models(model: _Models | None) -> tuple[Path, ...]:
    """The run folders of a model, or of all its members, as run.json tells them."""
    every = () if model is None else (model,) if model.members is None else model.members
    return tuple(one.path for one in every if one.path is not None)


def _read_run(path: Path) -> _Run:
    if not path.exists():
        return _Run()
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read: {error}. Score again, or move it away and give --label.") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path} holds no run. Score again, or move it away and give --label and --threshold.")
    try:
        return build_settings(_Run, content, where=str(path))
    except ConfigError as error:
        raise ConfigError(f"{error}. Score again, or move it away and give --label and --threshold.") from error
