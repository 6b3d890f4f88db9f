"""scores.csv, slices.csv, skipped.csv and events.csv, written row by row and put in place when whole."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from seriatim.errors import OutputError
from seriatim.io.tables.outputs import cell_text as text
from seriatim.scoring.anomaly import detail_columns
from seriatim.series import Prediction, Skipped
from seriatim.trained import AnomalyModel, Ensemble, Scorer

EVENT_COLUMNS = (
    "series_uid", "volume", "event", "first_index", "last_index", "peak_index", "first_position", "last_position",
    "peak_position", "peak_score", "first_sop_instance_uid", "last_sop_instance_uid", "peak_sop_instance_uid",
    "study_uid",
)


class ScoreTables:
    """The tables of one scoring run; leaving the ``with`` block without an error puts them in place."""

    def __init__(
        self, output: Path, *, model: Scorer
    ) -> None:
        """The columns are those of ``model``, and so are the splits that its own manifests gave to series."""
        self._classes, self._splits = model.task.class_names, model.read_splits()
        self._several = isinstance(model, Ensemble) and len(model.members) > 1
        prefix = "value" if model.experiment.task.target == "regression" else "probability"
        self._slice_classes = self._classes if model.task.scores_slices else ()
        scores = ["study_uid", "series_uid", "path", "modality", "slices", "status", "reason"]
        scores += [f"{prefix}_{name}" for name in self._classes] + ["prediction", "seconds"]
        scores += ["volume", "split", "findings", "prediction_set", "distance"]
        scores += [f"disagreement_{name}" for name in self._classes] if self._several else []
        self._attending = self._classes if isinstance(model, Ensemble) and model.attends_by_class else ()
        slices = ["series_uid", "sop_instance_uid", "index", "position", "attention"]
        slices += [f"attention_{name}" for name in self._attending]
        slices += [f"score_{name}" for name in self._slice_classes] + ["volume", "frame", "study_uid"]
        self._details = detail_columns(model) if isinstance(model, AnomalyModel) else ()
        slices += self._details
        scores += ["events", "duration_s"] if isinstance(model, AnomalyModel) else []
        self._scores, self._slices = _Table(output / "scores.csv", scores), _Table(output / "slices.csv", slices)
        self._skipped = _Table(output / "skipped.csv", ["path", "reason"])
        self._events = _Table(output / "events.csv", EVENT_COLUMNS) if isinstance(model, AnomalyModel) else None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for table in (self._scores, self._slices, self._skipped, self._events):
            if table is not None:
                table.close(keep=kind is None)

    def add(self, prediction: Prediction) -> None:
        """Write one series and, when it was scored, its slices."""
        one = prediction
        scores = [repr(one.probabilities[name]) if one.probabilities else "" for name in self._classes]
        spread = [repr(one.disagreement[name]) if one.disagreement else "" for name in self._classes]
        self._scores.write(
            [
                text(one.study_uid),
                text(one.series_uid),
                text(str(one.path)),
                text(one.modality),
                one.slices,
                one.status,
                text(one.reason),
                *scores,
                text(one.prediction),
                f"{one.seconds:.3f}",
                text(one.volume),
                self._splits.get(one.series_uid, ""),
                ";".join(one.findings),
                text(one.prediction_set),
                "" if one.distance is None else f"{one.distance:.4g}",
                *(spread if self._several else ()),
                *(_count_events(one) if self._events else ()),
            ]
        )
        if one.positions is None or one.attention is None:
            return
        for index, uid in enumerate(one.sop_instance_uids):
            per_slice = [repr(float(one.slice_scores[name][index])) for name in self._slice_classes]
            weighed = [repr(float(one.positions[index])), repr(float(one.attention[index]))]
            weighed += [repr(float(one.class_attention[name][index])) for name in self._attending]
            frame = "" if not one.frames or one.frames[index] is None else one.frames[index]
            named = [text(one.volume), frame, text(one.study_uid)]
            details = [_number(float(one.slice_details[name][index])) for name in self._details]
            self._slices.write([text(one.series_uid), text(uid), index, *weighed, *per_slice, *named, *details])
        self._add_events(one)

    def _add_events(self, one: Prediction) -> None:
        if self._events is None or one.positions is None:
            return
        for number, (start, stop, peak, score) in enumerate(one.events, start=1):
            ends = [repr(float(one.positions[index])) for index in (start, stop - 1, peak)]
            uids = [text(one.sop_instance_uids[index]) for index in (start, stop - 1, peak)]
            self._events.write([text(one.series_uid), text(one.volume), number, start, stop - 1, peak, *ends,
                                repr(score), *uids, text(one.study_uid)])

    def add_skipped(self, skipped: Iterable[Skipped]) -> None:
        """Write the files that are part of no series."""
        for one in skipped:
            self._skipped.write([text(str(one.path)), text(one.reason)])


def _count_events(one: Prediction) -> tuple[int | str, str]:
    """How many events a scored series has, and how long it lasts; "" where that is not known."""
    if one.status != "scored":
        return "", ""
    return len(one.events), repr(one.duration_s) if one.duration_s else ""


def _number(value: float) -> str:
    """A number in full, whole ones as such; "" for what is not known."""
    if math.isnan(value):
        return ""
    return repr(int(value)) if value.is_integer() and abs(value) < 1e9 else repr(value)


class _Table:
    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        self._path, self._partial = path, path.with_suffix(".csv.partial")
        try:
            self._file = self._partial.open("w", newline="", encoding="utf-8")
        except OSError as error:
            raise OutputError(f"{self._partial} cannot be written: {error}. Choose another --output.") from error
        self._writer = csv.writer(self._file)
        self._writer.writerow(columns)

    def write(self, cells: Sequence[Any]) -> None:
        try:
            self._writer.writerow(cells)
            self._file.flush()
        except OSError as error:
            message = f"{self._partial} cannot be written: {error.strerror}. Free space and score again."
            raise OutputError(message) from error

    def close(self, *, keep: bool) -> None:
        try:
            self._file.close()
            if keep:
                self._partial.replace(self._path)
        except OSError as error:
            raise OutputError(f"{self._path} cannot be put in place: {error.strerror}. Close what holds it.") from error
