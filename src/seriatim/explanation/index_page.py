"""The page over a folder of scores and explanations: all series in one table, to sort, to filter, and to go from."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from seriatim.errors import InputError
from seriatim.explanation.page.content import plain
from seriatim.explanation.page.layout import as_base64, render_page
from seriatim.io.tables.manifest import read_table
from seriatim.io.tables.outputs import write_text

INDEX = "index.html"
SCORES, EXPLANATIONS = "scores.csv", "explanations.csv"
SAFE_NAME = re.compile(r"[0-9A-Za-z_-][0-9A-Za-z._-]*")
"""What a file is called that the page leads to; anything else in a table is no link."""
THUMBNAILS = "thumbnails"
MOST_BYTES = 20_000
"""Of a thumbnail; a larger file is none of ours."""
GROUP_SIGNS = 60
"""Reasons that begin with no code are grouped by as many of their signs."""
Row = dict[str, Any]


def write_index(folder: Path, *, paths: bool = False) -> Path:
    """Write ``index.html`` over the ``scores.csv`` and ``explanations.csv`` of a folder, whichever are there.

    It holds thumbnails itself, and leads to the pages and pictures beside it. ``paths`` shows where each series lay;
    without it no path is on the page, since folders are named after patients.

    Raises:
        InputError: there is neither table.
        OutputError: it cannot be written.
    """
    rows = collect_rows(folder, paths=paths)
    counts = Counter(row["status"] for row in rows)
    reasons = Counter(group_reason(row["reason"]) for row in rows if row["reason"])
    page = render_page(
        "index.html", script="index.js", style="index.css", total=len(rows), counts=counts.most_common(),
        reasons=reasons.most_common(), classes=_distinct(rows, "prediction"), statuses=sorted(counts),
        has_thumbnails=any(row["thumbnail"] for row in rows), paths=paths,
        data={"rows": rows, "columns": _columns(rows, paths=paths)},
    )  # fmt: skip
    write_text(folder / INDEX, page)
    return folder / INDEX


def collect_rows(folder: Path, *, paths: bool = False) -> list[Row]:
    """One row per series of either table, the highest score first; what has no score comes last.

    Raises:
        InputError: there is neither table, or one cannot be read.
    """
    tables = [folder / name for name in (SCORES, EXPLANATIONS) if (folder / name).is_file()]
    if not tables:
        raise InputError(f"{folder} has no {SCORES} and no {EXPLANATIONS}. Give a folder that `seriatim score` or "
                         "`seriatim explain` wrote.")
    merged: dict[tuple[str, ...], dict[str, str]] = {}
    for table in tables:
        seen = Counter[tuple[str, ...]]()
        for row in read_table(table, may_be_empty=True):
            key = (row["series_uid"], row["volume"], Path(row["path"]).name)
            seen[key] += 1  # copies of a series are rows of their own
            own = merged.setdefault((*key, str(seen[key])), {})
            own.update(_merge(own, row))
    rows = [_describe(folder, row, paths=paths) for row in merged.values()]
    return sorted(rows, key=lambda row: (row["score"] is None, -(row["score"] or 0.0), row["series"]))


def group_reason(reason: str) -> str:
    """What a reason has in common with others: the code it begins with, else its first words."""
    code = re.match(r"[A-Z][A-Z_]+(?=:)", reason)
    return code[0] if code else reason[:GROUP_SIGNS] + ("…" if len(reason) > GROUP_SIGNS else "")


def _merge(known: Mapping[str, str], row: Mapping[str, str]) -> dict[str, str]:
    """What a second table adds: a series that is explained was scored; why it was not does not take its score away."""
    new = {key: value for key, value in row.items() if value}
    if known.get("status") == "scored" and row["status"] != "explained":
        return {key: value for key, value in new.items() if key not in ("status", "prediction")}
    return new


def _describe(folder: Path, row: Mapping[str, str], *, paths: bool) -> Row:
    score, label = _score_of(row)
    volume = f" ({row['volume']})" if row.get("volume") else ""
    return {
        "series": plain(row["series_uid"] + volume), "score": score, "label": plain(row.get("label", "") or label),
        "prediction": plain(row.get("prediction", "")), "status": plain(row.get("status", "")),
        "reason": plain(row.get("reason", "")), "slices": _number(row.get("slices", "")),
        "modality": plain(row.get("modality", "")), "findings": plain(row.get("findings", "").replace(";", " ")),
        "set": plain(row.get("prediction_set", "")), "events": _number(row.get("events", "")),
        "page": _link(folder, row.get("page", "")), "picture": _link(folder, row.get("picture", "")),
        "thumbnail": _thumbnail(folder, row.get("thumbnail", "")),
        **({"path": plain(row.get("path", ""))} if paths else {}),
    }


def _score_of(row: Mapping[str, str]) -> tuple[float | None, str]:
    """The score that was explained, else the highest of scores.csv, and whose it is."""
    explained = _number(row.get("score", ""))
    if explained is not None:
        return explained, row.get("label", "")
    found = [(value, key.partition("_")[2]) for key, text in row.items()
             if key.startswith(("probability_", "value_")) and (value := _number(text)) is not None]
    return max(found, key=lambda one: one[0]) if found else (None, "")


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _link(folder: Path, name: str) -> str:
    """The name of a file in the folder, fit for a link; "" where there is none."""
    return name if SAFE_NAME.fullmatch(name) and (folder / name).is_file() else ""


def _thumbnail(folder: Path, name: str) -> str:
    path = folder / THUMBNAILS / name
    if not SAFE_NAME.fullmatch(name) or not path.is_file() or path.stat().st_size > MOST_BYTES:
        return ""
    return as_base64(path.read_bytes())


def _distinct(rows: Iterable[Row], key: str) -> list[str]:
    return sorted({str(row[key]) for row in rows if row[key]})


def _columns(rows: Sequence[Row], *, paths: bool) -> list[tuple[str, str]]:
    """The key and the heading of each column that any series has something in."""
    named = [("thumbnail", ""), ("score", "score"), ("label", "of"), ("prediction", "prediction"),
             ("set", "prediction set"), ("events", "events"), ("status", "status"), ("modality", "modality"),
             ("slices", "slices"), ("findings", "noticed"), ("series", "series"),
             *([("path", "path")] if paths else [])]
    return [(key, name) for key, name in named if any(row[key] not in ("", None) for row in rows)]
