"""The examples of a run: manifest rows joined to the series found on disk, with their labels as numbers."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from seriatim.errors import ConfigError, InputError
from seriatim.experiment import BaseExperiment, Experiment
from seriatim.io import find_series
from seriatim.io.tables.manifest import Case, read_manifest
from seriatim.io.tables.slice_labels import SliceLabels, read_slice_labels
from seriatim.series import Series
from seriatim.series.batch import IGNORE
from seriatim.tasks import AnomalyTask, AnyTask
from seriatim.trained import refuse_modality
from seriatim.training.few_shot import name_groups
from seriatim.training.split import Split, assign_folds, assign_splits, prove_split

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One series of one split. ``labels`` (K or 1,), ``slice_labels`` (S,K); IGNORE where not known."""

    case: Case
    series: Series
    split: Split
    labels: tuple[float, ...]
    slice_labels: NDArray[np.float32]

    @property
    def key(self) -> str:
        """What tells this series from all others: see ``series_key``."""
        return series_key(self.series)


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """A manifest row that cannot be used, and why."""

    case: Case
    split: Split
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Examples:
    """All rows of the manifest: the used, the left out, and the proof of the split: what ``split.json`` holds.

    The proof says that no patient is in two splits, and fixes series, splits and labels by a digest.
    """

    used: tuple[Example, ...]
    left_out: tuple[LeftOut, ...]
    proof: dict[str, object]

    def of(self, split: Split) -> tuple[Example, ...]:
        return tuple(example for example in self.used if example.split == split)


def series_key(series: Series) -> str:
    """The series UID with a digest of all its slices: careless anonymisers give many series one UID."""
    digest = hashlib.sha256(f"{series.study_uid}|{series.volume}".encode())
    for instance in series.instances:
        digest.update(f"|{instance.sop_instance_uid}:{instance.frame}".encode())
    return f"{series.series_uid}#{digest.hexdigest()[:16]}"


def gather_examples(
    experiment: BaseExperiment, task: AnyTask, check: Callable[[Series], object], *, labelled: bool = True,
    only: Collection[Split] = (),
) -> Examples:  # fmt: skip
    """Read the manifest, split it, and find each series. A bad series is left out with its reason, and logged.

    ``check`` reads a series of train or val (and may keep what it read); an InputError leaves the series out. Where the
    run is not ``labelled`` the manifest needs no labels, though those it has are split by. With ``only`` just the
    series of these splits are looked for, and they may be missing: what is left of the data of an earlier run.

    Raises:
        ConfigError: the manifest or a label is wrong, or a series (by content) stands in two splits.
        InputError: no series is left to train or to validate with.
    """
    data = experiment.data
    cases = read_manifest(data.manifest, patient=data.patient, look=not only)
    labels = _encode_labels(cases, task, manifest=data.manifest, needed=labelled)
    splits = _split(cases, labels, experiment)
    columns = experiment.task.slice_labels or experiment.task.labels
    table = data.slice_labels if labelled else None
    slice_labels = read_slice_labels(table, labels=columns) if table else SliceLabels()
    used: list[Example] = []
    left_out: list[LeftOut] = []
    for case, split, label in zip(cases, splits, labels, strict=True):
        if only and split not in only:
            continue
        try:
            series = _pick(case, experiment)
            if split in ("train", "val"):
                check(series)
        except InputError as error:
            logger.warning("left out%s: %s", "" if only else " of training", error)
            left_out.append(LeftOut(case=case, split=split, reason=str(error)))
            continue
        per_slice = _label_slices(series, case, slice_labels, task)
        example = Example(case=case, series=series, split=split, labels=label, slice_labels=per_slice)
        used.append(_without_labels(example) if split == "unlabelled" else example)
    _refuse_twins(used)
    if not only:
        _require_enough(used, left_out, labelled=labelled and not isinstance(task, AnomalyTask))
    _require_one_axis(used)
    if table and not only and not any((example.slice_labels != IGNORE).any() for example in used):
        raise ConfigError(
            f"No row of {table} labels a slice of the manifest's series: its UIDs or paths differ, or it "
            f"has no column {', '.join(columns)}. Correct the table, or leave data.slice_labels out."
        )
    if slice_labels.unused_count and not only:
        logger.warning("%d of %d slice-label rows fit no slice of the manifest's series.", slice_labels.unused_count,
                       len(slice_labels))
    proof = {**prove_split(cases, splits), "labels_sha256": _digest(used)}
    return Examples(used=tuple(used), left_out=tuple(left_out), proof=proof)


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """A manifest row with its split, its stratum (what draws keep the shares of), and whether any label is known."""

    case: Case
    split: Split
    stratum: str
    labelled: bool


def plan_splits(experiment: Experiment) -> list[Planned]:
    """The split of every manifest row as ``gather_examples`` would have it; no file of a series is looked for.

    Raises:
        ConfigError: the manifest, a label or a split is wrong.
    """
    data = experiment.data
    cases = read_manifest(data.manifest, patient=data.patient, look=False)
    labels = _encode_labels(cases, experiment.task.build(), manifest=data.manifest)
    return [
        Planned(case=case, split=split, stratum=stratum, labelled=any(value != IGNORE for value in label))
        for case, split, stratum, label in zip(
            cases, _split(cases, labels, experiment), _strata(labels, experiment), labels, strict=True
        )
    ]


def fold_table(experiment: BaseExperiment) -> list[dict[str, str]]:
    """``path``, ``patient`` and ``fold`` of every manifest row, in its order.

    Raises:
        ConfigError: the manifest or a label is wrong, or there are no folds.
    """
    data = experiment.data
    cases = read_manifest(data.manifest, patient=data.patient)
    labels = _encode_labels(cases, experiment.task.build(), manifest=data.manifest)
    strata = _strata(_harden(labels, experiment), experiment)
    folds = assign_folds(cases, data, strata=strata, seed=experiment.seed)
    return [
        {"path": case.row["path"], "patient": case.patient, "fold": fold}
        for case, fold in zip(cases, folds, strict=True)
    ]


def digest_labels(experiment: BaseExperiment) -> str:
    """SHA-256 of what is told to be true: the labels of every manifest row, and the file of slice labels.

    Raises:
        ConfigError: the manifest or a label is wrong.
    """
    data = experiment.data
    cases = read_manifest(data.manifest, patient=data.patient)
    labels = _encode_labels(cases, experiment.task.build(), manifest=data.manifest)
    told = [(case.row["path"], one) for case, one in zip(cases, labels, strict=True)]
    digest = hashlib.sha256(repr(told).encode())
    digest.update(data.slice_labels.read_bytes() if data.slice_labels else b"")
    return digest.hexdigest()


def held_out_series(experiment: BaseExperiment) -> list[Series]:
    """The usable series of the test split, found from headers."""
    examples = gather_examples(experiment, experiment.task.build(), check=lambda _: None)
    return [example.series for example in examples.of("test")]


def _split(cases: Sequence[Case], labels: Sequence[tuple[float, ...]], experiment: BaseExperiment) -> list[Split]:
    hard = _harden(labels, experiment)
    strata, groups = _strata(hard, experiment), name_groups(hard, experiment)
    return assign_splits(cases, experiment.data, strata=strata, groups=groups, seed=experiment.seed)


def _harden(labels: Sequence[tuple[float, ...]], experiment: BaseExperiment) -> list[tuple[float, ...]]:
    task = experiment.task.build()
    return [tuple(row) for row in task.harden(np.array(labels, dtype=float)).tolist()]


def _strata(labels: Sequence[tuple[float, ...]], experiment: BaseExperiment) -> list[str]:
    """What splits and folds are alike in: the labels; nothing where these are numbers."""
    return ["" if experiment.task.target == "regression" else str(label) for label in labels]


def _pick(case: Case, experiment: BaseExperiment) -> Series:
    data = experiment.data
    found = find_series(case.path, data.findings, sequence=data.sequence, limits=data.reading.limits).series
    if case.series_uid:
        found = tuple(series for series in found if series.series_uid == case.series_uid)
        if not found:
            raise InputError(
                f"{case.path} does not hold the series_uid of its manifest row. Correct the path or the UID."
            )
    if case.volume:
        found = tuple(series for series in found if series.volume == case.volume)
        if not found:
            raise InputError(f"{case.path} holds no volume {case.volume!r}. `seriatim inspect` shows its volumes.")
    usable = [series for series in found if series.usable]
    if not usable:
        raise InputError(f"{case.path}: {found[0].reason if found else 'no series was found there'}")
    if len(usable) > 1:
        raise InputError(
            f"{case.path} holds {len(usable)} usable series, and a label belongs to one. "
            "Add a column series_uid, or volume."
        )
    refusal = refuse_modality(usable[0], experiment.preprocessing.modalities)
    if refusal:
        raise InputError(refusal)
    return usable[0]


def _without_labels(example: Example) -> Example:
    unknown = (IGNORE,) * len(example.labels)
    return replace(example, labels=unknown, slice_labels=np.full_like(example.slice_labels, IGNORE))


def _label_slices(series: Series, case: Case, table: SliceLabels, task: AnyTask) -> NDArray[np.float32]:
    unknown = (IGNORE,) * task.outputs
    rows = [unknown if row is None else task.encode_slice_labels(row) for row in table.of(series, case)]
    return np.asarray(rows, dtype=np.float32)


def _digest(used: Sequence[Example]) -> str:
    """SHA-256 of which series is in which split with which labels: a run goes on with what it began with."""
    digest = hashlib.sha256()
    for example in used:
        digest.update(f"{example.key} {example.split} {example.labels}".encode())
        digest.update(example.slice_labels.tobytes())
    return digest.hexdigest()


def _encode_labels(
    cases: Sequence[Case], task: AnyTask, *, manifest: Path, needed: bool = True
) -> list[tuple[float, ...]]:
    if not needed and not set(task.settings.labels) <= set(cases[0].row):
        return [(IGNORE,) * (1 if task.settings.target == "multiclass" else task.outputs)] * len(cases)
    labels = []
    for line, case in enumerate(cases, start=2):
        try:
            labels.append(task.encode_labels(case.row))
        except ConfigError as error:
            raise ConfigError(f"{manifest}, line {line}: {error}") from error
    return labels


def _refuse_twins(used: Sequence[Example]) -> None:
    first: dict[str, Example] = {}
    for example in used:
        other = first.setdefault(example.key, example)
        if other is not example:
            raise ConfigError(
                f"Series {example.series.series_uid} stands in {other.split} and in {example.split}, under two paths. "
                "The same images twice make scores too good, or labels contradict; remove one."
            )


def _require_one_axis(used: Sequence[Example]) -> None:
    axes = {example.series.axis for example in used}
    if len(axes) > 1:
        raise ConfigError("The manifest mixes series in space (slices) and in time (frames). Train one model for each.")


def _require_enough(used: Sequence[Example], left_out: Sequence[LeftOut], *, labelled: bool) -> None:
    for split in ("train", "val"):
        if not any(example.split == split for example in used):
            reason = left_out[0].reason if left_out else "the manifest names none"
            raise InputError(
                f"No usable series for {split}: {len(left_out)} were left out, the first because: {reason}"
            )
        known = any(label != IGNORE for example in used if example.split == split for label in example.labels)
        if labelled and not known:
            raise InputError(f"No series of {split} has a known label. Fill in the label columns of the manifest.")
