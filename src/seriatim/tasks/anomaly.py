"""Anomaly: what normal sequences look like is learnt, and each frame of a new one is scored by how unlike it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from seriatim.models.detectors import Evidence
from seriatim.models.detectors.network import DetectorSettings
from seriatim.models.detectors.prediction import PredictionSettings
from seriatim.series.batch import IGNORE
from seriatim.settings import Settings
from seriatim.tasks.diagnosis import DiagnosisTask
from seriatim.tasks.diagnosis_settings import DiagnosisSettings
from seriatim.tasks.events import Event, find_events
from seriatim.tasks.labels import read_cell
from seriatim.tasks.normality import fuse, learn_normality
from seriatim.tasks.norms import Norms, drop_unknown, learn_law

Array = NDArray[Any]
UNNAMED = "anomaly"
LEAST_THRESHOLD = float(np.log(2))
"""Half of normal frames lie above it; a lower threshold would tell nothing."""


class AnomalySettings(Settings):
    """Learn normal sequences, and score each frame of others by how unlike normal it is."""

    kind: Literal["anomaly"] = "anomaly"
    methods: tuple[DetectorSettings, ...] = Field(default=(PredictionSettings(),), min_length=1)
    """How: one or more of cloze, causal, memory, gaussian, future, and where frames are labelled supervised. Several
    are fused after each was calibrated."""
    label: str | None = None
    """Manifest column that says which series are abnormal. Those of train are then not learnt from, and those of val
    are only measured. Without it all series of train and val are taken as normal."""
    normal: tuple[str, ...] = ()
    """The values of `label` that mean normal; empty: the column holds 0 (normal) and 1."""
    slice_label: str | None = None
    """Column of `data.slice_labels` with 1 for abnormal frames; null: the name of `label`."""
    false_alarm_rate: float = Field(default=0.01, gt=0, lt=0.5)
    """The share of normal frames that may reach the threshold."""
    false_alarms_per_minute: float | None = Field(default=None, gt=0)
    """Choose the threshold by so many false events per minute of normal validation frames instead."""
    norms_by: Literal["auto", "position", "none"] = "auto"
    """What a frame is compared with: normal frames at the same place along the sequence (`position`: 0 is its first
    frame, 1 its last) or all of them (`none`). auto: `position` for slices, `none` for clips."""
    release: float = Field(default=0.5, gt=0, le=1)
    """An event goes on until the score falls below this share of the threshold (1: no hysteresis)."""
    least_frames: int = Field(default=1, ge=1)
    """Shorter events are dropped."""
    most_gap: int = Field(default=1, ge=0)
    """Events with at most so many frames between them are one."""

    @property
    def target(self) -> Literal["binary"]:
        return "binary"

    @property
    def labels(self) -> tuple[str, ...]:
        return (self.label or UNNAMED,)

    @property
    def slice_labels(self) -> tuple[str, ...]:
        return (self.slice_label,) if self.slice_label else ()

    @property
    def classes(self) -> tuple[str, ...]:
        return ()

    @property
    def outputs(self) -> int:
        return 1

    @property
    def soft_labels(self) -> bool:
        return False

    @model_validator(mode="after")
    def _check(self) -> AnomalySettings:
        kinds = [method.kind for method in self.methods]
        if len(set(kinds)) < len(kinds):
            raise ValueError(f"each method may stand once, not {', '.join(kinds)}")
        if self.normal and self.label is None:
            raise ValueError("normal names values of a column; name the column with label")
        return self

    def build(self) -> AnomalyTask:
        return AnomalyTask(settings=self)


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameScores:
    """One sequence judged: ``surprise`` (S,) is -log p of the fused score, ``parts`` the same of each part.

    ``levels`` (S,) are surprises as numbers from 0 to 1, 0.5 at the threshold; ``level`` is that of the whole sequence:
    of the highest threshold at which it would still have an event, so that it is at least 0.5 where it has one, and a
    single odd frame does not decide where ``least_frames`` asks for more. ``places`` (S,h,w) are raw.
    """

    surprise: NDArray[np.float64]
    parts: Mapping[str, NDArray[np.float64]]
    levels: NDArray[np.float64]
    level: float
    events: tuple[Event, ...]
    places: NDArray[np.float32] | None


@dataclass(frozen=True, kw_only=True)
class AnomalyTask:
    """Labels, norms, scores, metrics and decisions of one anomaly task; ``norms`` are there once they were learnt."""

    settings: AnomalySettings
    norms: Norms | None = None

    outputs = 1
    scores_slices = True
    calibration = None
    conformal = None

    @property
    def question(self) -> DiagnosisTask:
        """The same question as a yes or no of a series: for labels and metrics."""
        return DiagnosisSettings(labels=self.settings.labels, slice_labels=self.settings.slice_labels).build()

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.settings.labels

    def encode_labels(self, row: Mapping[str, str]) -> tuple[float, ...]:
        """A manifest row to (1.0,) abnormal, (0.0,) normal or (IGNORE,).

        Raises:
            ConfigError: the column is missing, or holds no legal value.
        """
        if self.settings.label is None:
            return (IGNORE,)
        if not self.settings.normal:
            return self.question.encode_labels(row)
        cell = read_cell(row, self.settings.label)
        return (IGNORE if not cell else float(cell not in self.settings.normal),)

    def encode_slice_labels(self, row: Mapping[str, str]) -> tuple[float, ...]:
        """A row of the slice-label table to (1.0,), (0.0,) or (IGNORE,)."""
        return self.question.encode_slice_labels(row)

    def harden(self, labels: Array) -> Array:
        """The labels (N,1) as they are: they are yes or no."""
        return labels

    def learn_norms(
        self, normal: Sequence[Sequence[Evidence]], seconds: Sequence[float], *, places: Sequence[Array] | None = None
    ) -> AnomalyTask:
        """The task with the laws and the threshold of the normal validation sequences.

        ``normal`` is the evidence of every detector about each sequence, ``seconds`` how long each lasts (0 where it
        has no times), ``places`` where its frames are along it, from 0 to 1, for norms by position.

        Raises:
            ValueError: there are too few normal frames, or no time to count alarms per minute in.
        """
        told = [_parts(evidence) for evidence in normal]
        laws, weighed = {}, []
        apart = {name for one in normal[0] if one.by_level for name in one.parts}
        for name in told[0]:
            law, surprises = learn_law([one[name] for one in told], places if name in apart else None)
            laws[name] = law
            weighed.append(surprises)
        raws = [fuse(np.stack(parts)) for parts in zip(*weighed, strict=True)]
        fused = learn_normality(drop_unknown(np.concatenate(raws)))
        surprises = [_silent(fused.surprise(raw)) for raw in raws]
        total = float(sum(seconds))
        frames = sum(map(len, surprises))
        learnt = Norms(parts=laws, fused=fused, threshold=-float(np.log(self.settings.false_alarm_rate)), frames=frames,
                       seconds=total)
        wanted = self.settings.false_alarms_per_minute
        if wanted is not None:
            learnt = replace(learnt, threshold=self._threshold(surprises, wanted, total))
        return replace(self, norms=learnt)

    def _threshold(self, surprises: Sequence[Array], wanted: float, seconds: float) -> float:
        """The lowest threshold at and above which normal sequences have at most ``wanted`` events per minute.

        Far below it events grow together, until all of a clip is one: fewer again, and no threshold at all.
        """
        if seconds <= 0:
            raise ValueError("false_alarms_per_minute needs frames with times; set false_alarm_rate instead")
        allowed = wanted * seconds / 60
        levels = np.unique(np.concatenate(surprises))
        found = float(levels[-1]) * (1 + 1e-9) + 1e-9
        for level in levels[levels >= LEAST_THRESHOLD][::-1]:
            if sum(len(self._events(one, float(level))) for one in surprises) > allowed:
                break
            found = float(level)
        return max(found, LEAST_THRESHOLD)

    def _events(self, surprise: Array, threshold: float) -> list[Event]:
        settings = self.settings
        return find_events(surprise, threshold=threshold, release=settings.release * threshold,
                           least_frames=settings.least_frames, most_gap=settings.most_gap)

    def _highest(self, surprise: Array) -> float:
        """The highest threshold at which a sequence has an event; 0 where none is low enough."""
        assert self.norms is not None
        ends = surprise / self.settings.release
        candidates = np.unique(np.concatenate([surprise, ends, [self.norms.threshold]]))
        candidates = candidates[candidates > 0]
        low, high = 0, len(candidates)  # events get fewer as the threshold rises: those below `low` have one
        while low < high:
            middle = (low + high) // 2
            if self._events(surprise, float(candidates[middle])):
                low = middle + 1
            else:
                high = middle
        return float(candidates[low - 1]) if low else 0.0

    def weigh(
        self, evidence: Sequence[Evidence], places: Array | None = None
    ) -> tuple[Array, dict[str, Array]]:
        """Surprises (S,): of the fusion, and of each part (NaN where it says nothing). ``places`` (S,) from 0 to 1 are
        where the frames are along the sequence; only norms by position need them.

        Raises:
            ValueError: the task has no norms yet, or they are by position and no places are given.
        """
        if self.norms is None:
            raise ValueError("an anomaly task judges nothing before it learnt its norms")
        raw = _parts(evidence)
        parts = {name: law.surprise(raw[name], places) for name, law in self.norms.parts.items()}
        return _silent(self.norms.fused.surprise(fuse(np.stack(list(parts.values()))))), parts

    def judge(self, evidence: Sequence[Evidence], places: Array | None = None) -> FrameScores:
        """The scores and events of one sequence; arguments and errors as of ``weigh``."""
        surprise, parts = self.weigh(evidence, places)
        assert self.norms is not None
        threshold = self.norms.threshold
        top = self._highest(surprise)
        maps = [one.places for one in evidence if one.places is not None]
        return FrameScores(
            surprise=surprise, parts=parts, levels=surprise / (surprise + threshold), level=top / (top + threshold),
            events=tuple(self._events(surprise, threshold)),
            places=maps[0].float().cpu().numpy() if maps else None,
        )

    def metrics(self, probabilities: Array, labels: Array) -> dict[str, float]:
        """AUC and average precision of (N,1) scores about (N,1) labels, where both kinds are known."""
        found = self.question.metrics(probabilities, labels)
        return {name: value for name, value in found.items() if name in ("auc", "average_precision")}

    def decide(self, probabilities: Sequence[float] | Array, thresholds: Mapping[str, float]) -> str:
        """1 where the sequence reaches the threshold, else 0."""
        return self.question.decide(probabilities, thresholds)


def _parts(evidence: Sequence[Evidence]) -> dict[str, NDArray[np.float64]]:
    return {
        name: values.detach().cpu().double().numpy() for one in evidence for name, values in one.parts.items()
    }


def _silent(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Nothing said about a frame is no surprise."""
    return np.where(np.isnan(values), 0.0, values)
