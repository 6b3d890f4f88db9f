"""Splits are held apart by images too: the same ones in two of them stop a run, or are told."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from seriatim.errors import ConfigError, InputError
from seriatim.experiment import BaseExperiment, Experiment
from seriatim.training.duplicates import Duplicate, Sighting, find_duplicates
from seriatim.training.examples import Example, Examples
from seriatim.training.run_folder import DUPLICATES
from seriatim.training.series_traits import SeriesTraits

logger = logging.getLogger(__name__)


def hold_apart(
    examples: Examples, traits: SeriesTraits, *, experiment: BaseExperiment, known: dict[str, Any] | None
) -> Examples:
    """The examples, whose proof tells too that no two splits share images; ``known`` is what a run found that goes on.

    Raises:
        ConfigError: as of ``prove_no_duplicates``.
    """
    _tell_shared_studies(examples.used)
    found = known or prove_no_duplicates(examples, traits, experiment)
    return replace(examples, proof={**examples.proof, DUPLICATES: found})


def _tell_shared_studies(used: Sequence[Example]) -> None:
    """Warn where two splits share a study, which is one patient's: then `patient` does not tell whose series are. It is
    not refused, since careless anonymisers give many patients one study UID.
    """
    lines: dict[str, dict[str, int]] = defaultdict(dict)
    for one in used:
        split = "train" if one.split == "unlabelled" else one.split
        lines[one.series.study_uid].setdefault(split, one.case.line)
    shared = [sorted(found.values()) for uid, found in lines.items() if uid and len(found) > 1]
    if shared:
        logger.warning("Series of one DICOM study are in different splits: manifest lines %s, %d such studies in all. "
                       "A study is of one patient, so if its UID is right, scores of such a split are too good: give "
                       "all series of a patient the same name in the column of patients.",
                       " and ".join(map(str, shared[0])), len(shared))


def prove_no_duplicates(examples: Examples, traits: SeriesTraits, experiment: BaseExperiment) -> dict[str, Any]:
    """Compare the images of all splits; what `split.json` tells of it. Of the test split only where
    `data.compare_test`, of unlabelled series only where pretraining learns from them.

    Raises:
        ConfigError: two splits share images pixel by pixel, or nearly where `data.near_duplicates` is refuse.
    """
    data = experiment.data
    if data.near_duplicates == "ignore":
        return {"compared": 0}
    skipped = {"test": not data.compare_test,
               "unlabelled": not (isinstance(experiment, Experiment) and experiment.pretraining)}
    sightings, unread = [], 0
    for example in examples.used:
        if skipped.get(example.split):
            continue
        try:
            own = traits.of(example.series)
        except InputError:  # of test or unlabelled: others were read already
            unread += 1
            continue
        # unlabelled ones judge nothing: they may be like those of training, and like no others
        split = "train" if example.split == "unlabelled" else example.split
        sightings.append(Sighting(line=example.case.line, split=split, traits=own))
    found = find_duplicates(sightings)
    same, alike = [one for one in found if one.exact], [one for one in found if not one.exact]
    if same:
        raise ConfigError(f"{_tell(same)} pixel by pixel. {_REPAIR} Or train so: data.near_duplicates=ignore.")
    if alike and data.near_duplicates == "refuse":
        raise ConfigError(f"{_tell(alike)} nearly. Look at them. {_REPAIR} Where they are not the same: "
                          "data.near_duplicates=warn.")
    if alike:
        logger.warning("%s nearly. %s", _tell(alike), _REPAIR)
    return {"compared": len(sightings), "not_read": unread, "same": 0, "nearly_the_same": len(alike),
            "lines": [list(one.lines) for one in alike]}


_REPAIR = "Scores of such a split are too good: put both in one split, under one patient, or remove one."


def _tell(found: Sequence[Duplicate]) -> str:
    first = found[0]
    lines = " and ".join(f"{line} ({split})" for line, split in zip(first.lines, first.splits, strict=True))
    return f"{len(found)} pair(s) of series in different splits show the same images, first manifest lines {lines},"
