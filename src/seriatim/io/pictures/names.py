"""The order of the pictures of a folder: their names, with the numbers in them counted as numbers."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import combinations, pairwise
from pathlib import Path

from seriatim.io.walk import natural_key
from seriatim.series.findings import Code, Finding, find
from seriatim.series.spacing import find_gaps

NUMBER = re.compile(r"\d+")
MIN_SHARED = 2
"""So many numbers that two runs of names share make them two series."""


def order_pictures(paths: Iterable[Path]) -> list[Path]:
    """By name; capital letters and the ending of the name change nothing, unless nothing else tells two apart."""
    return sorted(paths, key=lambda path: (natural_key(path.stem.casefold()), natural_key(path.name)))


def check_names(ordered: Sequence[Path]) -> list[Finding]:
    """What the names say against one sequence: equal numbers, several runs of numbers, and missing numbers."""
    keys = [natural_key(path.stem.casefold()) for path in ordered]
    equal = sum(_without_text(first) == _without_text(second) for first, second in pairwise(keys))
    if equal:
        message = f"{equal} pictures have the name of another but for its ending, capitals or zeros: no order is known."
        return [find(Code.DUPLICATE_POSITION, message + " Take the copies out.", repeats=equal)]
    runs = _find_runs(ordered)
    if any(len(first & second) >= MIN_SHARED for first, second in combinations(runs, 2)):
        message = f"The names count from the start {len(runs)} times: they are several series."
        return [find(Code.DUPLICATE_POSITION, message + " Put each in a folder of its own.", series=len(runs))]
    gaps = find_gaps(sorted(runs[0])) if len(runs) == 1 else []
    if gaps:
        missing = sum(round(gap.step_mm / gap.expected_mm) - 1 for gap in gaps)
        message = f"Numbers that are missing in the names: {missing}, holes: {len(gaps)}."
        return [find(Code.GAP, message + " Copy the folder again, or keep it: --on GAP=keep.", missing=missing)]
    return []


def _without_text(key: list[tuple[bool, int, str]]) -> list[object]:
    """A natural key in which 01 is 1."""
    return [text if is_text else number for is_text, number, text in key]


def _find_runs(ordered: Sequence[Path]) -> list[set[int]]:
    """The last number that changes, of all names that are alike but for it."""
    names = [path.stem.casefold() for path in ordered]
    by_text: dict[str, list[list[int]]] = defaultdict(list)
    for name in names:
        by_text[NUMBER.sub("#", name)].append([int(number) for number in NUMBER.findall(name)])
    runs: dict[tuple[object, ...], set[int]] = defaultdict(set)
    for text, rows in by_text.items():
        changing = [place for place in range(len(rows[0])) if len({row[place] for row in rows}) > 1]
        last = changing[-1] if changing else len(rows[0]) - 1
        for row in rows:
            if row:
                runs[(text, *row[:last])].add(row[last])
    return list(runs.values()) or [set()]
