"""The true labels of slices: which column of the table answers which class, and which row belongs to which slice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from seriatim.errors import ConfigError
from seriatim.evaluation.samples import Question, read_truth
from seriatim.evaluation.scores import Row, Scores
from seriatim.io.tables.manifest import read_table
from seriatim.tasks.labels import UNKNOWN, encode_class


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The column that holds the truth of the class ``name``: 0 and 1, ``soft`` also between, or one of ``classes``."""

    name: str
    column: str
    classes: tuple[str, ...] = ()
    soft: bool = False

    def read(self, text: str) -> float:
        """0.0 or 1.0, nan where nothing is known."""
        if not self.classes or text.lower() in UNKNOWN:
            return read_truth(text, self.column, soft=self.soft)
        return float(self.classes[int(encode_class(text, column=self.column, classes=self.classes))] == self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceTruth:
    """True slice labels, by (study, series, SOP Instance UID, frame), by (study, series, index), and by (place, index).

    Study and frame are "" where the table names none; a place is where ``path`` leads, in rows without a series UID.
    """

    path: Path
    rows: Sequence[Row]
    by_uid: Mapping[tuple[str, str, str, str], Row]
    by_index: Mapping[tuple[str, str, str], Row]
    by_place: Mapping[tuple[Path, str], Row]

    @classmethod
    def read(cls, path: Path) -> SliceTruth:
        """Read series_uid, sop_instance_uid (with frame) or index from 0, and labels; further columns do no harm.

        In place of series_uid a row may have ``path``, relative to the table, and ``index``: as training reads it.

        Raises:
            ConfigError: the table cannot be read or lacks a column.
        """
        rows = read_table(path)
        columns = set(rows[0])
        by_series = "series_uid" in columns and bool({"sop_instance_uid", "index"} & columns)
        if not by_series and not {"path", "index"} <= columns:
            raise ConfigError(
                f"{path} needs the columns series_uid, sop_instance_uid (or index from 0) and a label, or path, index "
                f"and a label; it has {', '.join(rows[0])}."
            )
        keys = [
            (row.get("study_uid", ""), row.get("series_uid", ""), row.get("sop_instance_uid", ""),
             row.get("frame", ""))
            for row in rows
        ]
        shared = Counter(keys)
        return cls(
            path=path,
            rows=rows,
            by_uid={key: row for key, row in zip(keys, rows, strict=True) if key[2] and shared[key] == 1},
            by_index={
                (row.get("study_uid", ""), row["series_uid"], row["index"]): row
                for row in rows if row.get("index") and row.get("series_uid")
            },
            by_place={
                ((path.parent / row["path"]).resolve(), row["index"]): row
                for row in rows if row.get("index") and row.get("path") and not row.get("series_uid")
            },
        )

    def of(self, slices: Sequence[Row], answer: Answer, *, study: str, place: Path) -> list[float]:
        """The truth of each slice of one series, nan where it is not known.

        The frames of one file share its UID: they are found by UID and frame, or else by index.
        """
        shared = Counter(row["sop_instance_uid"] for row in slices)
        labels = []
        for row in slices:
            series, uid, frame = row["series_uid"], row["sop_instance_uid"], row.get("frame", "")
            found = None
            if frame or shared[uid] == 1:
                found = self.by_uid.get((study, series, uid, frame)) or self.by_uid.get(("", series, uid, frame))
            index = row.get("index", "")
            found = found or self.by_index.get((study, series, index)) or self.by_index.get(("", series, index))
            found = found or self.by_place.get((place, index))
            labels.append(answer.read((found or {}).get(answer.column, "")))
        return labels

    def choose(self, question: Question, scores: Scores, names: Sequence[str]) -> list[Answer]:
        """The column of each class: one of ``names`` (in the order of labels), else of run.json, else of its own name.

        Raises:
            ConfigError: ``names`` does not fit the labels or the table, or no class has a column.
        """
        columns = list(self.rows[0])
        lacking = [name for name in names if name not in columns]
        if names and (lacking or len(names) != len(question.labels)):
            raise ConfigError(
                f"--slice-label names {', '.join(names)}; it needs {len(question.labels)} of the columns of "
                f"{self.path} ({', '.join(columns)}), in the order of the labels {', '.join(question.labels)}."
            )
        named = list(names) or _named_by_run(question, scores)
        if question.target == "multiclass":
            answers = self._choose_classes(question, named[0])
        else:
            triples = zip(named, question.classes, question.labels, strict=True)
            answers = [
                Answer(name=name, column=column, soft=question.soft)
                for name, wanted in zip(question.classes, triples, strict=True)
                if (column := next((one for one in wanted if one in columns), None))
            ]
        if not answers:
            wanted = ", ".join(dict.fromkeys(filter(None, (*named, *question.classes, *question.labels))))
            raise ConfigError(
                f"{self.path} has no label column ({wanted}); it has {', '.join(columns)}. Name it by --slice-label."
            )
        return answers

    def _choose_classes(self, question: Question, named: str) -> list[Answer]:
        """Multi-class: one column with names of classes, or a column of 0 and 1 for each class."""
        columns, label = self.rows[0].keys(), question.labels[0]
        own = [Answer(name=name, column=name) for name in question.classes if name in columns]
        column = named if named in columns else label
        if column not in columns or (own and column == label):
            return own
        if not any(row[column] in question.classes for row in self.rows):
            return [Answer(name=label, column=column)]
        return [Answer(name=name, column=column, classes=question.classes) for name in question.classes]


def _named_by_run(question: Question, scores: Scores) -> list[str]:
    """The slice column of each label in run.json, "" where it names none."""
    if len(question.labels) == 1 and len(scores.slice_labels) == 1:
        return [scores.slice_labels[0]]
    by_label = dict(zip(scores.labels, scores.slice_labels, strict=False))
    return [by_label.get(label, "") for label in question.labels]
