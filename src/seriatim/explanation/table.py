"""The numbers of an explanation: one CSV row per slice."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from seriatim.errors import OutputError
from seriatim.explanation.explanation import Explanation

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def write_explanation_csv(explanation: Explanation, path: Path) -> None:
    """Write one row per slice, in order.

    Columns: ``series_uid, sop_instance_uid, index`` (0-based), ``position, unit, attention, rank`` (1 = most attended),
    ``contribution`` (logit units, empty where it was not computed), then one ``score_<class>`` per class of the slice
    head. A text that a spreadsheet would run as a formula gets a leading apostrophe.

    Raises:
        OutputError: the file cannot be written.
    """
    header = ["series_uid", "sop_instance_uid", "index", "position", "unit", "attention", "rank", "contribution"]
    header += [f"score_{name}" for name in explanation.slice_scores]
    try:
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(_as_text(name) for name in header)
            writer.writerows(_rows(explanation))
    except OSError as error:
        raise OutputError(f"The table {path} cannot be written: {error}. Choose another folder.") from error


def rank_by_attention(attention: NDArray[np.float64]) -> NDArray[np.int64]:
    """(S,) ranks from 1, the most attended slice; of equals, the earlier comes first."""
    ranks = np.empty(len(attention), dtype=np.int64)
    ranks[np.argsort(-attention, kind="stable")] = np.arange(1, len(attention) + 1)
    return ranks


def _rows(explanation: Explanation) -> list[list[str]]:
    ranks = rank_by_attention(explanation.attention)
    contributions = explanation.contributions
    return [
        [
            _as_text(explanation.series_uid),
            _as_text(explanation.sop_instance_uids[index]),
            str(index),
            _as_number(explanation.positions[index]),
            explanation.unit,
            _as_number(explanation.attention[index]),
            str(ranks[index]),
            "" if contributions is None else _as_number(contributions[index]),
            *(_as_number(scores[index]) for scores in explanation.slice_scores.values()),
        ]
        for index in range(len(ranks))
    ]


def _as_number(value: float) -> str:
    """Nine digits: enough to give a float32 back exactly."""
    return f"{float(value):.9g}"


def _as_text(text: str) -> str:
    return f"'{text}" if text.startswith(FORMULA_STARTS) else text
