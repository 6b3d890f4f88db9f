"""Nobody may judge a run who was learnt from by those that it starts from."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from seriatim.errors import ConfigError
from seriatim.experiment import BaseExperiment
from seriatim.trained.lineage import MANIFEST, read_uses, source_of, walk_lineage
from seriatim.training.examples import Examples
from seriatim.training.split import Split

logger = logging.getLogger(__name__)
FORBIDDEN: Mapping[Split, frozenset[str]] = {"val": frozenset({"train"}), "test": frozenset({"train", "val"})}
"""By split, what no series or patient of it may have been used for before."""
Uses = Mapping[str, frozenset[str]]


def refuse_seen(examples: Examples, experiment: BaseExperiment) -> None:
    """Hold the series and patients that judge this run apart from those that the run it starts from learnt from, with
    or without labels, or, of the test split, was chosen by; and so for the run which that one started from itself.

    It warns where a run tells no series, or tells some without a patient: then it cannot be checked.

    Raises:
        ConfigError: a series was used; or a patient's id was, and `data.source_patients` is refuse.
    """
    for run in walk_lineage(source_of(experiment)):
        used = _read_used(run)
        for split in FORBIDDEN:
            _refuse_series(examples, used, split=split, run=run)
            _judge_patients(examples, used, split=split, run=run, refuse=experiment.data.source_patients == "refuse")
        if used.nameless:
            logger.warning("%s learnt from %d series of which it knows no patient, so whether they are of patients of "
                           "this run's val or test split cannot be told.", run, used.nameless)
        if not used.told:
            logger.warning("%s was copied without %s, so whether it learnt from series or patients of this run's val "
                           "or test split cannot be told.", run, MANIFEST)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Used:
    """What a run used series, by UID, and patients, by id, for; how many series it learnt from that have no patient."""

    series: Uses
    patients: Uses
    nameless: int
    told: bool


def _refuse_series(examples: Examples, used: _Used, *, split: Split, run: Path) -> None:
    count = sum(bool(used.series.get(one.series.series_uid, frozenset()) & FORBIDDEN[split])
                for one in examples.of(split))
    if count:
        raise ConfigError(
            f"{count} series of the {split} split were used in training {run}, so scores on them would be too good. "
            "Start from a run that never saw them, or pretrain within this run, which leaves them out."
        )


def _judge_patients(examples: Examples, used: _Used, *, split: Split, run: Path, refuse: bool) -> None:
    patients = {one.case.patient for one in examples.of(split)}
    count = sum(bool(used.patients.get(patient, frozenset()) & FORBIDDEN[split]) for patient in patients)
    if not count:
        return
    found = (f"{count} patient(s) of the {split} split have the ids of patients whose other series were used in "
             f"training {run}")
    if refuse:
        raise ConfigError(
            f"{found}, so scores on them would be too good. Start from a run that never saw them; where the two "
            "manifests call different people alike, give them other ids, or allow it: data.source_patients=warn."
        )
    logger.warning("%s. Where they are the same people, scores on them are too good.", found)


def _read_used(run: Path) -> _Used:
    series: dict[str, set[str]] = defaultdict(set)
    patients: dict[str, set[str]] = defaultdict(set)
    nameless: set[str] = set()
    for uid, patient, use in read_uses(run):
        series[uid].add(use)
        if patient:
            patients[patient].add(use)
        elif use == "train":
            nameless.add(uid)
    frozen = [{key: frozenset(uses) for key, uses in one.items() if key} for one in (series, patients)]
    return _Used(series=frozen[0], patients=frozen[1], nameless=len(nameless), told=(run / MANIFEST).is_file())
