"""The columns of the tables, and the rows that a prediction makes in them, as typed values."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self, TypeAlias

from seriatim.scoring.anomaly import detail_columns
from seriatim.series import Prediction
from seriatim.trained import AnomalyModel, Ensemble, Scorer, find_split

Kind: TypeAlias = Literal["text", "word", "whole", "number", "detail", "seconds", "distance"]
"""What a cell is: a text of any origin, one of our own words, an integer, or a float and how CSV writes it."""
Cell: TypeAlias = str | int | float | None
Row: TypeAlias = list[Cell]


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """One table: its name, and its columns in order with the kind of their cells."""

    name: str
    columns: Mapping[str, Kind]


SKIPPED = Table(name="skipped", columns={"path": "text", "reason": "text"})
EVENTS = Table(name="events", columns={
    "series_uid": "text", "volume": "text", "event": "whole", "first_index": "whole", "last_index": "whole",
    "peak_index": "whole", "first_position": "number", "last_position": "number", "peak_position": "number",
    "peak_score": "number", "first_sop_instance_uid": "text", "last_sop_instance_uid": "text",
    "peak_sop_instance_uid": "text", "study_uid": "text",
})  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """What the tables of one model hold; ``seconds`` False leaves the time of each series empty.

    ``classes`` are those of the answer, ``slice_classes`` of a slice's own score, ``attending`` those with an attention
    of their own, ``details`` further numbers of slices, ``several`` is True for several models.
    """

    classes: tuple[str, ...]
    slice_classes: tuple[str, ...]
    attending: tuple[str, ...]
    details: tuple[str, ...]
    prefix: str
    several: bool
    anomaly: bool
    splits: Mapping[str, str]
    seconds: bool

    @classmethod
    def of(cls, model: Scorer, *, seconds: bool = True) -> Self:
        """Those of a model, and the splits that its own manifests gave to series."""
        classes, anomaly = tuple(model.task.class_names), isinstance(model, AnomalyModel)
        return cls(
            classes=classes,
            slice_classes=classes if model.task.scores_slices else (),
            attending=classes if isinstance(model, Ensemble) and model.attends_by_class else (),
            details=tuple(detail_columns(model)) if isinstance(model, AnomalyModel) else (),
            prefix="value" if model.experiment.task.target == "regression" else "probability",
            several=isinstance(model, Ensemble) and len(model.members) > 1,
            anomaly=anomaly,
            splits=model.read_splits(),
            seconds=seconds,
        )

    @property
    def scores(self) -> Table:
        columns: dict[str, Kind] = {
            "study_uid": "text", "series_uid": "text", "path": "text", "modality": "text", "slices": "whole",
            "status": "word", "reason": "text", **{f"{self.prefix}_{name}": "number" for name in self.classes},
            "prediction": "text", "seconds": "seconds", "volume": "text", "split": "word", "findings": "word",
            "prediction_set": "text", "distance": "distance",
        }  # fmt: skip
        columns |= {f"disagreement_{name}": "number" for name in self.classes} if self.several else {}
        columns |= {"events": "whole", "duration_s": "number"} if self.anomaly else {}
        return Table(name="scores", columns=columns)

    @property
    def slices(self) -> Table:
        columns: dict[str, Kind] = {"series_uid": "text", "sop_instance_uid": "text", "index": "whole",
                                    "position": "number", "attention": "number"}
        columns |= {f"attention_{name}": "number" for name in self.attending}
        columns |= {f"score_{name}": "number" for name in self.slice_classes}
        columns |= {"volume": "text", "frame": "whole", "study_uid": "text"}
        columns |= dict.fromkeys(self.details, "detail")
        return Table(name="slices", columns=columns)

    def score_row(self, one: Prediction) -> Row:
        """The row of a series in ``scores``."""
        row: Row = [one.study_uid, one.series_uid, str(one.path), one.modality, one.slices, one.status, one.reason]
        row += [one.probabilities[name] if one.probabilities else None for name in self.classes]
        row += [one.prediction, one.seconds if self.seconds else None, one.volume,
                find_split(self.splits, one.study_uid, one.series_uid), ";".join(one.findings), one.prediction_set,
                one.distance]
        if self.several:
            row += [one.disagreement[name] if one.disagreement else None for name in self.classes]
        if self.anomaly:
            row += [len(one.events), one.duration_s or None] if one.status == "scored" else [None, None]
        return row

    def slice_rows(self, one: Prediction) -> Iterator[Row]:
        """The rows of a scored series in ``slices``."""
        if one.positions is None or one.attention is None:
            return
        ahead = [one.positions, one.attention, *(one.class_attention[name] for name in self.attending),
                 *(one.slice_scores[name] for name in self.slice_classes)]
        behind = [one.slice_details[name] for name in self.details]
        for index, uid in enumerate(one.sop_instance_uids):
            frame = one.frames[index] if one.frames else None
            yield [one.series_uid, uid, index, *(float(values[index]) for values in ahead), one.volume, frame,
                   one.study_uid, *(float(values[index]) for values in behind)]

    def event_rows(self, one: Prediction) -> Iterator[Row]:
        """The rows of a scored series in ``events``."""
        for number, (start, stop, peak, score) in enumerate(one.events, start=1):
            ends = (start, stop - 1, peak)
            positions: Sequence[float] = [] if one.positions is None else [float(one.positions[end]) for end in ends]
            uids = [one.sop_instance_uids[end] for end in ends]
            yield [one.series_uid, one.volume, number, *ends, *positions, score, *uids, one.study_uid]


def plain_cell(kind: Kind, value: Any) -> Cell:
    """A cell as JSON and Parquet hold it: rounded as in CSV, None for what is not known."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if kind == "seconds":
        return round(float(value), 3)
    return float(f"{value:.4g}") if kind == "distance" else value
