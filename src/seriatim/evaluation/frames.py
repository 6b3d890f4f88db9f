"""How well an anomaly model finds abnormal frames and events: against the truth of each frame, sequence by sequence."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from seriatim.errors import ConfigError
from seriatim.evaluation.events import EventCounts, Span, count_events
from seriatim.evaluation.intervals import Clusters, Estimate, bootstrap, proportion
from seriatim.evaluation.join import Pair, cluster
from seriatim.evaluation.samples import Question, Samples
from seriatim.evaluation.scores import Row, Scores, read_number
from seriatim.evaluation.slice_rows import SLICE_SCORE, read_slices
from seriatim.evaluation.slice_truth import Answer, SliceTruth
from seriatim.io.tables.outputs import cell_text
from seriatim.tasks import metrics
from seriatim.tasks.events import runs_of

Array: TypeAlias = NDArray[Any]
THRESHOLD = 0.5
"""Where every anomaly model puts its threshold in the score of a frame."""
PART = "surprise_"
"""Before the names of parts in the columns of slices.csv."""
SEQUENCE_COLUMNS = ("number", "series_uid", "volume", "frames", "abnormal_frames", "true_events", "met_events",
                    "found_events", "false_events", "median_delay_frames", "median_delay_s", "duration_s")


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredSequence:
    """One scored sequence of S frames: ``labels`` (S,) of 0, 1 and nan where the truth is not known, ``scores`` (S,).

    ``counts`` are there where every frame's truth is known; ``found`` and ``true`` are its events. ``parts`` are the
    surprises (S,) by each part of the model's methods, 0 where it says nothing.
    """

    pair: Pair
    labels: Array
    scores: Array
    parts: Mapping[str, Array]
    found: Sequence[Span]
    true: Sequence[Span]
    counts: EventCounts | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameMeasures:
    """The figures of frames and events, the series they rest on, and each sequence."""

    measures: dict[str, Estimate]
    chance: dict[str, float | None]
    series: dict[str, dict[str, int]]
    sequences: Sequence[ScoredSequence]


def measure_frames(
    question: Question, pairs: Sequence[Pair], *, samples: Samples, scores: Sequence[Scores],
    truth_path: Path | None, names: Sequence[str] = (),
) -> FrameMeasures:
    """Compare frame scores and events with the truth of frames.

    The truth comes from ``truth_path`` (as for ``measure_slices``), where it says anything about a sequence; all frames
    of another that is labelled normal are normal, and of one that is labelled abnormal nothing is known. Events need
    the truth of every frame: a true event is a run of abnormal frames, a found one that of events.csv (by the column
    ``event`` of slices.csv).

    Raises:
        ConfigError: a table cannot be read or lacks a column, or no row of the truth belongs to a scored sequence.
    """
    answer, truth = None, None
    if truth_path is not None:
        truth = SliceTruth.read(truth_path)
        answer = truth.choose(question, scores[0], names)[0]
    normal = {int(row) for row, label in zip(samples.rows, samples.labels[:, 0], strict=True) if label == 0}
    tables = [read_slices(one) for one in scores]
    sequences, told = [], 0
    for index, pair in enumerate(pairs):
        rows = tables[pair.file].of(pair.score)
        labels = _read_truth(rows, truth, answer, pair=pair)
        told += bool((~np.isnan(labels)).any())
        if np.isnan(labels).all() and index in normal:
            labels = np.zeros(len(rows))
        sequences.append(_read_sequence(rows, labels, pair=pair, question=question, scores=scores[pair.file]))
    if truth_path is not None and pairs and not told:
        raise ConfigError(f"No label in {truth_path} fits a slice of a scored series. Compare the UIDs in both.")
    counted = [one for one in sequences if one.counts is not None]
    series = {"sequences": len(sequences), "with_truth_of_frames": told, "with_truth_of_every_frame": len(counted),
              "with_times": sum(one.counts is not None and one.counts.seconds > 0 for one in counted)}
    return FrameMeasures(measures=_measure_all(sequences) | _measure_events(counted), chance={},
                         series={"frames": series}, sequences=sequences)


def _read_truth(rows: Sequence[Row], truth: SliceTruth | None, answer: Answer | None, *, pair: Pair) -> Array:
    if truth is None or answer is None:
        return np.full(len(rows), np.nan)
    return np.array(truth.of(rows, answer, study=pair.score.get("study_uid", ""), place=pair.place))


def _read_sequence(
    rows: Sequence[Row], labels: Array, *, pair: Pair, question: Question, scores: Scores
) -> ScoredSequence:
    where = scores.slices_path
    if not rows or "event" not in rows[0]:
        raise ConfigError(f"{where} has no rows with events of series {pair.score['series_uid']}. Score it again.")
    values = np.array([read_number(row, SLICE_SCORE + question.classes[0], where=where) for row in rows])
    number = np.array([int(row["event"] or 0) for row in rows])
    found = [span for event in range(1, int(number.max()) + 1) for span in runs_of(number == event)]
    true = runs_of(labels == 1)
    times = None
    if pair.score.get("duration_s"):
        times = [read_number(row, "position", where=where) for row in rows]
    told = not np.isnan(labels).any()
    counts = count_events(found, true, times_s=times, raised=values >= THRESHOLD) if told else None
    parts = {name.removeprefix(PART): np.array([read_number(row, name, where=where) if row[name] else 0.0
                                                for row in rows])
             for name in rows[0] if name.startswith(PART)}
    return ScoredSequence(pair=pair, labels=labels, scores=values, parts=parts, found=found, true=true, counts=counts)


def _measure_all(sequences: Sequence[ScoredSequence]) -> dict[str, Estimate]:
    """The figures of all frames whose truth is known, whole patients (or sequences) resampled."""
    known = [(one, ~np.isnan(one.labels)) for one in sequences if not np.isnan(one.labels).all()]
    if not known:
        return {}
    clusters, _ = cluster([one.pair for one, _ in known])
    labels = np.concatenate([one.labels[told] for one, told in known])
    scores = np.concatenate([one.scores[told] for one, told in known])
    whose = Clusters(np.repeat(clusters.number, [int(told.sum()) for _, told in known]))
    found = {}
    if len(np.unique(labels)) == 2:
        found["frame_auc"] = _area(labels, scores, whose)
        found["frame_average_precision"] = bootstrap(lambda i: metrics.average_precision(labels[i], scores[i]), whose)
        found |= {f"frame_auc_{name}": _area(labels, values, whose) for name, values in _join_parts(known).items()}
    for name, kind in (("frame_sensitivity", 1), ("frame_false_alarm_rate", 0)):
        index = np.flatnonzero(labels == kind)
        if len(index):
            found[name] = proportion(scores[index] >= THRESHOLD, whose.take(index))
    return found


def _area(labels: Array, values: Array, clusters: Clusters) -> Estimate:
    return bootstrap(lambda i: metrics.roc_auc(labels[i], values[i]), clusters)


def _join_parts(known: Sequence[tuple[ScoredSequence, Array]]) -> dict[str, Array]:
    """The surprises of all known frames by each part, where there are several and all sequences have the same."""
    names = list(known[0][0].parts)
    if len(names) < 2 or any(list(one.parts) != names for one, _ in known):
        return {}
    return {name: np.concatenate([one.parts[name][told] for one, told in known]) for name in names}


def _measure_events(counted: Sequence[ScoredSequence]) -> dict[str, Estimate]:
    """Event figures over sequences whose every frame's truth is known, whole patients (or sequences) resampled."""
    if not counted:
        return {}
    clusters, _ = cluster([one.pair for one in counted])
    counts = [one.counts for one in counted if one.counts is not None]
    found = {}
    if any(one.true for one in counts):
        found["event_precision"] = _ratio([one.alarms - one.false for one in counts],
                                          [one.alarms for one in counts], clusters)
        found["event_recall"] = _ratio([one.found for one in counts], [one.true for one in counts], clusters)
    for name, delays in (("event_delay_frames", [one.delays for one in counts]),
                         ("event_delay_s", [one.delays_s for one in counts])):
        if any(map(len, delays)):
            found[name] = _median(delays, clusters)
    timed = np.flatnonzero([one.seconds > 0 for one in counts])
    if len(timed):
        own = [counts[index] for index in timed]
        found["false_alarms_per_minute"] = _ratio([one.false for one in own], [one.seconds / 60 for one in own],
                                                  clusters.take(timed))
    return found


def _ratio(hits: Sequence[float], of: Sequence[float], clusters: Clusters) -> Estimate:
    """A sum over another, over sequences."""
    above, below = np.asarray(hits, dtype=float), np.asarray(of, dtype=float)

    def ratio(index: Array) -> float:
        total = float(below[index].sum())
        return float(above[index].sum()) / total if total > 0 else float("nan")

    return bootstrap(ratio, clusters)


def _median(values: Sequence[Sequence[float]], clusters: Clusters) -> Estimate:
    """The median of the values of several sequences together."""
    own = [np.asarray(one, dtype=float) for one in values]

    def median(index: Array) -> float:
        drawn = np.concatenate([own[one] for one in index])
        return float(np.median(drawn)) if len(drawn) else float("nan")

    return bootstrap(median, clusters)


def write_sequences(found: FrameMeasures, path: Path) -> None:
    """``sequences.csv``: the counts of each sequence whose every frame's truth is known."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(SEQUENCE_COLUMNS)
        for number, one in enumerate(found.sequences, start=1):
            if (counts := one.counts) is not None:
                told = ["" if value is None else value for value in (counts.median_delay, counts.median_delay_s)]
                score = one.pair.score
                writer.writerow([number, cell_text(score["series_uid"]), cell_text(score.get("volume", "")),
                                 len(one.labels), int(one.labels.sum()), counts.true, counts.found, counts.alarms,
                                 counts.false, *told, counts.seconds or ""])
