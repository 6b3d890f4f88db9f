"""scores.csv, slices.csv and skipped.csv, written row by row and put in place when whole."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from seriatim.errors import OutputError
from seriatim.io.tables.outputs import cell_text as text
from seriatim.series import Prediction, Skipped
from seriatim.trained import Ensemble


class ScoreTables:
    """The tables of one scoring run; leaving the ``with`` block without an error puts them in place."""

    def __init__(
        self, output: Path, *, model: Ensemble
    ) -> None:
        """The columns are those of ``model``, and so are the splits that its own manifests gave to series."""
        self._classes, self._splits = model.task.class_names, model.read_splits()
        self._several = len(model.members) > 1
        prefix = "value" if model.experiment.task.target == "regression" else "probability"
        self._slice_classes = self._classes if model.task.scores_slices else ()
        scores = ["study_uid", "series_uid", "path", "modality", "slices", "status", "reason"]
        scores += [f"{prefix}_{name}" for name in self._classes] + ["prediction", "seconds"]
        scores += ["volume", "split", "findings", "prediction_set", "distance"]
        scores += [f"disagreement_{name}" for name in self._classes] if self._several else []
        slices = ["series_uid", "sop_instance_uid", "index", "position", "attention"]
        slices += [f"score_{name}" for name in self._slice_classes] + ["volume", "frame", "study_uid"]
        self._scores, self._slices = _Table(output / "scores.csv", scores), _Table(output / "slices.csv", slices)
        self._skipped = _Table(output / "skipped.csv", ["path", "reason"])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for table in (self._scores, self._slices, self._skipped):
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
            ]
        )
        if one.positions is None or one.attention is None:
            return
        for index, uid in enumerate(one.sop_instance_uids):
            per_slice = [repr(float(one.slice_scores[name][index])) for name in self._slice_classes]
            weighed = [repr(float(one.positions[index])), repr(float(one.attention[index]))]
            frame = "" if not one.frames or one.frames[index] is None else one.frames[index]
            named = [text(one.volume), frame, text(one.study_uid)]
            self._slices.write([text(one.series_uid), text(uid), index, *weighed, *per_slice, *named])

    def add_skipped(self, skipped: Iterable[Skipped]) -> None:
        """Write the files that are part of no series."""
        for one in skipped:
            self._skipped.write([text(str(one.path)), text(one.reason)])


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
