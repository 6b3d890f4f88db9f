"""The tables of a batch, made from its predictions in one go and put in place together."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path

from seriatim.scoring.columns import EVENTS, SKIPPED, Columns, Table
from seriatim.scoring.sinks import SINKS, Format, Sink, remove_others
from seriatim.series import Prediction, Skipped


def write_tables(
    folder: Path, columns: Columns, *, predictions: Iterable[Prediction], skipped: Iterable[Skipped],
    formats: tuple[Format, ...] = ("csv",),
) -> None:
    """Write ``scores``, ``slices``, ``skipped`` and, of an anomaly model, ``events``, each in all ``formats``.

    All are written beside first. What is there stays whole, and the same, until everything is written.

    Raises:
        OutputError: a file cannot be written.
    """
    tables = [columns.scores, columns.slices, SKIPPED, *([EVENTS] if columns.anomaly else [])]
    with ExitStack() as undo:
        sinks = {table.name: [_open(folder, table, ending, undo) for ending in formats] for table in tables}
        for one in predictions:
            _add(sinks, columns, one)
        for left in skipped:
            for sink in sinks["skipped"]:
                sink.write([str(left.path), left.reason])
        every = [sink for some in sinks.values() for sink in some]
        for sink in every:
            sink.finish()
        for sink in every:
            sink.place()
    remove_others(folder, (*sinks, EVENTS.name), {sink.path for sink in every})


def _open(folder: Path, table: Table, ending: Format, undo: ExitStack) -> Sink:
    sink = SINKS[ending](folder, table, ending)
    undo.callback(sink.drop)  # of what is in place, nothing is left to drop
    return sink


def _add(sinks: dict[str, list[Sink]], columns: Columns, one: Prediction) -> None:
    score_row = columns.score_row(one)
    for sink in sinks["scores"]:
        sink.write(score_row)
    for row in columns.slice_rows(one):
        for sink in sinks["slices"]:
            sink.write(row)
    for row in columns.event_rows(one) if columns.anomaly else ():
        for sink in sinks["events"]:
            sink.write(row)
