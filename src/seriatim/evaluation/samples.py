"""What is asked of the joined rows, and the numbers that answer it: labels, probabilities, decisions, and whose."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from seriatim.errors import ConfigError
from seriatim.evaluation.intervals import Clusters
from seriatim.evaluation.join import Pair, cluster
from seriatim.evaluation.paths import tell_line
from seriatim.evaluation.scores import PROBABILITY, VALUE, Row, Scores, Target, read_number
from seriatim.tasks.labels import HALF, UNKNOWN, encode_class, encode_number, encode_yes_no, read_cell

Array: TypeAlias = NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What the model was asked: the kind of answer, the label columns, and the classes its columns are named after.

    Binary, multi-label and regression have one class per label; multi-class has one label and K classes. Where
    ``soft`` labels were learnt from, a share of yes counts as yes from 0.5 on. An ``anomaly`` score is no probability;
    its label is one of the words ``normal`` or another, which is abnormal, or 0 and 1 where there are no such words.
    """

    target: Target
    labels: tuple[str, ...]
    classes: tuple[str, ...]
    soft: bool = False
    anomaly: bool = False
    normal: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """N scored and labelled series.

    ``labels`` (N,K) of 0 and 1, nan where a label is missing (for regression: numbers); ``scores`` (N,K) probabilities
    or values; ``decisions`` (N,K) bool at each file's own threshold, for multi-class one-hot of the predicted class;
    ``files`` (N,) index of the scores.csv, ``rows`` (N,) that of the joined pair; ``clustered_by`` says how
    ``clusters`` are known.
    """

    labels: Array
    scores: Array
    decisions: Array
    files: Array
    rows: Array
    clusters: Clusters
    clustered_by: str

    def take(self, index: Array) -> Samples:
        """A selection of the series."""
        return Samples(
            labels=self.labels[index],
            scores=self.scores[index],
            decisions=self.decisions[index],
            files=self.files[index],
            rows=self.rows[index],
            clusters=self.clusters.take(index),
            clustered_by=self.clustered_by,
        )


def ask(scores: Sequence[Scores], names: Sequence[str]) -> Question:
    """The question that run.json holds, or that ``names`` (label columns) and the columns of scores.csv allow.

    Raises:
        ConfigError: the files were asked different questions, or nothing says which.
    """
    if len({(one.target, one.labels, one.classes, one.anomaly, one.normal) for one in scores}) > 1:
        raise ConfigError("The scores.csv files come from models with different classes. Evaluate them one by one.")
    first = scores[0]
    question = _from_run(first, tuple(names)) if first.target else _from_columns(first, tuple(names))
    prefix = VALUE if question.target == "regression" else PROBABILITY
    for one in scores:
        lacking = [name for name in question.classes if prefix + name not in one.rows[0]]
        if lacking:
            raise ConfigError(f"{one.path} has no column {prefix + lacking[0]}; it has {', '.join(one.rows[0])}.")
    return question


def collect(
    question: Question, pairs: Sequence[Pair], *, scores: Sequence[Scores], labels_path: Path, threshold: float | None
) -> Samples:
    """Read the labels and scores of the joined rows that have a label.

    Raises:
        ConfigError: a label or score is not what the question needs, or no threshold is known.
    """
    absent = [name for name in question.labels if pairs and name not in pairs[0].label]
    if absent:
        raise ConfigError(
            f"{labels_path} has no label column {absent[0]!r}; it has {', '.join(pairs[0].label)}. Name it by --label."
        )
    truth = [_truth(question, pair.label, where=tell_line(labels_path, pair.row)) for pair in pairs]
    labelled = [index for index, row in enumerate(truth) if not all(map(math.isnan, row))]
    pairs = [pairs[index] for index in labelled]
    prefix = VALUE if question.target == "regression" else PROBABILITY
    numbers = [
        [read_number(pair.score, prefix + name, where=scores[pair.file].path) for name in question.classes]
        for pair in pairs
    ]
    shape = (len(pairs), len(question.classes))
    values = np.array(numbers, dtype=float).reshape(shape)
    clusters, clustered_by = cluster(pairs)
    return Samples(
        labels=np.array([truth[index] for index in labelled], dtype=float).reshape(shape),
        scores=values,
        decisions=_decide(question, pairs, values, cutoffs=_thresholds(question, scores, threshold)),
        files=np.array([pair.file for pair in pairs], dtype=int),
        rows=np.array(labelled, dtype=int),
        clusters=clusters,
        clustered_by=clustered_by,
    )


def _from_run(scores: Scores, names: tuple[str, ...]) -> Question:
    target, labels, classes = scores.target, scores.labels, scores.classes or scores.labels
    assert target is not None
    if target == "multiclass" or len(classes) == 1:
        if len(names) > 1:
            raise ConfigError(f"The model answers one label, but --label names {len(names)}. Give one.")
        label = names or labels[:1] or classes[:1]
        return Question(target=target, labels=label, classes=classes, soft=scores.soft_labels, anomaly=scores.anomaly,
                        normal=scores.normal)
    unknown = [name for name in names if name not in classes]
    if unknown:
        raise ConfigError(f"--label {unknown[0]!r} is no class of the model; it has {', '.join(classes)}.")
    return Question(target=target, labels=names or classes, classes=names or classes, soft=scores.soft_labels)


def _from_columns(scores: Scores, names: tuple[str, ...]) -> Question:
    classes, values = scores.columns(PROBABILITY), scores.columns(VALUE)
    if not names:
        raise ConfigError(
            f"There is no run.json with a task beside {scores.path}, so name the label column by --label; "
            f"the model's classes are {', '.join(classes or values) or 'none'}."
        )
    if not classes:
        chosen = names if set(names) <= set(values) else values
        return Question(target="regression", labels=names, classes=chosen)
    if set(names) <= set(classes):
        return Question(target="binary" if len(names) == 1 else "multilabel", labels=names, classes=names)
    if len(names) > 1:
        raise ConfigError(f"--label names {', '.join(names)}, but {scores.path} has the classes {', '.join(classes)}.")
    return Question(target="binary" if len(classes) == 1 else "multiclass", labels=names, classes=classes)


def _truth(question: Question, row: Row, *, where: str) -> list[float]:
    """One label row as (K,) numbers, read as training reads it; nan where there is no label."""
    try:
        if question.normal:
            cell = read_cell(row, question.labels[0])
            return [float(cell not in question.normal) if cell else math.nan]
        if question.target == "multiclass":
            column = question.labels[0]
            place = encode_class(read_cell(row, column), column=column, classes=question.classes)
            return [float(place == one) if place >= 0 else math.nan for one in range(len(question.classes))]
        cells = ((read_cell(row, name), name) for name in question.labels)
        return [read_truth(*cell, target=question.target, soft=question.soft) for cell in cells]
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error


def read_truth(text: str, column: str, *, target: Target = "binary", soft: bool = False) -> float:
    """One label cell: 0.0 or 1.0 (a ``soft`` one by half), for regression a number; nan where nothing is known.

    Raises:
        ConfigError: the cell holds something else.
    """
    if text.lower() in UNKNOWN:
        return math.nan
    if target == "regression":
        return encode_number(text, column=column)
    return float(encode_yes_no(text, column=column, soft=soft) >= HALF)


def _thresholds(question: Question, scores: Sequence[Scores], threshold: float | None) -> Array | None:
    """The threshold of each file and class (F,K); None where the question has none."""
    if question.target in ("regression", "multiclass"):
        return None
    if threshold is not None:
        return np.full((len(scores), len(question.classes)), threshold)
    for one in scores:
        lacking = [name for name in question.classes if name not in one.thresholds]
        if lacking:
            raise ConfigError(
                f"No threshold for {lacking[0]!r} is known for {one.path}: the run.json beside it holds none. Give "
                "--threshold with a value chosen on validation data; it is never chosen on the data evaluated."
            )
    return np.array([[one.thresholds[name] for name in question.classes] for one in scores])


def _decide(question: Question, pairs: Sequence[Pair], values: Array, *, cutoffs: Array | None) -> Array:
    decisions: Array
    if question.target == "regression":
        return np.zeros(values.shape, dtype=bool)
    if cutoffs is not None:
        files = np.array([pair.file for pair in pairs], dtype=int)
        decisions = values >= cutoffs[files]
        return decisions
    named = [pair.score.get("prediction", "") for pair in pairs]
    if pairs and all(name in question.classes for name in named):
        winner = np.array([question.classes.index(name) for name in named])
    else:
        winner = values.argmax(axis=1)
    decisions = winner[:, None] == np.arange(len(question.classes))
    return decisions
