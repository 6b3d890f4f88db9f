"""Train, score and evaluate every fold of an experiment; a fold that is finished is not done again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from seriatim.errors import ConfigError
from seriatim.evaluation import Evaluation, evaluate
from seriatim.evaluation.find import CROSSVAL
from seriatim.evaluation.samples import Samples
from seriatim.experiment import AnomalyExperiment, Experiment
from seriatim.io.tables.manifest import read_table
from seriatim.io.tables.outputs import make_folder, read_json, write_csv, write_json
from seriatim.series.batch import IGNORE
from seriatim.studies.runs import (
    AnyExperiment,
    evaluation_settings,
    run_all,
    run_one,
    share_embeddings,
    tell_tested_rows,
)
from seriatim.tasks import DiagnosisTask
from seriatim.trained import write_ensemble
from seriatim.training import digest_labels, fold_table

FOLDS, EMBEDDINGS = "folds.csv", "embeddings"
Report = Callable[[str, int, int], None]
"""(the fold that is finished, folds finished, folds in all)."""
Work = Callable[[Any, str, Path], None]
"""(experiment, name of the fold, its folder): a function of a module, to be run in another process."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CrossValidation:
    """What a cross-validation made: the folder of each fold, and the evaluation of all pooled."""

    folders: dict[str, Path]
    evaluation: Evaluation


def run_fold(experiment: AnyExperiment, name: str, folder: Path) -> None:
    """Train without one fold, going on with what is there, and score the series that were left out. All folds share
    their embeddings.
    """
    if isinstance(experiment, Experiment):
        experiment = share_embeddings(experiment, folder.parent / EMBEDDINGS)
    data = experiment.data.model_copy(update={"fold": name})
    run_one(experiment.model_copy(update={"data": data}), folder)


def cross_validate(
    experiment: AnyExperiment, output: Path, *, jobs: int = 1, report: Report | None = None, work: Work = run_fold
) -> CrossValidation:
    """Run all folds of an experiment into ``output`` and evaluate their held-out series together.

    The folds are those of the manifest's fold column, or ``data.folds`` made by patient. Each fold has a folder with
    its ``run`` and its ``scores``; ``folds.csv`` says which series is in which; ``evaluation`` holds the figures of
    all; with ``ensemble.json`` the folder of a diagnosis can be scored with as one model. Called again after a stop, it
    goes on where it was.

    Args:
        experiment: with or without ``data.fold``, which is ignored.
        output: the folder; made where it does not exist.
        jobs: folds run at a time, each in a process of its own with its share of the cores.
        report: told after every fold.
        work: what to do for a fold, which must end with its ``scores``.

    Raises:
        ConfigError: there are no folds, a setting or label is wrong, an anomaly experiment names no label to be held
            against, or ``output`` holds other settings.
        InputError: a fold has no usable series.
    """
    if isinstance(experiment, AnomalyExperiment) and experiment.task.label is None:
        raise ConfigError("task.label is not set, so nothing says which series are abnormal, and there is nothing to "
                          "hold scores against. Name the column of the manifest that tells: --set task.label=COLUMN.")
    table = fold_table(experiment)
    tell_tested_rows(experiment)
    names = list(dict.fromkeys(row["fold"] for row in table))
    _open(output, experiment, table=table, folds=names)
    folders = {name: output / f"fold{name}" for name in names}
    waiting = [name for name in names if not (folders[name] / "scores" / "run.json").is_file()]
    done = len(names) - len(waiting)
    tasks = {name: partial(work, experiment, name, folders[name]) for name in waiting}
    for name in run_all(tasks, jobs=jobs):
        done += 1
        if report is not None:
            report(name, done, len(names))
    tables = [folder / "scores" / "scores.csv" for folder in folders.values()]
    evaluation = evaluate(tables, settings=evaluation_settings(experiment), output=output / "evaluation")
    if isinstance(experiment, Experiment):  # anomaly models are not averaged: their scores are no probabilities
        _write_ensemble(experiment, output, folders=folders, evaluation=evaluation)
    return CrossValidation(folders=folders, evaluation=evaluation)


def _write_ensemble(
    experiment: Experiment, output: Path, *, folders: Mapping[str, Path], evaluation: Evaluation
) -> None:
    """Make the folder one model: all folds, with thresholds chosen on the series that each fold left out.

    The evaluation beside it never uses these thresholds.
    """
    members = {}
    for folder in folders.values():
        told = read_json(folder / "scores" / "run.json", "model")
        members[f"{folder.name}/run"] = told["model"]["digest"]
    write_ensemble(
        output, members=members, thresholds=average_thresholds(experiment.task.build(), evaluation.samples),
        source=f"the mean over folds of those chosen on the series each left out, {len(evaluation.samples.labels)} in "
               "all; not validated on the mean of the models",
    )


def average_thresholds(task: DiagnosisTask, samples: Samples) -> dict[str, float]:
    """Thresholds for the mean of all folds' models, from predictions that each made for series it did not see.

    One for each file of scores, then their mean: models differ in how high they score, and a threshold on all
    predictions together would mistake these differences for the answer. Files without both answers
    of a class do not count for it; where none has both, all are taken together.
    """
    labels = np.where(np.isnan(samples.labels), IGNORE, samples.labels)
    chosen: dict[str, list[float]] = {}
    for file in np.unique(samples.files):
        own = samples.files == file
        one_sided = task.one_sided(labels[own])
        for name, value in task.thresholds(samples.scores[own], labels[own]).items():
            chosen.setdefault(name, []).extend([] if name in one_sided else [value])
    together = task.thresholds(samples.scores, labels)
    return {name: fmean(values) if values else together[name] for name, values in chosen.items()}


def _open(
    output: Path, experiment: AnyExperiment, *, table: Sequence[dict[str, str]], folds: Sequence[str]
) -> None:
    """Write down what is run, or check that the folder holds the same."""
    make_folder(output)
    settings = experiment.model_dump(mode="json")
    settings["data"]["fold"] = None
    content = {"experiment": settings, "folds": list(folds), "labels": digest_labels(experiment)}
    path, members = output / CROSSVAL, output / FOLDS
    if path.is_file():
        known = read_json(path)
        if any(known.get(name) != content[name] for name in ("experiment", "folds")):
            raise ConfigError(f"{output} holds a cross-validation with other settings. Choose another --output.")
        if members.is_file() and read_table(members) != list(table):
            raise ConfigError(f"The rows or folds of {experiment.data.manifest} changed since {output} was started. "
                              "Put them back, or choose another --output.")
        if known.get("labels", content["labels"]) != content["labels"]:
            raise ConfigError(f"Labels of {experiment.data.manifest} or of its slices changed since {output} was "
                              "started, and finished folds have learnt the old ones. Choose another --output.")
    else:
        write_json(path, content)
    write_csv(members, list(table[0]), table)
