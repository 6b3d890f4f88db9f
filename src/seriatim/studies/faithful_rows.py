"""What was measured of each series by each model, and its means over series: what chose, and what estimates."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from seriatim.evaluation.intervals import Clusters, bootstrap
from seriatim.explanation.faithfulness.checks import agree
from seriatim.explanation.faithfulness.map_words import choose_map, tell_maps
from seriatim.explanation.faithfulness.words import choose_best, tell_model
from seriatim.explanation.methods import MEASURES
from seriatim.io.tables.outputs import cell_text, path_beside
from seriatim.trained.faithfulness import Choice, Faithfulness, Figures, Measured
from seriatim.training.examples import Example
from seriatim.training.split import Split

COLUMNS = ("run", "split", "series_uid", "volume", "class", "method", "measure", "value", "chance")
Array = NDArray[np.float64]
Known: TypeAlias = list[tuple[Measured, str]]
"""Figures, each with its patient."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One series, measured by one model: the class it was asked about and its probability, the attributions of slices
    by method, and the figures of the methods, of slices or of maps of pixels.
    """

    run: Path
    example: Example
    label: str
    probability: float
    figures: Figures
    attributions: Mapping[str, Array] = field(default_factory=dict)


def summarise(rows: Sequence[Row], maps: Sequence[Row] = ()) -> Faithfulness:
    """What validation series chose, and the figures of the test series beside it; ``maps`` are those of pixels."""
    split, found, count, choice = _divide(rows)
    best = choose_best(choice.methods) if choice else ""
    return Faithfulness(
        about="model", methods=found, best=best, count=count, split=split, choice=choice,
        words=tell_model(found, best=best, count=count, split=split, choice=choice),
        pixels=_summarise_maps(maps) if maps else None,
    )  # fmt: skip


def average_figures(rows: Sequence[Row]) -> dict[str, dict[str, Measured]]:
    """The mean of every figure over the series, with an interval that resamples whole patients.

    ``agreement`` is that between runs on the series that they share.
    """
    agreeing = _agree(rows)
    methods = list(dict.fromkeys(name for row in rows for name in row.figures))
    found: dict[str, dict[str, Measured]] = {method: {} for method in methods}
    for method in methods:
        for measure in MEASURES:
            known = [(row.figures[method][measure], row.example.case.patient) for row in rows
                     if measure in row.figures.get(method, {})]
            known = agreeing[method] if measure == "agreement" else known
            if known:
                found[method][measure] = _average(known)
    return found


def tabulate(rows: Sequence[Row], *, folder: Path) -> Iterator[dict[str, str]]:
    """One row of the ``faithfulness.csv`` in ``folder`` for each figure of each series."""
    for row in rows:
        series, split, run = row.example.series, row.example.split, path_beside(row.run, folder)
        named = [cell_text(text) for text in (run, split, series.series_uid, series.volume, row.label)]
        for method, figures in row.figures.items():
            for measure, one in figures.items():
                chance = "" if one.chance is None else f"{one.chance:.6g}"
                yield dict(zip(COLUMNS, (*named, method, measure, f"{one.value:.6g}", chance), strict=True))


def _divide(rows: Sequence[Row]) -> tuple[Split, dict[str, dict[str, Measured]], int, Choice | None]:
    """The split that is reported, its figures and how many series it has, and what validation series say."""
    of_test = [row for row in rows if row.example.split == "test"]
    of_val = [row for row in rows if row.example.split == "val"]
    told = of_test or of_val
    choice = Choice(
        split="val", count=len(_keys(of_val)), methods=average_figures(of_val),
        overlap=len(_keys(of_val) & _keys(of_test)),
    ) if of_val else None  # fmt: skip
    return told[0].example.split, average_figures(told), len(_keys(told)), choice


def _summarise_maps(rows: Sequence[Row]) -> Faithfulness:
    split, found, count, choice = _divide(rows)
    best = choose_map(choice.methods) if choice else ""
    words = tell_maps(found, best=best, count=count, split=split, choice=choice)
    return Faithfulness(about="model", methods=found, best=best, words=words, count=count, split=split, choice=choice)


def _keys(rows: Sequence[Row]) -> set[str]:
    """The series that the rows are of; several runs may have measured one."""
    return {row.example.key for row in rows}


def _average(known: Known) -> Measured:
    """The mean of figures, and of what chance would give; whole patients are resampled."""
    values = np.array([one.value for one, _ in known])
    numbers = np.unique([patient for _, patient in known], return_inverse=True)[1]
    estimate = bootstrap(lambda index: float(values[index].mean()), Clusters(numbers))
    chances = [one.chance for one, _ in known if one.chance is not None]
    return Measured(
        value=float(values.mean()), low=estimate.low, high=estimate.high, chance=fmean(chances) if chances else None,
        n=len(known),
    )  # fmt: skip


def _agree(rows: Sequence[Row]) -> dict[str, Known]:
    """By method, how far the runs agree on each series that several of them measured for the same class."""
    shared: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        shared[row.example.key, row.label].append(row)
    found: dict[str, Known] = defaultdict(list)
    for several in shared.values():
        if len(several) > 1:
            for method, value in agree([one.attributions for one in several]).items():
                found[method].append((Measured(value=value, chance=0.0), several[0].example.case.patient))
    return found
