"""What an inventory looks like: a table for people, JSON for programs. No names or IDs of patients in either."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table

from seriatim.errors import OutputError, printable
from seriatim.series import Inventory, Series

COLUMNS = ("series", "modality", "slices", "size", "spacing mm", "order", "findings", "usable")
FOLDED = ("series", "findings")
WHERE_WIDE = ("size", "findings")
WIDE = 100  # characters
SHOWN_NAMES = 5
DONE = {"refuse": "refused", "repair": "repaired", "keep": "kept"}


def describe_series(inventory: Inventory, *, width: int) -> Table:
    """One row per series. Nothing is cut off: names fold, and a narrow terminal shows fewer columns."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    columns = [column for column in COLUMNS if width >= WIDE or column not in WHERE_WIDE]
    for column in columns:
        table.add_column(column, overflow="fold", no_wrap=column not in FOLDED)
    for series in inventory.series:
        cells = dict(zip(COLUMNS, _row(series, inventory.root), strict=True))
        table.add_row(*(_plain(cells[column]) for column in columns))
    return table


def _row(series: Series, root: Path) -> tuple[str, ...]:
    """The cells, in the order of ``COLUMNS``."""
    return (
        _name(series, root),
        series.modality,
        str(len(series.instances)),
        _size(series),
        _spacing(series),
        order_of(series),
        _codes(series),
        "yes" if series.usable else "no",
    )


def describe_findings(inventory: Inventory) -> Iterator[str]:
    """Why series are refused, each reason in full; then what was repaired or kept, a line for each code."""
    for done in DONE:
        groups: dict[tuple[str, ...], list[tuple[str, str]]] = {}
        for series in inventory.series:
            for finding in series.findings:
                if finding.action == done:
                    key = (finding.code, finding.message) if done == "refuse" else (finding.code,)
                    groups.setdefault(key, []).append((_name(series, inventory.root), finding.full_message))
        for (code, *_), told in groups.items():
            example = "" if len({message for _, message in told}) == 1 else "for example: "
            names = _count([name for name, _ in told])
            yield printable(f"{DONE[done]}, {code}: {names}: {example}{told[0][1]}")


def describe_skipped(inventory: Inventory) -> Iterator[str]:
    """The left-out files, grouped by reason, the first few by name."""
    ordered = sorted(inventory.skipped, key=lambda one: one.reason)
    for reason, group in groupby(ordered, key=lambda one: one.reason):
        files = [_relative(one.path, inventory.root) for one in group]
        yield printable(f"left out, {reason.rstrip('.')}: {_count(files)}")


def _count(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN_NAMES} more" if len(names) > SHOWN_NAMES else ""
    return f"{len(names)} ({', '.join(names[:SHOWN_NAMES])}{more})"


def order_of(series: Series) -> str:
    """The direction in which slices follow each other, for example "I to S", or "time"."""
    if series.axis == "time":
        return "time"
    if series.affine is None:
        return "none"
    from seriatim.series.geometry import affine_normal, letter

    normal = affine_normal(series.affine)
    return f"{letter(-normal)} to {letter(normal)}"


def write_json(inventory: Inventory, path: Path) -> None:
    """Write every series, every finding and every left-out file.

    Raises:
        OutputError: the file cannot be written.
    """
    content = {
        "root": str(inventory.root),
        "series": [_describe(series) for series in inventory.series],
        "skipped": [{"path": str(one.path), "reason": one.reason} for one in inventory.skipped],
    }
    try:
        path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror}. Give another --json file.") from error


def _describe(series: Series) -> dict[str, Any]:
    return {
        "study_uid": series.study_uid,
        "series_uid": series.series_uid,
        "volume": series.volume,
        "path": str(series.path),
        "format": series.format,
        "modality": series.modality,
        "body_parts": list(series.body_parts),
        "axis": series.axis,
        "slices": len(series.instances),
        "rows": series.rows,
        "columns": series.columns,
        "spacing_mm": series.spacing_mm,
        "order": order_of(series),
        "usable": series.usable,
        "reason": series.reason,
        "affine": None if series.affine is None else series.affine.tolist(),
        "positions": series.positions.tolist(),
        "files": sorted({str(instance.path) for instance in series.instances} or {str(series.path)}),
        "findings": [
            {
                "code": str(finding.code),
                "action": finding.action,
                "message": finding.full_message,
                "numbers": dict(finding.numbers),
            }
            for finding in series.findings
        ],
    }


def _name(series: Series, root: Path) -> str:
    name = _relative(series.path, root)
    return f"{name} [{series.volume}]" if series.volume else name


def _relative(path: Path, root: Path) -> str:
    return str(path.relative_to(root)) if path != root and path.is_relative_to(root) else path.name


def _size(series: Series) -> str:
    return f"{series.columns} x {series.rows}" if series.instances else "-"


def _spacing(series: Series) -> str:
    return "-" if series.spacing_mm is None else " x ".join(f"{value:.4g}" for value in series.spacing_mm)


def _codes(series: Series) -> str:
    return ", ".join(str(finding.code) for finding in series.findings) or "-"


def _plain(cell: str) -> str:
    """The cell without rich markup, a volume name in brackets is not a style, and without control characters."""
    return printable(cell).replace("[", r"\[")
