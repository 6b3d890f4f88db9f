"""The series that pretraining learns from and is judged on: whose they are matters, their labels do not."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from seriatim.errors import InputError
from seriatim.experiment import Experiment
from seriatim.io import find_series
from seriatim.io.tables.manifest import read_manifest, read_table
from seriatim.series import Series
from seriatim.trained import refuse_modality
from seriatim.training.duplicates import Sighting, find_duplicates
from seriatim.training.examples import Examples, series_key
from seriatim.training.split import Split
from seriatim.training.traits import Traits

logger = logging.getLogger(__name__)
COLUMNS = ("path", "patient", "series_uid", "volume", "modality", "slices", "source", "use", "reason")
SUFFIX = ".csv"


@dataclass(frozen=True, slots=True, kw_only=True)
class PretrainingSeries:
    """``train`` is learnt from, ``validation`` is not; ``rows`` say of every series looked at what became of it."""

    train: tuple[Series, ...]
    validation: tuple[Series, ...]
    rows: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A series that may be learnt from. ``patient`` is "" where no table tells it; ``source`` the path that was given,
    "" for the run's own manifest.
    """

    series: Series
    patient: str
    source: str


@dataclass(slots=True, kw_only=True)
class HeldOut:
    """What is known of the patients of one split of the run."""

    patients: set[str] = field(default_factory=set)
    studies: set[str] = field(default_factory=set)
    uids: set[str] = field(default_factory=set)
    paths: set[Path] = field(default_factory=set)

    def holds(self, one: Candidate) -> bool:
        series = one.series
        if one.patient in self.patients or series.study_uid in self.studies or series.series_uid in self.uids:
            return True
        return any(place in self.paths for place in (series.path, *series.path.parents))


def gather_pretraining(
    experiment: Experiment, examples: Examples, *, fewest: int, check: Callable[[Series], object],
    traits: Callable[[Series], Traits],
) -> PretrainingSeries:
    """The series of the splits train and unlabelled and those of ``pretraining.unlabelled``. Those of validation judge,
    and with them a share (``data.validation_fraction``) of the unlabelled ones, drawn by patient, else by study.

    A series is left out, with its reason, where it cannot be used, has fewer than ``fewest`` slices, is there already,
    or belongs to a patient of validation (always) or of the test split (unless ``include_test`` says otherwise): by the
    ``patient`` column where the unlabelled manifest has one, by the UIDs of series and study, and by its images
    (``traits``; not where ``data.near_duplicates`` is ignore). ``check`` reads a series (and may keep what it read); an
    InputError leaves it out.

    Raises:
        ConfigError: a manifest cannot be read.
        InputError: a folder does not exist, or nothing is left to learn from or to judge on.
    """
    choice = _Choice(experiment=experiment, held_out=_held_out(experiment, examples),
                     axis=examples.used[0].series.axis, fewest=fewest, check=check)
    candidates = list(_candidates(experiment, examples))
    reasons = {place: choice.refuse(one) for place, (_, one) in enumerate(candidates)}
    given = {place: one.series for place, (_, one) in enumerate(candidates) if one.source and not reasons[place]}
    if given and experiment.data.near_duplicates != "ignore":
        reasons |= _find_copies(given, _judging(experiment, examples), traits)
    found: dict[str, list[Series]] = {"train": [], "validation": []}
    rows: list[Mapping[str, Any]] = []
    for place, (use, one) in enumerate(candidates):
        rows.append(_row(one, use="left out" if reasons[place] else use, reason=reasons[place]))
        if reasons[place]:
            logger.info("left out of pretraining: %s", reasons[place])
        else:
            found[use].append(one.series)
    _require(found, rows)
    return PretrainingSeries(train=tuple(found["train"]), validation=tuple(found["validation"]), rows=tuple(rows))


def _judging(experiment: Experiment, examples: Examples) -> list[Series]:
    """The series that nothing like may be learnt from."""
    settings = experiment.pretraining
    assert settings is not None
    tested = experiment.data.compare_test and not settings.include_test
    return [one.series for one in (*examples.of("val"), *(examples.of("test") if tested else ()))]


def _find_copies(
    given: Mapping[int, Series], judging: Sequence[Series], traits: Callable[[Series], Traits]
) -> dict[int, str]:
    """Which of the given series show the same images, under whatever name, as one that judges."""
    sightings = [Sighting(line=place, split="given", traits=traits(series)) for place, series in given.items()]
    for offset, series in enumerate(judging, start=max(given) + 1):
        try:
            sightings.append(Sighting(line=offset, split="judging", traits=traits(series)))
        except InputError:  # of the test split, which nobody has read yet; what cannot be read is not learnt from
            continue
    copies = {one.lines[0] for one in find_duplicates(sightings)}
    return dict.fromkeys(copies, "it shows the same images as a series of the validation or test split")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Choice:
    """What a series must be to be learnt from."""

    experiment: Experiment
    held_out: Mapping[str, HeldOut]
    axis: str
    fewest: int
    check: Callable[[Series], object]
    seen: set[str] = field(default_factory=set)

    def refuse(self, one: Candidate) -> str:
        """Why a series is left out; "" where it is not."""
        series, key = one.series, series_key(one.series)
        if not series.usable:
            return series.reason
        owner = next((name for name, split in self.held_out.items() if one.source and split.holds(one)), "")
        if owner:
            return f"it belongs to a patient of the {owner} split, who must not be learnt from"
        if key in self.seen:
            return "it is there already"
        self.seen.add(key)
        return self._misfit(series) or refuse_modality(series, self._modalities) or self._read(series)

    @property
    def _modalities(self) -> Sequence[str]:
        return self.experiment.preprocessing.modalities

    def _misfit(self, series: Series) -> str:
        if series.axis != self.axis:
            return f"it runs in {series.axis}, the series of the manifest run in {self.axis}"
        if len(series.instances) < self.fewest:
            return f"it has {len(series.instances)} slices, and pretraining needs {self.fewest} or more"
        return ""

    def _read(self, series: Series) -> str:
        try:
            self.check(series)
        except InputError as error:
            return str(error)
        return ""


def _candidates(experiment: Experiment, examples: Examples) -> Iterator[tuple[str, Candidate]]:
    """All series with what they would be used for; those of the run's own manifest have no source."""
    splits: tuple[Split, ...] = ("val", "train", "unlabelled")
    for split in splits:
        for example in examples.of(split):
            one = Candidate(series=example.series, patient=example.case.patient, source="")
            yield {"val": "validation", "train": "train"}.get(split) or _draw_use(one, experiment), one
    settings = experiment.pretraining
    assert settings is not None
    for path in settings.unlabelled:
        for one in _read_manifest(path, experiment) if path.suffix == SUFFIX else _read_folder(path, experiment):
            yield _draw_use(one, experiment), one


def _draw_use(one: Candidate, experiment: Experiment) -> str:
    """By the digest of whose it is, so that it depends on nothing else that is there."""
    whose = one.patient or one.series.study_uid
    drawn = int.from_bytes(hashlib.sha256(f"{experiment.seed} {whose}".encode()).digest()[:8], "big") / 2**64
    return "validation" if drawn < experiment.data.validation_fraction else "train"


def _read_folder(path: Path, experiment: Experiment) -> Iterator[Candidate]:
    data = experiment.data
    for series in find_series(path, data.findings, sequence=data.sequence, limits=data.reading.limits).series:
        yield Candidate(series=series, patient="", source=str(path))


def _read_manifest(path: Path, experiment: Experiment) -> Iterator[Candidate]:
    """The series of every row: all below its path, or the one that ``series_uid`` and ``volume`` name."""
    column = experiment.data.patient
    named = column in read_table(path)[0]
    for case in read_manifest(path, patient=column if named else "path"):
        for one in _read_folder(case.path, experiment):
            if case.series_uid in ("", one.series.series_uid) and case.volume in ("", one.series.volume):
                yield Candidate(series=one.series, patient=case.patient if named else "", source=str(path))


def _held_out(experiment: Experiment, examples: Examples) -> dict[str, HeldOut]:
    settings = experiment.pretraining
    assert settings is not None
    held_out = {"validation": _of_split(examples, "val")}
    return held_out if settings.include_test else {**held_out, "test": _of_split(examples, "test")}


def _of_split(examples: Examples, split: Split) -> HeldOut:
    """A row that could not be used still tells whose series must not be learnt from."""
    held_out = HeldOut()
    for example in examples.of(split):
        held_out.patients.add(example.case.patient)
        held_out.studies.add(example.series.study_uid)
        held_out.uids.add(example.series.series_uid)
    for left in examples.left_out:
        if left.split == split:
            held_out.patients.add(left.case.patient)
            if left.case.series_uid:
                held_out.uids.add(left.case.series_uid)
            else:
                held_out.paths.add(left.case.path)
    for names in (held_out.patients, held_out.studies, held_out.uids):
        names.discard("")
    return held_out


def _row(one: Candidate, *, use: str, reason: str) -> dict[str, Any]:
    series = one.series
    return {
        "path": series.path, "patient": one.patient, "series_uid": series.series_uid, "volume": series.volume,
        "modality": series.modality, "slices": len(series.instances),
        "source": one.source or "data.manifest", "use": use, "reason": reason,
    }  # fmt: skip


def _require(found: Mapping[str, Sequence[Series]], rows: Sequence[Mapping[str, Any]]) -> None:
    reason = next((str(row["reason"]) for row in rows if row["reason"]), "none was found")
    for use, series in found.items():
        if not series:
            raise InputError(f"No series is left for the {use} of pretraining; the first was left out because {reason}")
