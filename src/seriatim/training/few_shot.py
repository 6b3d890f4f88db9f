"""Few labels on purpose: which training patients keep theirs, for learning curves over the number of labelled patients.

The labelled ones of a smaller number are among those of every larger one, and each patient has one role throughout: who
validates at 8 does not train at 16. So two points of a curve differ by what was added, and by nothing else.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from seriatim.errors import ConfigError
from seriatim.experiment import BaseExperiment, DataSettings
from seriatim.io.tables.manifest import Case
from seriatim.series.batch import IGNORE

if TYPE_CHECKING:
    from seriatim.training.split import Split

Groups = Sequence[tuple[str, ...]]
"""For each case what it is a patient of: its class; each label it is positive for, else ``none``; () if unlabelled."""


def name_groups(labels: Sequence[tuple[float, ...]], experiment: BaseExperiment) -> Groups:
    """The groups of which ``data.patients_per_class`` are drawn: classes, positive labels, or all of regression."""
    task = experiment.task
    if task.target == "regression":
        return [("labelled",) if any(value != IGNORE for value in label) else () for label in labels]
    if task.target != "multilabel":
        return [(str(int(label[0])),) if label[0] != IGNORE else () for label in labels]
    named = [tuple(name for name, value in zip(task.labels, label, strict=True) if value == 1) for label in labels]
    return [
        positive or (("none",) if any(value == 0 for value in label) else ())
        for positive, label in zip(named, labels, strict=True)
    ]


def draw_labelled(
    cases: Sequence[Case], splits: Sequence[Split], data: DataSettings, *, groups: Groups, seed: int
) -> list[Split]:
    """Leave ``data.patients_per_class`` training patients of each group their labels; the others become ``unlabelled``.

    Where the manifest names no validation, ``data.validation_fraction`` of the labelled ones (one of each group at
    least) validate, so that the number drawn is the number of labels that the run has seen. A patient's first labelled
    series says the groups; a patient in several groups (multilabel) is drawn with any of them.

    Raises:
        ConfigError: a group has fewer patients than asked for.
    """
    own: dict[str, tuple[str, ...]] = {}
    for case, split, named in zip(cases, splits, groups, strict=True):
        if split == "train" and named:
            own.setdefault(case.patient, named)
    wanted = data.patients_per_class or 0
    order = _shuffle(own, seed=(seed, data.patients_draw))
    for group, members in order.items():
        if len(members) < wanted:
            raise ConfigError(
                f"data.patients_per_class={wanted}: {len(members)} patients that may train are of group {group!r}. Ask "
                f"for at most {min(map(len, order.values()))}."
            )
    labelled = {patient for members in order.values() for patient in members[:wanted]}
    validating = set() if "val" in splits else _validating(order, data.validation_fraction)
    roles: dict[bool, Split] = {True: "val", False: "train"}
    return [
        split if split != "train" else roles[case.patient in validating] if case.patient in labelled else "unlabelled"
        for case, split in zip(cases, splits, strict=True)
    ]


def _shuffle(own: Mapping[str, tuple[str, ...]], *, seed: tuple[int, int]) -> dict[str, list[str]]:
    """The patients of each group in the order in which they are drawn, which does not depend on how many are."""
    members: dict[str, list[str]] = defaultdict(list)
    for patient in sorted(own):
        for group in own[patient]:
            members[group].append(patient)
    generator = np.random.default_rng(seed)
    return {
        group: [members[group][index] for index in generator.permutation(len(members[group]))]
        for group in sorted(members)
    }


def _validating(order: Mapping[str, Sequence[str]], fraction: float) -> set[str]:
    """Who validates: those whose place is where the share of validation steps up; the first group of a patient says."""
    role: dict[str, bool] = {}
    for members in order.values():
        for place, patient in enumerate(members, start=1):
            role.setdefault(patient, _share(place, fraction) > _share(place - 1, fraction))
    return {patient for patient, validates in role.items() if validates}


def _share(count: int, fraction: float) -> int:
    """How many of ``count`` patients validate."""
    return max(1, round(fraction * count)) if count > 1 else 0
