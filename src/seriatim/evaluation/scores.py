"""What scoring wrote: scores.csv, and beside it run.json, which says what was asked and the thresholds."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, cast, get_args

from seriatim.errors import ConfigError
from seriatim.io.tables.manifest import read_table

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
    task = run.get("task") or {}
    target = task.get("target")
    if target is not None and target not in get_args(Target):
        raise ConfigError(f"{path.with_name('run.json')}: target {target!r} is none of {', '.join(get_args(Target))}.")
    return Scores(
        path=path,
        rows=rows,
        target=cast("Target | None", target),
        labels=tuple(map(str, task.get("labels") or ())),
        classes=tuple(map(str, task.get("classes") or ())),
        thresholds={str(name): float(value) for name, value in (run.get("thresholds") or {}).items()},
        slice_labels=tuple(map(str, task.get("slice_labels") or ())),
        soft_labels=bool(task.get("soft_labels")),
        anomaly=task.get("kind") == "anomaly",
        normal=tuple(map(str, task.get("normal") or ())),
        models=_models(run.get("model") or {}),
    )


def read_number(row: Row, column: str, *, where: Path) -> float:
    """A finite number of a scored row.

    Raises:
        ConfigError: the column is not there, or holds no finite number.
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
    return number


def _models(model: Mapping[str, Any]) -> tuple[Path, ...]:
    """The run folders of a model, or of all its members, as run.json tells them."""
    return tuple(Path(one["path"]) for one in model.get("members", [model]) if "path" in one)


def _read_run(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read: {error}. Score again, or move it away and give --label.") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path} holds no run. Score again, or move it away and give --label and --threshold.")
    return content
