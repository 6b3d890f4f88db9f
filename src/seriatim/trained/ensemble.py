"""Several trained models as one: each scores a series, and the mean of their probabilities is the score."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any, TypeAlias

import torch
from numpy.typing import NDArray
from torch import Tensor

from seriatim.errors import ModelError
from seriatim.experiment import Experiment
from seriatim.experiment.envelope import Outside
from seriatim.io import Limits
from seriatim.io.tables.outputs import write_json
from seriatim.models.encoder import digest_weights
from seriatim.series import Series, Volume
from seriatim.tasks import DiagnosisTask
from seriatim.trained.backends import Compute
from seriatim.trained.device import choose_device
from seriatim.trained.envelope import UNKNOWN_MODALITY, Verdict
from seriatim.trained.files import ENSEMBLE
from seriatim.trained.model import Model, load_model
from seriatim.trained.prepared import PreparedSeries, prepare_series
from seriatim.trained.splits import choose_split, merge_splits, read_splits
from seriatim.trained.stored import StoredSeries

FORMAT = 1
VALIDATION, MEAN = "validation", "mean of the members' thresholds, not validated"
Given = Path | str | Model
AnySeries: TypeAlias = PreparedSeries | StoredSeries


@dataclass(frozen=True, slots=True, kw_only=True)
class EnsembleScores:
    """The mean of the members' answers for one series, on the CPU in float64.

    ``probabilities`` (K,), ``attention`` (S,), ``slice_probabilities`` (S,K). ``disagreement`` (K,) is the standard
    deviation of the members' probabilities around their mean (of all members, not an estimate from them): what of the
    mixture's spread is not each member's own doubt. Empty (0,) of one member.
    """

    probabilities: Tensor
    attention: Tensor
    class_attention: Tensor
    slice_probabilities: Tensor
    disagreement: Tensor
    verdict: Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """A member, and what it sees of one series: its slices, and their embeddings (S,E) in each view of pictures."""

    member: Model
    series: AnySeries
    views: tuple[Tensor, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ensemble:
    """One model, or several that answer the same question; ``thresholds_from`` says how the thresholds were chosen.

    The mean is that of probabilities, each member's calibrated by its own validation: the members are a mixture with
    even weights (Lakshminarayanan, Pritzel and Blundell 2017, section 2.4). The log loss and Brier score of the mean
    are never worse than the members' mean log loss and Brier score (both are convex), and one member that is sure and
    wrong cannot outvote the others, as it can where logits are averaged. ``groups`` are the members by preprocessing,
    and within by encoder: a series is prepared once for each preprocessing and embedded once for each encoder.
    """

    groups: tuple[tuple[tuple[Model, ...], ...], ...]
    thresholds: Mapping[str, float]
    thresholds_from: str
    limits: Limits

    @property
    def members(self) -> tuple[Model, ...]:
        """All models, in an order that depends on the models alone."""
        return tuple(sorted((one for group in self.groups for alike in group for one in alike), key=_digest_of))

    @property
    def experiment(self) -> Experiment:
        """That of one member: what is asked, and how series are found, is the same for all."""
        return self.members[0].experiment

    @property
    def task(self) -> DiagnosisTask:
        """That of one member; its calibration and sets are its own."""
        return self.members[0].task

    @property
    def stand_ins(self) -> tuple[str, ...]:
        """The classes where the threshold of a member is none that validation chose."""
        return tuple(dict.fromkeys(name for one in self.members for name in one.stand_ins))

    @property
    def attends_by_class(self) -> bool:
        """Whether all members have an attention of each class."""
        return all(one.network.attends_by_class for one in self.members)

    @property
    def digest(self) -> str:
        """The digest of the one model, or that of all digests."""
        digests = [one.digest for one in self.members]
        return digests[0] if len(digests) == 1 else hashlib.sha256(" ".join(digests).encode()).hexdigest()

    @property
    def compute(self) -> Compute:
        """What computes the members; of several without the digests of what was exported of each."""
        found = [one.compute for one in self.members]
        return found[0] if len(found) == 1 else replace(found[0], export="", encoder="")

    @property
    def answer_key(self) -> str:
        """All that scores depend on beside the series: the models, and what computes them."""
        return " ".join([self.digest, *(one.compute.key for one in self.members)])

    def refuse(self, series: Series) -> str:
        """Why a member must not score a series; "" where all may."""
        members = self.members
        for place, member in enumerate(members, start=1):
            reason = member.refuse(series)
            if reason:
                return reason if len(members) == 1 or not series.usable else f"{reason} (Model {place} of run.json.)"
        return ""

    def note(self, series: Series) -> tuple[str, ...]:
        """The codes of what any member noticed."""
        return tuple(dict.fromkeys(code for member in self.members for code in member.note(series)))

    @property
    def card(self) -> str:
        """The CUDA device that all members compute on, to which ``prepare`` leaves all it can; "" where there is none.

        Then what is prepared of a volume holds its numbers as they are stored.
        """
        homes = {one.compute.home for one in self.members}
        return homes.pop() if len(homes) == 1 and all(one.partition(":")[0] == "cuda" for one in homes) else ""

    def prepare(self, volume: Volume) -> tuple[AnySeries, ...]:
        """A volume on the grid of each group of members: all of it that ``score`` needs."""
        card = self.card
        return tuple(prepare_series(volume, group[0][0].experiment.preprocessing, card=card) for group in self.groups)

    def score(self, prepared: Sequence[AnySeries]) -> EnsembleScores:
        """What the members say of one series, averaged; the order in which they were given changes no bit."""
        return self.judge(self.look(prepared))

    def look(self, prepared: Sequence[AnySeries]) -> Iterator[Look]:
        """What each member sees of one series, which is embedded as seldom as can be."""
        for group, series in zip(self.groups, prepared, strict=True):
            for alike in group:
                views = alike[0].embed(series)
                yield from (Look(member=one, series=series, views=views) for one in alike)

    def judge(self, looks: Iterable[Look]) -> EnsembleScores:
        """What ``score`` says, of a series that all members have looked at."""
        found = [
            (one.member.digest, one.member.read(one.views), one.member.judge(one.series.intensity, one.views[0]))
            for one in looks
        ]
        found.sort(key=lambda told: told[0])
        scores = [one for _, one, _ in found]
        probabilities = torch.stack([one.probabilities for one in scores])
        return EnsembleScores(
            probabilities=probabilities.mean(dim=0),
            attention=torch.stack([one.attention for one in scores]).mean(dim=0),
            class_attention=torch.stack([one.class_attention for one in scores]).mean(dim=0)
            if self.attends_by_class else scores[0].class_attention[:, :0],
            slice_probabilities=torch.stack([one.slice_probabilities for one in scores]).mean(dim=0),
            disagreement=probabilities.std(dim=0, correction=0) if len(scores) > 1 else probabilities.new_zeros(0),
            verdict=_join_verdicts([verdict for _, _, verdict in found]),
        )

    def with_outside(self, outside: Outside | None) -> Ensemble:
        """The same, whose members refuse or only note what lies outside of their training; as they are where None."""
        groups = tuple(
            tuple(tuple(one.with_outside(outside) for one in alike) for alike in group) for group in self.groups
        )
        return replace(self, groups=groups)

    def with_limits(self, limits: Limits) -> Ensemble:
        """The same, for which series are read under other limits."""
        return replace(self, limits=limits)

    def tell_set(self, probabilities: Sequence[float] | NDArray[Any]) -> str:
        """The prediction set of one model; "" of several: the promise of each is about its own probabilities."""
        return self.task.tell_set(probabilities) if len(self.members) == 1 else ""

    def read_splits(self) -> dict[str, str]:
        """The split of each series UID: what one member was trained on, all were; what one was tuned on likewise."""
        return merge_splits([read_splits(member.path) for member in self.members])

    def find_split(self, split: str) -> set[str]:
        """The series UIDs of a split of all members, to score just the held-out part.

        Raises:
            ConfigError: there are none.
        """
        several = f"What is left by {len(self.members)} models, each of which may have been trained on it,"
        where = several if len(self.members) > 1 else str(self.members[0].path)
        return choose_split(self.read_splits(), split, where=where)


def load_ensemble(models: Given | Sequence[Given], *, device: str = "cpu", compute: Compute | None = None) -> Ensemble:
    """Load one or more models for scoring.

    The thresholds of one model are its own. Those of a folder of ``seriatim crossval`` were chosen on the series that
    each fold left out. Those of several are the mean over the members: no data is at hand that none of them was
    trained on, so they are not validated.

    Args:
        models: run folders, folders of ``seriatim crossval`` (all their folds), or what ``load_model`` made.
        device: as for ``load_model``.
        compute: what computes those that are loaded, in place of torch on ``device``: see ``choose_compute``.

    Raises:
        ConfigError: a library or the precision that was asked for is not there.
        ModelError: a model is incomplete or changed, given twice, answers another question than the first, or was not
            exported for ``compute``.
    """
    given = [models] if isinstance(models, Path | str | Model) else list(models)
    if not given:
        raise ModelError("No model was given. Name one or more run folders.")
    compute = compute or Compute(device=choose_device(device))
    loaded = [_load(one, compute) for one in given]
    members = [member for own, _ in loaded for member in own]
    _refuse_twins(members)
    _refuse_unlike(members)
    names = members[0].thresholds
    return Ensemble(
        groups=_group(members),
        thresholds={name: fmean(one.thresholds[name] for one in members) for name in names},
        thresholds_from=loaded[0][1] if len(loaded) == 1 else MEAN,
        limits=members[0].limits,
    )


def write_ensemble(folder: Path, *, members: Mapping[str, str], thresholds: Mapping[str, float], source: str) -> None:
    """Write ``ensemble.json``, which makes a folder of runs one model.

    ``members`` maps each run, relative to the folder, to its digest; ``source`` says what the thresholds were chosen
    on.
    """
    content = {"format": FORMAT, "members": dict(members), "thresholds": dict(thresholds), "thresholds_from": source}
    write_json(folder / ENSEMBLE, content)


def _join_verdicts(verdicts: Sequence[Verdict]) -> Verdict:
    """What any of the members says: the first reason, all notes, and the largest distance."""
    distances = [one.distance for one in verdicts if one.distance is not None]
    return Verdict(
        reason=next((one.reason for one in verdicts if one.reason), ""),
        notes=tuple(dict.fromkeys(note for one in verdicts for note in one.notes)),
        distance=max(distances, default=None),
    )


def _load(given: Given, compute: Compute) -> tuple[list[Model], str]:
    """The members behind one name, with the thresholds to use, and what these were chosen on."""
    if isinstance(given, Model):
        return [given], VALIDATION
    folder = Path(given)
    if not (folder / ENSEMBLE).is_file():
        return [_load_run(folder, compute)], VALIDATION
    members, thresholds, source = _read_ensemble(folder)
    loaded = [_load_run(folder / name, compute) for name in members]
    for model, digest in zip(loaded, members.values(), strict=True):
        if model.digest != digest:
            raise ModelError(f"{model.path} is not the model that {folder / ENSEMBLE} names. Run crossval again.")
    return [model.with_thresholds(thresholds) for model in loaded], source


def _load_run(folder: Path, compute: Compute) -> Model:
    return load_model(folder, device=compute.home).with_compute(compute)


def _read_ensemble(folder: Path) -> tuple[dict[str, str], dict[str, float], str]:
    try:
        content: Any = json.loads((folder / ENSEMBLE).read_text(encoding="utf-8"))
        members = {str(name): str(digest) for name, digest in content["members"].items()}
        thresholds = {str(name): float(value) for name, value in content["thresholds"].items()}
        legal = content["format"] == FORMAT and members and not any(_leaves(name) for name in members)
        source = str(content["thresholds_from"])
    except (OSError, LookupError, TypeError, ValueError, AttributeError) as error:
        raise ModelError(f"{folder / ENSEMBLE} cannot be read: {error}. Run crossval again.") from error
    if not legal:
        raise ModelError(f"{folder / ENSEMBLE} is not of format {FORMAT}, with runs in its own folder.")
    return members, thresholds, source


def _leaves(name: str) -> bool:
    return Path(name).is_absolute() or ".." in Path(name).parts


def _refuse_twins(members: Sequence[Model]) -> None:
    first: dict[str, Model] = {}
    for member in members:
        if first.setdefault(member.digest, member) is not member:
            raise ModelError(f"{member.path} is given twice, and would count twice. Give each model once.")


def _refuse_unlike(members: Sequence[Model]) -> None:
    facts: dict[str, Callable[[Model], Any]] = {
        "task.target": lambda one: one.experiment.task.target,
        "task.labels": lambda one: one.experiment.task.labels,
        "task.classes": lambda one: one.experiment.task.classes,
        "task.slice_labels": lambda one: one.experiment.task.slice_labels or one.experiment.task.labels,
        "whether slices are scored (task.slice_loss_weight)": lambda one: one.task.scores_slices,
        "the axis of series": lambda one: one.envelope.axis,
        "data.sequence": lambda one: one.experiment.data.sequence,
        "data.findings": lambda one: one.experiment.data.findings,
    }
    first = members[0]
    for other in members[1:]:
        told = {name: (read(first), read(other)) for name, read in facts.items()}
        told["the modality"] = _tell_modalities(first, other)
        for name, (mine, theirs) in told.items():
            if mine != theirs:
                raise ModelError(
                    f"{first.path} and {other.path} cannot be averaged: {name} is {mine} for the one and {theirs} for "
                    "the other. Give models that answer the same question about the same kind of series."
                )


def _tell_modalities(first: Model, other: Model) -> tuple[Any, Any]:
    """The modalities of both, told alike where some series may be scored by both."""
    own = [one.experiment.preprocessing.modalities or one.envelope.modalities for one in (first, other)]
    open_to_all = any(not names or UNKNOWN_MODALITY in names for names in own)
    return ("", "") if open_to_all or set(own[0]) & set(own[1]) else (", ".join(own[0]), ", ".join(own[1]))


def _group(members: Sequence[Model]) -> tuple[tuple[tuple[Model, ...], ...], ...]:
    groups: dict[str, dict[str, list[Model]]] = {}
    for member in members:
        experiment = member.experiment
        encoder = experiment.network.encoder.model_dump_json(exclude={"weights", "freeze"})
        flip = experiment.test_time.flip_left_right
        weights = digest_weights(member.network.encoder).hex() if len(members) > 1 else ""
        own = f"{encoder} {weights} {flip} {member.compute.encoder}"
        by_encoder = groups.setdefault(experiment.preprocessing.model_dump_json(), {})
        by_encoder.setdefault(own, []).append(member)
    return tuple(tuple(tuple(alike) for alike in group.values()) for group in groups.values())


def _digest_of(model: Model) -> str:
    return model.digest
