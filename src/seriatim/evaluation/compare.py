"""Two or more models on the same labelled series: each model's figures, and its paired differences to the first."""

from __future__ import annotations

import csv
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from seriatim.errors import ConfigError, OutputError
from seriatim.evaluation.find import find_scores
from seriatim.evaluation.intervals import RESAMPLES, SEED
from seriatim.evaluation.join import Joined, Pair, join
from seriatim.evaluation.known_patients import KNOWN_PATIENTS, count_known_patients
from seriatim.evaluation.measures import Measures, measure
from seriatim.evaluation.paired import Difference, compare_samples
from seriatim.evaluation.report import EvaluationSettings
from seriatim.evaluation.samples import Question, ask, collect
from seriatim.evaluation.scores import Scores, read_scores
from seriatim.io.tables.outputs import path_beside

logger = logging.getLogger(__name__)
COLUMNS = ("model", "metric", "value", "low", "high", "difference", "difference_low", "difference_high", "p", "test",
           "n")


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """One model: its name, its figures on the shared series, and their differences to the first model's."""

    name: str
    scores: Sequence[Scores]
    measures: Measures
    differences: dict[str, Difference]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What was compared: ``series`` shared by all models, ``left_out`` labelled series that some model lacks."""

    question: Question
    models: Sequence[Compared]
    series: int
    left_out: int
    clusters: int
    clustered_by: str


def compare(models: Sequence[Path], *, settings: EvaluationSettings, output: Path) -> Comparison:
    """Hold the scores of several models against the same labels; write comparison.json and comparison.csv.

    A model is a scores.csv, or a folder: the scores.csv in it, else all below it, pooled (the folds of one model). Only
    series that every model scored and none was trained or tuned on are compared; the first model is the reference.

    Raises:
        ConfigError: fewer than two models, different questions, labels that do not fit, or no series in common.
        OutputError: the results cannot be written.
    """
    if len(models) < 2:
        raise ConfigError("A comparison needs two models. Give two folders with scores.csv, or two scores.csv.")
    tables = [[read_scores(path) for path in find_scores(model)] for model in models]
    question = ask([one for own in tables for one in own], settings.names)
    joined = [join(own, settings.labels, include_training=settings.include_training, patient=settings.patient)
              for own in tables]
    shared = _share(joined)
    samples = [
        collect(question, pairs, scores=own, labels_path=settings.labels, threshold=settings.threshold)
        for pairs, own in zip(shared, tables, strict=True)
    ]
    samples = [replace(one, clusters=samples[0].clusters, clustered_by=samples[0].clustered_by) for one in samples]
    names = _name(models)
    for name, pairs, own in zip(names, shared, tables, strict=True):
        if count := count_known_patients(pairs, own):
            logger.warning("%s: %d series %s.", name, count, KNOWN_PATIENTS)
    comparison = Comparison(
        question=question,
        models=[
            Compared(name=name, scores=own, measures=measure(question, one),
                     differences=compare_samples(question, samples[0], one) if index else {})
            for index, (name, own, one) in enumerate(zip(names, tables, samples, strict=True))
        ],
        series=len(samples[0].labels), left_out=joined[0].labelled - len(samples[0].labels),
        clusters=samples[0].clusters.count, clustered_by=samples[0].clustered_by,
    )
    _write(comparison, output)
    return comparison


def describe_comparison(comparison: Comparison, *, folder: Path) -> dict[str, Any]:
    """The whole comparison as plain data without nan, as the comparison.json in ``folder`` holds it."""
    return {
        "task": {"target": comparison.question.target, "labels": comparison.question.labels,
                 "classes": comparison.question.classes},
        "series": comparison.series,
        "left_out": comparison.left_out,
        "intervals": {"level": 0.95, "clustered_by": comparison.clustered_by, "clusters": comparison.clusters,
                      "bootstrap_resamples": RESAMPLES, "bootstrap_seed": SEED},
        "models": [
            {
                "name": model.name,
                "scores": [path_beside(one.path, folder) for one in model.scores],
                "metrics": {name: one.as_dict() for name, one in model.measures.items()},
                "differences_to_first": {name: one.as_dict() for name, one in model.differences.items()},
            }
            for model in comparison.models
        ],
    }


def _name(models: Sequence[Path]) -> list[str]:
    """The shortest ends of the paths that tell all models apart."""
    parts = [(model.resolve().parent if model.name == "scores.csv" else model.resolve()).parts for model in models]
    for length in range(1, max(map(len, parts)) + 1):
        names = ["/".join(one[-length:]) for one in parts]
        if len(set(names)) == len(names):
            return names
    return [f"{index + 1}: {'/'.join(one[-1:])}" for index, one in enumerate(parts)]


def _share(joined: Sequence[Joined]) -> list[list[Pair]]:
    """The pairs of each model for the label rows that every model has, in one order."""
    by_row = [{pair.row: pair for pair in one.pairs} for one in joined]
    rows = sorted(set.intersection(*(set(one) for one in by_row)))
    if not rows:
        raise ConfigError(
            "No labelled series was scored by every model without being trained on by one. Score the same series with "
            "each, or give --include-training."
        )
    return [[one[row] for row in rows] for one in by_row]


def _write(comparison: Comparison, output: Path) -> None:
    try:
        output.mkdir(parents=True, exist_ok=True)
        text = json.dumps(describe_comparison(comparison, folder=output), indent=2, allow_nan=False, ensure_ascii=False)
        (output / "comparison.json").write_text(text + "\n", encoding="utf-8")
        with (output / "comparison.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(COLUMNS)
            for model in comparison.models:
                writer.writerows(_rows(model))
    except OSError as error:
        raise OutputError(f"The comparison cannot be written to {output}: {error}. Give another --output.") from error


def _rows(model: Compared) -> list[list[Any]]:
    rows = []
    for name, own in model.measures.items():
        difference = model.differences.get(name)
        to_first = difference.estimate if difference else None
        numbers = [own.value, own.low, own.high, *(
            (to_first.value, to_first.low, to_first.high, difference.p, difference.test)
            if to_first and difference else (None,) * 5
        )]
        rows.append([model.name, name, *("" if one is None else one for one in numbers), own.n])
    return rows
