"""Labels as they stand in a table, text, to the numbers a loss takes."""

from __future__ import annotations

import math
from collections.abc import Mapping

from seriatim.errors import ConfigError
from seriatim.series.batch import IGNORE

UNKNOWN = frozenset({"", "nan", "na", "n/a", "-100", "-100.0"})
YES = frozenset({"1", "1.0", "true", "yes"})
NO = frozenset({"0", "0.0", "false", "no"})
HALF = 0.5
"""From here on a soft label counts as yes, wherever a yes or a no is needed."""


def read_cell(row: Mapping[str, str], column: str) -> str:
    """The text of a label column. Raises ConfigError where the table has no such column."""
    if column not in row:
        raise ConfigError(f"The table has no label column {column!r}. Its columns: {', '.join(row)}.")
    return row[column].strip()


def encode_yes_no(text: str, *, column: str, soft: bool = False) -> float:
    """1.0, 0.0, with ``soft`` any number between, or IGNORE where nothing is known.

    Raises:
        ConfigError: it is anything else.
    """
    word = text.lower()
    if word in UNKNOWN:
        return IGNORE
    if word in YES | NO:
        return float(word in YES)
    number = _number(text)
    if number is not None and (number in (0, 1) or (soft and 0 <= number <= 1)):
        return number
    between = "a number from 0 to 1; " if soft else ""
    repair = "" if soft or number is None or not 0 < number < 1 else " For shares of yes, set task.soft_labels."
    raise ConfigError(
        f"{text!r} in column {column!r} is neither yes nor no. "
        f"Legal: 1, true, yes; 0, false, no; {between}empty for unknown.{repair}"
    )


def encode_class(text: str, *, column: str, classes: tuple[str, ...]) -> float:
    """The index of a class by its name (2.0 is 2: tables with gaps are often written so), or by its number where no
    name is a number; IGNORE where nothing is known.

    Raises:
        ConfigError: there is no such class.
    """
    if text in classes:
        return float(classes.index(text))
    if text.lower() in UNKNOWN:
        return IGNORE
    number, named = _number(text), [_number(name) for name in classes]
    if number is not None and named.count(number) == 1:
        return float(named.index(number))
    if number is not None and number in range(len(classes)) and not any(one is not None for one in named):
        return number
    raise ConfigError(f"{text!r} in column {column!r} is no class. Legal: {', '.join(classes)}; empty for unknown.")


def encode_number(text: str, *, column: str) -> float:
    """A finite number, or IGNORE where nothing is known. Raises ConfigError for anything else, and for -100."""
    if text.lower() in UNKNOWN and _number(text) is None:
        return IGNORE
    number = _number(text)
    if number is None:
        raise ConfigError(f"{text!r} in column {column!r} is not a number. Legal: a finite number; empty for unknown.")
    if number == IGNORE:
        raise ConfigError(f"{text!r} in column {column!r} marks the unknown. Count in another unit; empty for unknown.")
    return number


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
