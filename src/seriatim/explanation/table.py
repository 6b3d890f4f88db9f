"""The numbers of an explanation: one CSV row per slice."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from seriatim.explanation.explanation import Explanation
from seriatim.io.tables.outputs import cell_text, write_csv


def write_explanation_csv(explanation: Explanation, path: Path) -> None:
    """Write one row per slice, in order.

    Columns: ``series_uid, sop_instance_uid, index`` (0-based), ``position, unit, attention, rank`` (1 = most attended),
    ``contribution`` (logit units, empty where it was not computed), then one ``score_<class>`` per class of the slice
    head, and one ``attention_<class>`` per class that attends by itself. A text that a spreadsheet would run as a
    formula gets a leading apostrophe.

    Raises:
        OutputError: the file cannot be written.
    """
    header = ["series_uid", "sop_instance_uid", "index", "position", "unit", "attention", "rank", "contribution"]
    header += [cell_text(f"score_{name}") for name in explanation.slice_scores]
    header += [cell_text(f"attention_{name}") for name in explanation.class_attention]
    write_csv(path, header, _rows(explanation, header))


def rank_by_attention(attention: NDArray[np.float64]) -> NDArray[np.int64]:
    """(S,) ranks from 1, the most attended slice; of equals, the earlier comes first."""
    ranks = np.empty(len(attention), dtype=np.int64)
    ranks[np.argsort(-attention, kind="stable")] = np.arange(1, len(attention) + 1)
    return ranks


def _rows(explanation: Explanation, header: list[str]) -> Iterator[dict[str, str]]:
    ranks = rank_by_attention(explanation.attention)
    contributions = explanation.contributions
    for index in range(len(ranks)):
        cells = [
            cell_text(explanation.series_uid),
            cell_text(explanation.sop_instance_uids[index]),
            str(index),
            as_number(explanation.positions[index]),
            explanation.unit,
            as_number(explanation.attention[index]),
            str(ranks[index]),
            "" if contributions is None else as_number(contributions[index]),
            *(as_number(scores[index]) for scores in explanation.slice_scores.values()),
            *(as_number(weights[index]) for weights in explanation.class_attention.values()),
        ]
        yield dict(zip(header, cells, strict=True))


def as_number(value: float) -> str:
    """Nine digits: enough to give a float32 back exactly."""
    return f"{float(value):.9g}"
