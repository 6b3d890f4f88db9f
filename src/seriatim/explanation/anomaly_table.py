"""The numbers of an anomaly model about one series: one CSV row per frame."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from seriatim.explanation.anomaly import FrameExplanation
from seriatim.explanation.table import as_number
from seriatim.io.tables.outputs import cell_text, write_csv
from seriatim.tasks.normality import z_of_surprise


def write_frames_csv(explanation: FrameExplanation, path: Path) -> None:
    """Write one row per frame, in order.

    Columns: ``series_uid, sop_instance_uid, index`` (0-based), ``frame`` (of a file with several), ``position, unit,
    score, z, p_value, event`` (number from 1, 0 outside), and a ``surprise_<part>`` for each part of the methods, empty
    where it says nothing.

    Raises:
        OutputError: the file cannot be written.
    """
    header = ["series_uid", "sop_instance_uid", "index", "frame", "position", "unit", "score", "z", "p_value", "event"]
    header += [f"surprise_{name}" for name in explanation.scores.parts]
    write_csv(path, header, _rows(explanation, header))


def _rows(explanation: FrameExplanation, header: list[str]) -> Iterator[dict[str, str]]:
    scores = explanation.scores
    z_scores, p_values = z_of_surprise(scores.surprise), np.exp(-scores.surprise)
    for index, frame in enumerate(explanation.frames):
        parts = [values[index] for values in scores.parts.values()]
        cells = [
            cell_text(explanation.series_uid),
            cell_text(explanation.sop_instance_uids[index]),
            str(index),
            "" if frame is None else str(frame),
            as_number(explanation.positions[index]),
            explanation.unit,
            *(as_number(values[index]) for values in (scores.levels, z_scores, p_values)),
            str(explanation.event_at(index)),
            *("" if np.isnan(value) else as_number(value) for value in parts),
        ]
        yield dict(zip(header, cells, strict=True))
