"""One evaluation from tables to figures: join, measure, draw, and write what was found and what was left out."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from seriatim.errors import ConfigError, OutputError
from seriatim.evaluation.attended import SliceMeasures, measure_slices
from seriatim.evaluation.events import OVERLAP
from seriatim.evaluation.figures import draw_figures
from seriatim.evaluation.find import find_scores
from seriatim.evaluation.frames import FrameMeasures, measure_frames, write_sequences
from seriatim.evaluation.intervals import RESAMPLES, SEED
from seriatim.evaluation.join import PATIENT, TRAINED_ON, Joined, join
from seriatim.evaluation.known_patients import count_known_patients
from seriatim.evaluation.measures import NO_PROBABILITY, OF_PROBABILITIES, Measures, mean_of_files, measure
from seriatim.evaluation.page import write_page
from seriatim.evaluation.samples import Question, Samples, ask, collect
from seriatim.evaluation.scores import Scores, read_scores
from seriatim.evaluation.sets import measure_sets
from seriatim.evaluation.subgroups import Subgroups, measure_subgroups
from seriatim.evaluation.timelines import draw_timelines
from seriatim.io.tables.outputs import cell_text, path_beside
from seriatim.settings import Settings
from seriatim.tasks.metrics import confusion_matrix

COLUMNS = ("metric", "value", "low", "high", "method", "n")


class EvaluationSettings(Settings):
    """Against what scores are held."""

    labels: Path
    """CSV: series_uid or path, label columns, and patient."""
    patient: str = PATIENT
    """The column of the labels that says whose a series is: intervals count patients."""
    names: tuple[str, ...] = ()
    """The label columns; without them those of the model's run.json."""
    threshold: float | None = Field(default=None, allow_inf_nan=False)
    """Decide by this threshold instead of the one chosen on validation."""
    slices: Path | None = None
    """CSV of true slice labels: series_uid, sop_instance_uid (or index), labels."""
    slice_names: tuple[str, ...] = ()
    """The columns of true slice labels in the order of the labels; without them those of the model, or the same."""
    by: tuple[str, ...] = ()
    """Columns of the labels whose values are subgroups, each with figures of its own."""
    normal: tuple[str, ...] = ()
    """Of an anomaly model: the values of the label that mean normal; without them those of the model."""
    include_training: bool = False
    """Evaluate also the series that the model was trained or tuned on (column split of scores.csv)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """What an evaluation found: ``measures`` by name, over all files together; ``by_file`` the same for each file.

    ``of_known_patients`` counts the series of patients that their model may know: see ``count_known_patients``.
    """

    question: Question
    scores: Sequence[Scores]
    joined: Joined
    samples: Samples
    measures: Measures
    by_file: Sequence[Measures]
    slices: SliceMeasures | FrameMeasures | None
    subgroups: Subgroups
    of_known_patients: int

    @property
    def all_measures(self) -> Measures:
        """The measures of series, then those of slices."""
        return self.measures | (self.slices.measures if self.slices else {})

    @property
    def missing_counts(self) -> dict[str, int]:
        """Why labelled series were not evaluated, and how many each."""
        reasons = Counter(f"{one.status}: {one.reason}" for one in self.joined.missing)
        reasons.update({"label empty": len(self.joined.pairs) - len(self.samples.labels)})
        return {reason: count for reason, count in reasons.most_common() if count}


def evaluate(scores: Sequence[Path], *, settings: EvaluationSettings, output: Path) -> Evaluation:
    """Hold one or more scores.csv (folds, say) against labels; write evaluation.json, .csv and .html, and figures.

    A folder stands for the scores.csv in it, else for all below it. Several files are pooled, each decided by its own
    threshold. Only scored rows enter, and only of series that the model was not trained or tuned on; every labelled
    series that does not is counted with its reason.

    Raises:
        ConfigError: the tables do not fit each other, or no threshold is known.
        OutputError: the results cannot be written.
    """
    tables = [read_scores(path) for given in scores for path in find_scores(given)]
    question = _choose_normal(ask(tables, settings.names), settings)
    joined = join(tables, settings.labels, include_training=settings.include_training, patient=settings.patient)
    samples = collect(
        question, joined.pairs, scores=tables, labels_path=settings.labels, threshold=settings.threshold
    )
    slices: SliceMeasures | FrameMeasures | None = None
    if question.anomaly:
        slices = measure_frames(
            question, joined.pairs, samples=samples, scores=tables, truth_path=settings.slices,
            names=settings.slice_names,
        )
    elif settings.slices:
        slices = measure_slices(
            question, joined.pairs, scores=tables, truth_path=settings.slices, names=settings.slice_names
        )
    evaluation = Evaluation(
        question=question,
        scores=tables,
        joined=joined,
        samples=samples,
        measures=measure(question, samples) | mean_of_files(question, samples)
        | measure_sets(question, samples, joined.pairs),
        by_file=[measure(question, _of_file(samples, file)) for file in range(len(tables))] if len(tables) > 1 else (),
        slices=slices,
        subgroups=measure_subgroups(question, samples, joined.pairs, columns=settings.by),
        of_known_patients=count_known_patients([joined.pairs[row] for row in samples.rows], tables),
    )
    _write(evaluation, settings, output)
    return evaluation


def _choose_normal(question: Question, settings: EvaluationSettings) -> Question:
    """The question with the words for normal that are given.

    Raises:
        ConfigError: such words, or no threshold, are given for scores that have no use for them.
    """
    if question.anomaly and settings.threshold is not None:
        raise ConfigError("--threshold is for diagnoses: the events of an anomaly model were found at its own "
                          "threshold. Train again with another task.false_alarm_rate.")
    if settings.normal and not question.anomaly:
        raise ConfigError("--normal is for anomaly models; these scores are of a diagnosis.")
    return replace(question, normal=settings.normal) if settings.normal else question


def describe(evaluation: Evaluation, settings: EvaluationSettings, *, folder: Path) -> dict[str, Any]:
    """The whole evaluation as plain data without nan, as the evaluation.json in ``folder`` holds it."""
    question, samples = evaluation.question, evaluation.samples
    content: dict[str, Any] = {
        "scores": [path_beside(one.path, folder) for one in evaluation.scores],
        "labels": path_beside(settings.labels, folder),
        "task": {"target": question.target, "labels": question.labels, "classes": question.classes},
        "thresholds": _thresholds(evaluation, settings),
        "counts": _counts(evaluation),
        "intervals": {
            "level": 0.95,
            "clustered_by": samples.clustered_by,
            "clusters": samples.clusters.count,
            "bootstrap_resamples": RESAMPLES,
            "bootstrap_seed": SEED,
        },
        "metrics": {name: one.as_dict() for name, one in evaluation.measures.items()},
        "not_evaluated": [asdict(one) for one in evaluation.joined.missing],
    }
    if question.target in ("binary", "multilabel"):
        content["decisions"] = dict(zip(question.classes, _count_decisions(samples), strict=True))
    if question.target == "multiclass":
        true, predicted = samples.labels.argmax(axis=1), samples.decisions.argmax(axis=1)
        counts = confusion_matrix(true, predicted, classes=len(question.classes))
        content["confusion"] = {"rows": "true", "columns": "predicted", "counts": counts.tolist()}
    if evaluation.by_file:
        content["files"] = [
            {"scores": path_beside(one.path, folder),
             "metrics": {name: value.as_dict() for name, value in measures.items()}}
            for one, measures in zip(evaluation.scores, evaluation.by_file, strict=True)
        ]
    if evaluation.subgroups:
        content["subgroups"] = {
            column: {
                group: {name: one.as_dict() for name, one in measures.items()} for group, measures in groups.items()
            }
            for column, groups in evaluation.subgroups.items()
        }
    if evaluation.slices:
        content["slices"] = {
            "metrics": {name: one.as_dict() for name, one in evaluation.slices.measures.items()},
            "chance": evaluation.slices.chance,
            "series": evaluation.slices.series,
        }
    if question.anomaly:
        content["task"] |= {"kind": "anomaly", "normal": question.normal}
        content["left_out"] = {"measures": OF_PROBABILITIES, "reason": NO_PROBABILITY}
    if isinstance(evaluation.slices, FrameMeasures):
        content["events"] = {"least_overlap": OVERLAP}
    return content


def _counts(evaluation: Evaluation) -> dict[str, Any]:
    question, samples, joined = evaluation.question, evaluation.samples, evaluation.joined
    counts: dict[str, Any] = {
        "labelled": joined.labelled,
        "evaluated": len(samples.labels),
        "not_evaluated": evaluation.missing_counts,
        "scored_without_label": joined.unlabelled,
        "left_out": joined.left_out,
        "trained_on": joined.trained_on,
        "of_known_patients": evaluation.of_known_patients,
        "joined_by": joined.joined_by,
    }
    if question.target != "regression":
        positives = np.nansum(samples.labels, axis=0).astype(int).tolist()
        counts["positive"] = dict(zip(question.classes, positives, strict=True))
    return counts


def _count_decisions(samples: Samples) -> Iterator[dict[str, int]]:
    """Of each label, how many known series were rightly and wrongly called positive and negative."""
    for labels, called in zip(samples.labels.T, samples.decisions.T, strict=True):
        yield {
            f"{told}_{kind}": int(((labels == truth) & (called == decided)).sum())
            for told, kind, truth, decided in (
                ("true", "positive", 1, True), ("false", "positive", 0, True),
                ("false", "negative", 1, False), ("true", "negative", 0, False),
            )
        }  # fmt: skip


def _thresholds(evaluation: Evaluation, settings: EvaluationSettings) -> Any:
    if evaluation.question.target in ("regression", "multiclass"):
        return None
    if settings.threshold is not None:
        return {"given": settings.threshold}
    return [{name: one.thresholds[name] for name in evaluation.question.classes} for one in evaluation.scores]


def _of_file(samples: Samples, file: int) -> Samples:
    return samples.take(np.flatnonzero(samples.files == file))


def _write(evaluation: Evaluation, settings: EvaluationSettings, output: Path) -> None:
    try:
        output.mkdir(parents=True, exist_ok=True)
        content = describe(evaluation, settings, folder=output)
        text = json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False)
        (output / "evaluation.json").write_text(text + "\n", encoding="utf-8")
        with (output / "evaluation.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(COLUMNS)
            for name, one in evaluation.all_measures.items():
                numbers = ["" if number is None else number for number in (one.value, one.low, one.high)]
                writer.writerow([name, *numbers, one.method, one.n])
            for name, count in (("left_out", evaluation.joined.left_out), ("trained_on", evaluation.joined.trained_on)):
                if count:
                    writer.writerow([f"series_{name}", count, "", "", TRAINED_ON, evaluation.joined.labelled])
        if evaluation.subgroups:
            _write_subgroups(evaluation.subgroups, output / "subgroups.csv")
        figures = draw_figures(evaluation.question, evaluation.samples, evaluation.measures, folder=output)
        if isinstance(evaluation.slices, FrameMeasures):
            write_sequences(evaluation.slices, output / "sequences.csv")
            figures += draw_timelines(evaluation.slices, path=output / "events.png")
        write_page(evaluation, content, figures, path=output / "evaluation.html")
    except OSError as error:
        raise OutputError(f"The evaluation cannot be written to {output}: {error}. Give another --output.") from error


def _write_subgroups(subgroups: Subgroups, path: Path) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["column", "group", *COLUMNS])
        for column, groups in subgroups.items():
            for group, measures in groups.items():
                for name, one in measures.items():
                    numbers = ["" if number is None else number for number in (one.value, one.low, one.high)]
                    writer.writerow([cell_text(column), cell_text(group), name, *numbers, one.method, one.n])
