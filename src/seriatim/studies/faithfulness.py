"""How faithful a model's explanations are over series that it was not trained on: every method beside all others."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from seriatim.errors import ConfigError, InputError
from seriatim.explanation.attribution.gather import AttributionOptions, attribute_slices
from seriatim.explanation.attribution.reading import read_ways
from seriatim.explanation.build import as_arrays, mark_truth
from seriatim.explanation.faithfulness.maps import MapOptions
from seriatim.explanation.faithfulness.series import MeasureOptions, measure_series
from seriatim.explanation.faithfulness.words import DEFAULT
from seriatim.io.tables.outputs import make_folder, write_csv
from seriatim.studies.faithful_errors import measure_errors, summarise_errors
from seriatim.studies.faithful_maps import measure_run_maps
from seriatim.studies.faithful_rows import COLUMNS, Row, summarise, tabulate
from seriatim.studies.held_out import find_held_out
from seriatim.trained import AnomalyModel, Model, is_anomaly_model, load_anomaly_model, load_ensemble, load_model
from seriatim.trained.faithfulness import FAITHFULNESS, Faithfulness
from seriatim.trained.files import ENSEMBLE
from seriatim.training.dataset import PreparedSeries
from seriatim.training.embeddings import Embedder
from seriatim.training.examples import Example

logger = logging.getLogger(__name__)
TABLE = "faithfulness.csv"
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
    maps: MapOptions = field(default_factory=MapOptions)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """What was measured of one run: a row for each series, and for each whose maps of pixels were measured.

    ``errors`` is None of a diagnosis; of an anomaly model, whether all its methods judge frames by themselves.
    """

    rows: Sequence[Row]
    maps: Sequence[Row]
    errors: bool | None = None


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
        ConfigError: several runs have no ``output``, or some are anomaly models and some are not.
        InputError: a run has no series to measure with.
        ModelError: a run is incomplete or changed.
    """
    options = options or FaithfulnessOptions()
    if output is None and len(runs) > 1:
        raise ConfigError("Several runs are measured together: give --output, a folder for the figures of all.")
    loaded = [_load(run, device=options.device) for run in runs]
    every: list[Measurement] = []
    for model in (model for models, _ in loaded for model in models):
        every.append(_measure_run(model, options=options, report=report))
        found = _write(model.path, every[-1:], digest=model.digest)
    place, (members, digest) = output or runs[0], loaded[0]
    if output is None and len(members) == 1:
        return found
    return _write(place, every, digest=digest if len(loaded) == 1 else None)


def _load(run: Path, *, device: str) -> tuple[Sequence[Model | AnomalyModel], str]:
    """The models of a run folder or of a cross-validation, and the digest of all of them as one."""
    if (run / ENSEMBLE).is_file():
        ensemble = load_ensemble(run, device=device)
        return ensemble.members, ensemble.digest
    model = load_anomaly_model(run, device=device) if is_anomaly_model(run) else load_model(run, device=device)
    return [model], model.digest


def _measure_run(
    model: Model | AnomalyModel, *, options: FaithfulnessOptions, report: Report | None
) -> Measurement:
    if isinstance(model, Model):
        found = _measure_diagnosis(model, options=options, report=report)
    else:
        rows, places = measure_errors(model, slice_labels=options.slice_labels, limit=options.limit,
                                      series=options.maps.series, report=report)
        apart = all(one.before == one.after == 0 for one in model.network.methods)
        found = Measurement(rows=rows, maps=places, errors=apart)
    if not found.rows:
        raise InputError(f"No validation or test series of {model.path} can be read. Bring the images back to where "
                         "its manifest has them (data.manifest in its config.yaml).")
    return found


def _measure_diagnosis(model: Model, *, options: FaithfulnessOptions, report: Report | None) -> Measurement:
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
    shown = (summarise(rows).best if rows else "") or DEFAULT
    return Measurement(rows=rows, maps=measure_run_maps(model, rows, prepared, shown=shown, options=options.maps))


def _measure_one(
    model: Model, example: Example, views: Sequence[Tensor], *, options: FaithfulnessOptions
) -> Row:
    probabilities = model.read(views).probabilities
    chosen = model.task.lead(probabilities.cpu().numpy(), model.thresholds)
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
    return Row(run=model.path, example=example, label=model.task.class_names[chosen],
               probability=float(probabilities[chosen]), attributions=values, figures=told.methods)


def _write(folder: Path, measured: Sequence[Measurement], *, digest: str | None) -> Faithfulness:
    rows = [row for one in measured for row in one.rows]
    maps = [row for one in measured for row in one.maps]
    errors = [one.errors for one in measured if one.errors is not None]
    if 0 < len(errors) < len(measured):
        raise ConfigError("Some of these runs are anomaly models and some are not: measure them apart.")
    found = summarise_errors(rows, maps, apart=all(errors)) if errors else summarise(rows, maps)
    found.save(make_folder(folder) / FAITHFULNESS, digest=digest)
    write_csv(folder / TABLE, COLUMNS, tabulate([*rows, *maps], folder=folder))
    return found
