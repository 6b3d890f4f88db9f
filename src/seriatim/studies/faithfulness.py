"""How faithful a model's explanations are over series that it was not trained on: every method beside all others."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from seriatim.errors import ConfigError, InputError
from seriatim.evaluation.intervals import Clusters, bootstrap
from seriatim.explanation.attribution.gather import AttributionOptions, attribute_slices
from seriatim.explanation.attribution.reading import read_ways
from seriatim.explanation.build import as_arrays, mark_truth
from seriatim.explanation.faithfulness.checks import agree
from seriatim.explanation.faithfulness.series import MeasureOptions, measure_series
from seriatim.explanation.faithfulness.words import choose_best, tell_model
from seriatim.explanation.methods import MEASURES
from seriatim.io.tables.outputs import cell_text, make_folder, write_csv
from seriatim.studies.held_out import find_held_out
from seriatim.trained import Model, is_anomaly_model, load_ensemble, load_model
from seriatim.trained.faithfulness import FAITHFULNESS, Choice, Faithfulness, Measured
from seriatim.trained.files import ENSEMBLE
from seriatim.training.dataset import PreparedSeries
from seriatim.training.embeddings import Embedder
from seriatim.training.examples import Example

logger = logging.getLogger(__name__)
TABLE = "faithfulness.csv"
COLUMNS = ("run", "split", "series_uid", "volume", "class", "method", "measure", "value", "chance")
Array = NDArray[np.float64]
Known: TypeAlias = list[tuple[Measured, str]]
"""Figures, each with its patient."""
Report = Callable[[int, int], None]
"""(series measured, series in all of this run)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FaithfulnessOptions:
    """What to measure on: ``slice_labels`` in place of the run's own, at most ``limit`` series of each split of a run,
    with the encoder on ``device``; and how.
    """

    slice_labels: Path | None = None
    limit: int | None = None
    device: str = "auto"
    attribution: AttributionOptions = field(default_factory=AttributionOptions)
    measure: MeasureOptions = field(default_factory=MeasureOptions)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One series, measured by one model: the class it was asked about, its attributions and their figures."""

    run: str
    example: Example
    label: str
    attributions: Mapping[str, Array]
    figures: Mapping[str, Mapping[str, Measured]]


def measure_faithfulness(
    runs: Sequence[Path],
    *,
    output: Path | None = None,
    options: FaithfulnessOptions | None = None,
    report: Report | None = None,
) -> Faithfulness:
    """Measure the explanations of one or more runs, each on the series that it held out, and write what was found.

    The figures are those of the run's test split, so that they are of series that chose nothing; the method that is
    shown is chosen by its validation series, or by none where they cannot be read any more. Without a test split
    the figures of validation stand for both, and the words say so.

    Each run gets a ``faithfulness.json``, which ``explain`` chooses by and the card tells, and a ``faithfulness.csv``;
    all of them together go to ``output``, or into the folder of a cross-validation. Series that several runs hold out
    tell how far the models agree.

    Args:
        runs: run folders, or one folder of ``seriatim crossval``.
        output: where the figures of several runs go; not needed for one run or one cross-validation.
        options: on what, and how much.
        report: told after every series.

    Raises:
        ConfigError: a run is that of an anomaly model, or several runs have no ``output``.
        InputError: a run has no series to measure with.
        ModelError: a run is incomplete or changed.
    """
    options = options or FaithfulnessOptions()
    if output is None and len(runs) > 1:
        raise ConfigError("Several runs are measured together: give --output, a folder for the figures of all.")
    loaded = [_load(run, device=options.device) for run in runs]
    every: list[Row] = []
    for model in (model for models, _ in loaded for model in models):
        rows = _measure_run(model, options=options, report=report)
        found = _write(model.path, rows, digest=model.digest)
        every += rows
    place, (members, digest) = output or runs[0], loaded[0]
    if output is None and len(members) == 1:
        return found
    return _write(place, every, digest=digest if len(loaded) == 1 else None)


def summarise(rows: Sequence[Row]) -> Faithfulness:
    """What validation series chose, and the figures of the test series beside it; see ``measure_faithfulness``."""
    of_test = [row for row in rows if row.example.split == "test"]
    of_val = [row for row in rows if row.example.split == "val"]
    told = of_test or of_val
    split, found, count = told[0].example.split, average_figures(told), len(keys_of(told))
    choice = Choice(
        split="val", count=len(keys_of(of_val)), methods=average_figures(of_val),
        overlap=len(keys_of(of_val) & keys_of(of_test)),
    ) if of_val else None  # fmt: skip
    best = choose_best(choice.methods) if choice else ""
    words = tell_model(found, best=best, count=count, split=split, choice=choice)
    return Faithfulness(about="model", methods=found, best=best, words=words, count=count, split=split, choice=choice)


def keys_of(rows: Sequence[Row]) -> set[str]:
    """The series that the rows are of; several runs may have measured one."""
    return {row.example.key for row in rows}


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
                     if measure in row.figures[method]]
            known = agreeing[method] if measure == "agreement" else known
            if known:
                found[method][measure] = _average(known)
    return found


def _load(run: Path, *, device: str) -> tuple[list[Model], str]:
    """The models of a run folder or of a cross-validation, and the digest of all of them as one."""
    if (run / ENSEMBLE).is_file():
        ensemble = load_ensemble(run, device=device)
        return list(ensemble.members), ensemble.digest
    if is_anomaly_model(run):
        raise ConfigError(f"{run} is an anomaly model: its explanation is the error itself, frame by frame.")
    model = load_model(run, device=device)
    return [model], model.digest


def _measure_run(model: Model, *, options: FaithfulnessOptions, report: Report | None) -> list[Row]:
    experiment = model.experiment
    prepared = PreparedSeries(experiment.preprocessing, cache=False, limits=model.limits)
    embedder = Embedder(model.network, prepared, experiment, augment=None)
    chosen = find_held_out(model, slice_labels=options.slice_labels, limit=options.limit)
    rows = []
    for done, example in enumerate(chosen, start=1):
        try:
            rows.append(_measure_one(model, example, embedder.embed_views(example.series), options=options))
        except InputError as error:
            logger.warning("not measured: %s", error)
        if report is not None:
            report(done, len(chosen))
    if not rows:
        raise InputError(f"No validation or test series of {model.path} can be read. Bring the images back to where "
                         "its manifest has them (data.manifest in its config.yaml).")
    return rows


def _measure_one(
    model: Model, example: Example, views: Sequence[Tensor], *, options: FaithfulnessOptions
) -> Row:
    chosen = int(model.read(views).probabilities.argmax())
    readings = read_ways(
        model.network, model.task, views, reverse_order=model.experiment.test_time.reverse_order
    )
    attributions = attribute_slices(readings, options.attribution)
    truth, values = mark_truth(model.task, example.slice_labels), as_arrays(attributions, chosen)
    told = measure_series(
        readings,
        values,
        class_index=chosen,
        truth=None if truth is None else truth[:, chosen],
        completeness=attributions.completeness,
        attribution_options=options.attribution,
        options=options.measure,
    )
    return Row(run=str(model.path), example=example, label=model.task.class_names[chosen], attributions=values,
               figures=told.methods)


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


def _write(folder: Path, rows: Sequence[Row], *, digest: str | None) -> Faithfulness:
    found = summarise(rows)
    found.save(make_folder(folder) / FAITHFULNESS, digest=digest)
    write_csv(folder / TABLE, COLUMNS, _table(rows))
    return found


def _table(rows: Sequence[Row]) -> Iterator[dict[str, str]]:
    """One row for each figure of each series."""
    for row in rows:
        series = row.example.series
        named = [cell_text(text) for text in (row.run, row.example.split, series.series_uid, series.volume, row.label)]
        for method, figures in row.figures.items():
            for measure, one in figures.items():
                chance = "" if one.chance is None else f"{one.chance:.6g}"
                yield dict(zip(COLUMNS, (*named, method, measure, f"{one.value:.6g}", chance), strict=True))
