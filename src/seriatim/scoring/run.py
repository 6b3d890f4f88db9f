"""One run into an output folder: what is discovered is compared with what is done, and what is left is scored."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

from seriatim.io.stamps import NO_STAMP, Stamp, digest_facts, is_unchanged, stamp_series
from seriatim.io.tables.outputs import flush_to_disk, write_json
from seriatim.scoring.columns import Columns
from seriatim.scoring.engine import leave_unscored
from seriatim.scoring.options import Keep, Options, Report, Stop
from seriatim.scoring.pipeline import predict_all
from seriatim.scoring.pipeline_costs import Costs
from seriatim.scoring.provenance import describe_run, digest_settings
from seriatim.scoring.state import Row, State
from seriatim.scoring.tables import write_tables
from seriatim.series import Inventory, Prediction, Series
from seriatim.series.on_demand import OnDemand
from seriatim.trained import Scorer

OWN = ("scores.", "slices.", "skipped.", "events.", "run.json", "state.sqlite", "state.lock")
"""How the names of the files begin that a run writes."""
CHANGED = ("CHANGED: its files changed while it was looked at or scored, so that the score might be of both. Score "
           "again, into the same folder, when nothing writes to them.")


class BatchRun:
    """Scores what is left of a batch. All that is done is kept in the state, from one series to the next."""

    def __init__(self, state: State, model: Scorer, *, options: Options) -> None:
        self._state, self._model, self._options = state, model, options
        self._settings = digest_settings(model)
        self._series: Sequence[Series] = ()
        self._stamps: list[str] = []
        self._root = Path()
        self._started, self._whole, self._fresh = perf_counter(), False, 0
        self.costs = options.costs or Costs()
        state.start_run(self._settings)

    def look(
        self, inventory: Inventory, *, only: Collection[str] | None = None, began_ns: int | None = None,
        retry: bool = True,
    ) -> None:
        """Take over what was discovered by a search that began at ``began_ns`` (``time.time_ns``), where known.

        Results hold of series that are as they were, scored with the same settings. What failed is tried again, unless
        ``retry`` is False: then only where the series changed.
        """
        self._root, self._series = inventory.root, inventory.series
        self._stamps = []
        skipped = (one for one in inventory.skipped if not self.is_own(one.path))
        rows = self._rows(only, began_ns, retry=retry)
        self._state.look(rows, skipped, root=self._root, relative=self._relative)
        self._state.forget_moved(lambda file: os.path.lexists(self._root / file))

    def score(
        self, report: Report | None = None, stop: Stop | None = None, *, ready: Callable[[Series], bool] | None = None
    ) -> None:
        """Score what is left and ``ready``, one committed result after the other, until it is done or to be stopped."""
        left, counts = self._state.pending(), self._state.count()
        places = [place for place in left if ready is None or ready(self._series[place])]
        asked = sum(counts.values()) - counts["gone"]
        done, stop = asked - len(left), stop or _never
        self._whole = not left
        if not places or stop():
            return
        cluster, resources = self._options.cluster, self._options.resources
        predict = cluster.predict if cluster else partial(predict_all, resources=resources, costs=self.costs)
        with closing(predict(OnDemand(places, self._series.__getitem__), self._model)) as found:
            for index, prediction in found:
                self._state.put(places[index], self._check(places[index], prediction), settings=self._settings)
                done, self._fresh = done + 1, self._fresh + 1
                self._whole = done == asked
                if report is not None:
                    report(done, asked, prediction)
                if not self._whole and stop():
                    return

    def finish(self, told: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Write what is done, and the end of the run into the state; what ``run.json`` holds."""
        summary = self.write(told)
        self._state.end_run("finished" if self._whole else "stopped")
        return summary

    def write(self, told: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Write the tables, and ``run.json`` with what is ``told`` beside the rest; what ``run.json`` holds.

        What the tables say is in the state on the disk before them, and all of it is on the disk in the end.
        """
        self._state.flush()
        self._write_tables()
        summary = self.describe() | dict(told or {})
        write_json(self._state.path.with_name("run.json"), summary)
        flush_to_disk(self._state.path.parent)
        return summary

    def file(self, keep: Keep, *, since: float = 0.0, stop: Stop | None = None) -> None:
        """Hand every scored series with its result to ``keep``, also those of earlier calls, back to ``since``, until
        it is to be stopped: the next call goes on.
        """
        for place, prediction in self._state.placed_predictions(self._root, since=since):
            if stop is not None and stop():
                return
            if prediction.status == "scored":
                keep(self._series[place], prediction)

    def describe(self) -> dict[str, Any]:
        """What ran and how far it came: see ``run.json`` in docs/outputs.md."""
        counts, beside = self._count()
        summary = describe_run(self._model, folder=self._state.path.parent, counts=counts,
                               seconds=perf_counter() - self._started)
        return {**summary, "ended": "finished" if self._whole else "stopped", **beside, "scored_now": self._fresh,
                "reasons": self._state.count_codes(), "stages": self.costs.describe()}

    def _write_tables(self) -> None:
        """Make the tables of what is done anew, and put them in place."""
        options = self._options
        keep = options.gone == "keep"
        write_tables(
            self._state.path.parent, Columns.of(self._model, seconds=options.seconds), formats=options.formats,
            predictions=self._state.predictions(self._root, with_gone=keep), skipped=self._state.skipped(self._root),
        )

    def _count(self) -> tuple[dict[str, int], dict[str, int]]:
        """The counts that add up to what was discovered, and beside them how many are ``pending`` and ``gone``."""
        found = self._state.count()
        beside = {name: found.pop(name) for name in ("pending", "gone")}
        not_asked = len(self._series) - sum(found.values()) - beside["pending"]
        return {"discovered": len(self._series), **found, "not_asked_for": not_asked,
                "files_skipped": self._state.count_skipped()}, beside

    def _check(self, place: int, prediction: Prediction) -> Prediction:
        """The prediction, if the files are still those that were looked at; only then do header and pixels agree."""
        series = self._series[place]
        if prediction.status == "failed" or not series.usable or is_unchanged(series, self._stamps[place]):
            return prediction
        return leave_unscored(series, "failed", CHANGED, seconds=prediction.seconds)

    def _stamp(self, series: Series, began_ns: int | None) -> Stamp:
        stamp = stamp_series(series, check=self._options.check)
        changed = began_ns is not None and stamp.newest_ns >= began_ns  # header and pixels may be of two versions
        return NO_STAMP if changed else stamp

    def _rows(
        self, only: Collection[str] | None, began_ns: int | None, *, retry: bool
    ) -> Iterator[tuple[Row, bool]]:
        """The rows of all series, whose stamps are taken here: each series is unpacked once."""
        alike: Counter[tuple[object, ...]] = Counter()
        for series in self._series:
            stamp = self._stamp(series, began_ns)
            self._stamps.append(stamp.text)
            row = self._row(series, asked=only is None or series.series_uid in only, stamp=stamp)
            number = alike[row.key]
            alike[row.key] += 1
            row = replace(row, number=number)
            yield row, self._holds(row, series, retry=retry)

    def _row(self, series: Series, *, asked: bool, stamp: Stamp) -> Row:
        first = series.instances[0].path if series.instances else series.path
        return Row(
            path=self._relative(series.path), study_uid=series.study_uid, series_uid=series.series_uid,
            volume=series.volume, number=0, first_file=self._relative(first), asked=asked,
            facts=digest_facts(series), stamp=stamp.text,
        )

    def _holds(self, row: Row, series: Series, *, retry: bool) -> bool:
        """Whether the result in the state is still that of this series and these settings."""
        known = self._state.find(row)
        if known is None or known.status == "pending" or (retry and known.status == "failed"):
            return False
        same = known.facts == row.facts and known.settings == self._settings
        return same and (known.stamp == row.stamp != "" or is_unchanged(series, known.stamp))

    def _relative(self, path: Path) -> str:
        return str(path.relative_to(self._root)) if path.is_relative_to(self._root) else str(path)

    def is_own(self, path: Path) -> bool:
        """Whether a file is one of ours: the output folder may lie in the folder that is searched."""
        return path.name.startswith(OWN) and path.parent.resolve() == self._state.path.parent.resolve()


def _never() -> bool:
    return False
