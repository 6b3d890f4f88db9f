"""How faithful an anomaly model's scores of frames and places are, over the series that it held out."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from seriatim.errors import InputError
from seriatim.explanation.faithfulness.checks import measure_against_truth
from seriatim.explanation.faithfulness.error_words import tell_errors
from seriatim.explanation.faithfulness.errors import PLACES, SCORE, judge, look, measure_frames, measure_places
from seriatim.series.batch import IGNORE
from seriatim.studies.faithful_rows import Row, average_figures
from seriatim.studies.held_out import find_held_out
from seriatim.tasks.anomaly import FrameScores
from seriatim.tasks.profile import place_frames
from seriatim.trained import AnomalyModel
from seriatim.trained.faithfulness import Faithfulness, Figures
from seriatim.training.dataset import PreparedSeries
from seriatim.training.examples import Example

logger = logging.getLogger(__name__)
Report = Callable[[int, int], None]


def measure_errors(
    model: AnomalyModel, *, slice_labels: Path | None, limit: int | None, series: int, report: Report | None
) -> tuple[list[Row], list[Row]]:
    """A row for each test series (validation where there is none), and one about places for those with the highest
    score: ``series`` of them are also measured by taking out frames and putting places right.
    """
    found = find_held_out(model, slice_labels=slice_labels, limit=limit)
    chosen = [one for one in found if one.split == "test"] or found
    prepared = PreparedSeries(model.experiment.preprocessing, cache=False, limits=model.limits)
    rows: list[Row] = []
    for done, example in enumerate(chosen, start=1):
        try:
            if not (refusal := model.refuse(example.series)):
                rows.append(_measure_one(model, example, prepared))
            else:
                logger.warning("not measured: %s", refusal)
        except InputError as error:
            logger.warning("not measured: %s", error)
        if report is not None:
            report(done, len(chosen))
    rows.sort(key=lambda row: -row.probability)
    places = []
    for number, row in enumerate(rows[:series]):
        slices, along, scores = _judge(model, row.example, prepared)
        taken = measure_frames(model, slices, along, scores)
        rows[number] = _row(model, row.example, scores, {**row.figures, SCORE: {**taken, **row.figures[SCORE]}})
        if right := measure_places(model, slices, along, scores):
            places.append(_row(model, row.example, scores, {PLACES: right}))
    return rows, places


def summarise_errors(rows: Sequence[Row], places: Sequence[Row], *, apart: bool) -> Faithfulness:
    """The means over series; ``apart``: all methods judge frames by themselves."""
    split, count = rows[0].example.split, len({row.example.key for row in rows})
    figures, right = average_figures(rows), average_figures(places)
    words = tell_errors(figures, right, split=split, count=count, apart=apart)
    of_places = Faithfulness(
        about="model", methods=right, best=PLACES, words=(), count=len(places), split=split
    ) if right else None  # fmt: skip
    return Faithfulness(about="model", methods=figures, best=SCORE, words=words, count=count, split=split,
                        pixels=of_places)


def _measure_one(model: AnomalyModel, example: Example, prepared: PreparedSeries) -> Row:
    """Where frames are labelled: do the highest of the score, and of each part of it, point at abnormal ones?"""
    _, _, scores = _judge(model, example, prepared)
    labels = example.slice_labels[:, 0]
    truth = np.where(labels == IGNORE, np.nan, labels.astype(np.float64))
    values = {SCORE: scores.surprise, **{name: np.nan_to_num(one) for name, one in scores.parts.items()}}
    return _row(model, example, scores, {name: measure_against_truth(one, truth) for name, one in values.items()})


def _judge(
    model: AnomalyModel, example: Example, prepared: PreparedSeries
) -> tuple[Tensor, NDArray[np.float64], FrameScores]:
    slices, along = prepared.slices(example.series)[:], place_frames(example.series.positions)
    return slices, along, judge(model, look(model, slices), along)


def _row(model: AnomalyModel, example: Example, scores: FrameScores, figures: Figures) -> Row:
    return Row(run=model.path, example=example, label=model.task.class_names[0], probability=scores.level,
               figures=figures)
