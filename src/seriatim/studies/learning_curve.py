"""What more labels would bring: the same test series, scored by models of ever more labelled patients."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np

from seriatim.errors import ConfigError
from seriatim.evaluation import Estimate, evaluate
from seriatim.experiment import Experiment
from seriatim.io.tables.manifest import read_manifest, read_table
from seriatim.io.tables.outputs import make_folder, read_json, write_csv, write_json
from seriatim.studies.curve_figure import draw_curve
from seriatim.studies.draws import average_draws
from seriatim.studies.runs import evaluation_settings, run_all, run_one, share_embeddings, tell_tested_rows
from seriatim.training import digest_labels, fold_table
from seriatim.training.examples import plan_splits

RECORD, TABLE, PICTURE = "learning_curve.json", "learning_curve.csv", "learning_curve.png"
Report = Callable[[str, int, int], None]
"""(the run that is finished, runs finished, runs in all)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One number of labelled patients: ``per_class`` as asked for (None: all), ``labelled`` in all, a mean over folds.

    ``estimates`` by metric are means over the draws with intervals over the patients tested; ``draws`` each draw's own.
    """

    per_class: int | None
    labelled: float
    estimates: dict[str, Estimate]
    draws: dict[str, list[float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """One training run of the curve."""

    per_class: int | None
    draw: int
    experiment: Experiment
    folder: Path
    labelled: int

    @property
    def name(self) -> str:
        return "/".join(self.folder.parts[-3:])


def learning_curve(
    experiment: Experiment, output: Path, *, counts: Sequence[int | None], repeats: int = 1, jobs: int = 1,
    report: Report | None = None,
) -> list[Point]:
    """Train with ``counts`` labelled patients per class, score the same test series, and say how good each is.

    What labelled patients are is said at ``data.patients_per_class``; the patients of a smaller count are among those
    of a larger one. The test series are those of ``data.fold``, else of all folds in turn and pooled, else of the
    manifest's test split. Called again, it goes on where it was; more counts and repeats may be asked for.

    Args:
        experiment: ``data.patients_per_class`` and ``patients_draw`` are set here.
        output: the folder; made where it does not exist.
        counts: patients per class, ascending; None for all.
        repeats: draws of patients at each count; all of them are drawn once.
        jobs: runs at a time, each in a process of its own.
        report: told after every run.

    Raises:
        ConfigError: a class has fewer patients than asked for, there is nothing to test on, a setting is wrong, or
            ``output`` holds a curve of other settings, rows or labels.
        InputError: a run has no usable series.
    """
    runs = _plan(experiment, output, counts=counts, repeats=repeats)
    record = _open(experiment, output)
    tell_tested_rows(experiment)
    waiting = {run.name: run for run in runs if not (run.folder / "scores" / "run.json").is_file()}
    done = len(runs) - len(waiting)
    for name in run_all({key: partial(run_one, run.experiment, run.folder) for key, run in waiting.items()}, jobs=jobs):
        done += 1
        if report is not None:
            report(name, done, len(runs))
    points = [_measure(experiment, [run for run in runs if run.per_class == count]) for count in counts]
    _write(output, record, points)
    return points


def _plan(experiment: Experiment, output: Path, *, counts: Sequence[int | None], repeats: int) -> list[_Run]:
    """Every run, each checked from the tables alone: a class too small is told before anything is trained."""
    shared = share_embeddings(experiment, output / "embeddings")
    runs = []
    for count in counts:
        for draw in range(repeats if count is not None else 1):
            for fold in _folds(experiment):
                chosen = {"fold": fold, "patients_per_class": count, "patients_draw": draw}
                own = shared.model_copy(update={"data": experiment.data.model_copy(update=chosen)})
                planned = plan_splits(own)
                if not any(row.split == "test" for row in planned):
                    raise ConfigError("There is nothing to test on: give data.folds=5, data.fold, or a split column.")
                labelled = len({row.case.patient for row in planned if row.split in ("train", "val") and row.labelled})
                part = "test" if fold is None else f"fold{fold}"
                folder = output / f"patients_{count or 'all'}" / f"draw{draw}" / part
                runs.append(_Run(per_class=count, draw=draw, experiment=own, folder=folder, labelled=labelled))
    return runs


def _folds(experiment: Experiment) -> list[str | None]:
    data = experiment.data
    if data.fold is not None:
        return [data.fold]
    if data.folds is None and data.fold_column not in read_table(data.manifest)[0]:
        return [None]
    return list(dict.fromkeys(row["fold"] for row in fold_table(experiment)))


def _open(experiment: Experiment, output: Path) -> dict[str, Any]:
    """Write down what is run, or check that the folder holds the same; what ``RECORD`` says of it."""
    content: dict[str, Any] = {
        "experiment": experiment.model_dump(mode="json"), "rows": _digest_rows(experiment),
        "labels": digest_labels(experiment),
    }  # fmt: skip
    path, manifest = make_folder(output) / RECORD, experiment.data.manifest
    if not path.is_file():
        write_json(path, {**content, "points": []})
        return content
    known = read_json(path, "experiment")
    if known["experiment"] != content["experiment"]:
        raise ConfigError(f"{output} holds a learning curve of other settings. Choose another --output.")
    if known.get("rows", content["rows"]) != content["rows"]:
        raise ConfigError(f"The rows, patients, folds or splits of {manifest} changed since {output} was started. Put "
                          "them back, or choose another --output.")
    if known.get("labels", content["labels"]) != content["labels"]:
        raise ConfigError(f"Labels of {manifest} or of its slices changed since {output} was started, and finished "
                          "runs have learnt the old ones. Put them back, or choose another --output.")
    return content


def _digest_rows(experiment: Experiment) -> str:
    """SHA-256 of what the manifest says of its rows but for their labels: what, whose, in which split, fold."""
    data = experiment.data
    cases = read_manifest(data.manifest, patient=data.patient, look=False)
    rows = [(one.row["path"], one.patient, *(one.row.get(key) for key in (data.split, data.fold_column)))
            for one in cases]  # fmt: skip
    return hashlib.sha256(repr(rows).encode()).hexdigest()


def _measure(experiment: Experiment, runs: Sequence[_Run]) -> Point:
    evaluations = []
    for draw in dict.fromkeys(run.draw for run in runs):
        own = [run for run in runs if run.draw == draw]
        tables, settings = [run.folder / "scores" / "scores.csv" for run in own], evaluation_settings(experiment)
        evaluations.append(evaluate(tables, settings=settings, output=own[0].folder.parent / "evaluation"))
    estimates, draws = average_draws(evaluations)
    labelled = float(np.mean([run.labelled for run in runs]))
    return Point(per_class=runs[0].per_class, labelled=labelled, estimates=estimates, draws=draws)


def known(draws: Sequence[float]) -> list[float]:
    """The draws that the test series allow a figure of: a fold of one class has no AUC."""
    return [value for value in draws if isfinite(value)]


def _write(output: Path, record: Mapping[str, Any], points: Sequence[Point]) -> None:
    rows = [
        {"patients_per_class": "all" if point.per_class is None else point.per_class,
         "labelled_patients": round(point.labelled, 2), "metric": name, "value": estimate.value, "low": estimate.low,
         "high": estimate.high, "method": estimate.method or estimate.reason, "n": estimate.n,
         "draws": len(point.draws[name]), "least": min(known(point.draws[name]), default=None),
         "greatest": max(known(point.draws[name]), default=None)}
        for point in points for name, estimate in point.estimates.items()
    ]  # fmt: skip
    write_csv(output / TABLE, list(rows[0]), rows)
    told = [{**row, "values": [value if isfinite(value) else None for value in values]} for row, values in zip(
        rows, (point.draws[name] for point in points for name in point.estimates), strict=True
    )]  # fmt: skip
    write_json(output / RECORD, {**record, "points": told})
    name = next(iter(points[0].estimates))
    draw_curve(
        output / PICTURE, title=record["experiment"]["name"], metric=name,
        labelled=[point.labelled for point in points], estimates=[point.estimates[name] for point in points],
        draws=[point.draws[name] for point in points],
    )
