"""The numbers of an explanation: one CSV row per slice."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from seriatim.explanation.explanation import Explanation
from seriatim.io.tables.outputs import cell_text, write_csv


def write_explanation_csv(explanation: Explanation, path: Path) -> None:
    """Write one row per slice, in order.

    Columns: ``series_uid, sop_instance_uid, frame`` (from 0 in a file of several, else empty), ``index`` (0-based),
    ``position, unit, attention, rank`` (1 = first by the attribution shown), then one ``score_<class>`` per class of
    the slice head, one ``attention_<class>`` per class that attends by itself, and one column for each other
    attribution: its name, and ``_<class>`` where there are several. A text that a spreadsheet would run as a formula
    gets a leading apostrophe.

    Raises:
        OutputError: the file cannot be written.
    """
    columns = dict(_columns(explanation))
    header = ["series_uid", "sop_instance_uid", "frame", "index", "position", "unit", "attention", "rank", *columns]
    write_csv(path, header, _rows(explanation, header, columns))


def rank_slices(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """(S,) ranks from 1, the slice with the highest value; of equals, the earlier comes first."""
    ranks = np.empty(len(values), dtype=np.int64)
    ranks[np.argsort(-values, kind="stable")] = np.arange(1, len(values) + 1)
    return ranks


def _columns(explanation: Explanation) -> Iterator[tuple[str, NDArray[np.float64]]]:
    """Every further column with its (S,) numbers."""
    yield from ((cell_text(f"score_{name}"), values) for name, values in explanation.slice_scores.items())
    yield from ((cell_text(f"attention_{name}"), values) for name, values in explanation.class_attention.items())
    for method, values in explanation.attributions.items():
        if method in ("attention", "slice_scores"):
            continue
        if values.ndim == 1:
            yield method, values
        else:
            yield from (
                (cell_text(f"{method}_{name}"), of_class)
                for name, of_class in zip(explanation.classes, values.T, strict=True)
            )


def _rows(
    explanation: Explanation, header: Sequence[str], columns: Mapping[str, NDArray[np.float64]]
) -> Iterator[dict[str, str]]:
    ranks, frames = rank_slices(explanation.attribution()), explanation.frames or (None,) * len(explanation.positions)
    for index in range(len(ranks)):
        cells = [
            cell_text(explanation.series_uid),
            cell_text(explanation.sop_instance_uids[index]),
            "" if frames[index] is None else str(frames[index]),
            str(index),
            as_number(explanation.positions[index]),
            explanation.unit,
            as_number(explanation.attention[index]),
            str(ranks[index]),
            *(as_number(values[index]) for values in columns.values()),
        ]
        yield dict(zip(header, cells, strict=True))


def as_number(value: float) -> str:
    """Nine digits: enough to give a float32 back exactly."""
    return f"{float(value):.9g}"
