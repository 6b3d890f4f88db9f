"""Does the model look where the finding is? Attention and slice scores against the truth of each slice."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from seriatim.errors import ConfigError
from seriatim.evaluation.intervals import Clusters, Estimate, bootstrap, proportion
from seriatim.evaluation.join import Pair, cluster
from seriatim.evaluation.samples import Question
from seriatim.evaluation.scores import Row, Scores, read_number
from seriatim.evaluation.slice_rows import SLICE_SCORE, read_slices
from seriatim.evaluation.slice_truth import Answer, SliceTruth
from seriatim.tasks import metrics

Array: TypeAlias = NDArray[Any]

CLASS_ATTENTION = "attention_"


@dataclass(frozen=True, slots=True, kw_only=True)
class Attended:
    """The slices of one scored series that have a true label.

    ``labels`` (S,) of 0 and 1, ``attention`` (S,), ``scores`` (S,) or None where the model scores no slices; ``top``
    (S,) bool marks the most attended slices of the whole series, several where they tie. ``complete`` is False where
    the truth of a top slice is not known.
    """

    labels: Array
    attention: Array
    scores: Array | None
    top: Array
    complete: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceMeasures:
    """The figures, and beside them what they rest on: the chance level and the series counted and left out."""

    measures: dict[str, Estimate]
    chance: dict[str, float | None]
    series: dict[str, dict[str, int]]


def measure_slices(
    question: Question,
    pairs: Sequence[Pair],
    *,
    scores: Sequence[Scores],
    truth_path: Path,
    names: Sequence[str] = (),
) -> SliceMeasures:
    """Compare attention and slice scores with ``truth_path``: series_uid, sop_instance_uid (or index), labels of 0, 1.

    ``names`` are its label columns in the order of the labels; without them those of run.json, or of the same name.

    Raises:
        ConfigError: a table cannot be read or lacks a column, or no slice of the truth belongs to a scored series.
    """
    truth = SliceTruth.read(truth_path)
    answers = truth.choose(question, scores[0], names)
    slices = [read_slices(one) for one in scores]
    result = SliceMeasures(measures={}, chance={}, series={})
    known = False
    for answer in answers if pairs else ():
        attended = [
            _attend(
                slices[pair.file].of(pair.score),
                truth,
                answer=answer,
                pair=pair,
                where=scores[pair.file].slices_path,
            )
            for pair in pairs
        ]
        known = known or any(attended)
        _measure_name(attended, pairs, suffix=f"_{answer.name}" if len(answers) > 1 else "", result=result)
    if pairs and not known:
        raise ConfigError(f"No label in {truth_path} fits a slice of a scored series. Compare the UIDs in both.")
    return result


def _measure_name(
    attended: Sequence[Attended | None], pairs: Sequence[Pair], *, suffix: str, result: SliceMeasures
) -> None:
    known = [(one, pair) for one, pair in zip(attended, pairs, strict=True) if one is not None]
    positive = [(one, pair) for one, pair in known if one.labels.any()]
    counted = [(one, pair) for one, pair in positive if one.complete]
    chances = [float(one.labels.mean()) for one, _ in counted]
    result.chance[f"top_attended_slice_is_positive{suffix}"] = float(np.mean(chances)) if chances else None
    result.series[f"top_attended_slice_is_positive{suffix}"] = {
        "with_slice_truth": len(known),
        "with_a_positive_slice": len(positive),
        "top_slice_without_truth": len(positive) - len(counted),
    }
    result.measures[f"top_attended_slice_is_positive{suffix}"] = _top_share(counted)
    result.measures[f"slice_auc_of_attention{suffix}"] = _within_area(positive)
    if known and all(one.scores is not None for one, _ in known):
        result.measures[f"slice_auc_of_score{suffix}"] = _slice_area(known)


def _top_share(series: Sequence[tuple[Attended, Pair]]) -> Estimate:
    """The share of series whose most attended slice is positive; of slices that tie, the share of positive ones."""
    if not series:
        return Estimate(value=None, reason="no scored series with a truly positive slice")
    hits = np.array([one.labels[one.top].mean() for one, _ in series])
    clusters, _ = cluster([pair for _, pair in series])
    return proportion(hits, clusters)


def _within_area(positive: Sequence[tuple[Attended, Pair]]) -> Estimate:
    """The AUC of attention over the slices of one series, averaged over the series with both kinds of slices."""
    mixed = [(one, pair) for one, pair in positive if not one.labels.all()]
    areas = np.array([metrics.roc_auc(one.labels, one.attention) for one, _ in mixed])
    clusters, _ = cluster([pair for _, pair in mixed])
    return bootstrap(lambda index: float(areas[index].mean()), clusters)


def _slice_area(known: Sequence[tuple[Attended, Pair]]) -> Estimate:
    """The AUC of the slice score over all slices together, whole patients resampled."""
    clusters, _ = cluster([pair for _, pair in known])
    labels = np.concatenate([one.labels for one, _ in known])
    values = np.concatenate([one.scores for one, _ in known if one.scores is not None])
    whose = np.repeat(clusters.number, [len(one.labels) for one, _ in known])
    return bootstrap(lambda index: metrics.roc_auc(labels[index], values[index]), Clusters(whose))


def _attend(
    rows: Sequence[Row], truth: SliceTruth, *, answer: Answer, pair: Pair, where: Path
) -> Attended | None:
    """The labelled slices of one series, or None where it has none."""
    found = truth.of(rows, answer, study=pair.score.get("study_uid", ""), place=pair.place)
    known = [index for index, label in enumerate(found) if not math.isnan(label)]
    if not known:
        return None
    own = CLASS_ATTENTION + answer.name if CLASS_ATTENTION + answer.name in rows[0] else "attention"
    attention = np.array([read_number(row, own, where=where) for row in rows])
    column = SLICE_SCORE + answer.name if SLICE_SCORE + answer.name in rows[0] else ""
    scored = [read_number(rows[index], column, where=where) for index in known] if column else None
    top = attention == attention.max()
    return Attended(
        labels=np.array([found[index] for index in known]),
        attention=attention[known],
        scores=None if scored is None else np.array(scored),
        top=top[known],
        complete=int(top[known].sum()) == int(top.sum()),
    )
