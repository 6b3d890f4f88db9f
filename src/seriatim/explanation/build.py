"""From a volume and a model to an Explanation: what scoring says, and why, by every method that the model has."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seriatim.errors import ConfigError, ModelError, RefusedError
from seriatim.explanation.attribution.gather import AttributionOptions, Attributions, attribute_slices
from seriatim.explanation.attribution.pixels import PIXEL_WAYS, common_scale
from seriatim.explanation.attribution.reading import Reading, read_ways
from seriatim.explanation.display import fit_heat, show_slices, window_of
from seriatim.explanation.explanation import Explanation, unit_of
from seriatim.explanation.faithfulness.series import MeasureOptions, measure_series
from seriatim.explanation.known_before import tell_split
from seriatim.explanation.methods import PIXEL_METHODS, SLICE_METHODS
from seriatim.explanation.shown import choose_maps, choose_shown, first_slices, load_known
from seriatim.explanation.words import tell_calibration
from seriatim.series import Volume
from seriatim.series.batch import IGNORE
from seriatim.tasks import DiagnosisTask
from seriatim.tasks.predict import SeriesScores
from seriatim.tasks.views import mirror
from seriatim.trained import Ensemble, EnsembleScores, Look, Model, load_ensemble
from seriatim.trained.faithfulness import Faithfulness

logger = logging.getLogger(__name__)
Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainOptions:
    """What to explain by, whether to measure it, and what to write of it.

    ``top`` slices are shown, 1 to 8, those that ``show`` ranks first: a name of ``SLICE_METHODS``, or None for the one
    that measured best (``faithfulness.json`` of the run, else on head CT). A slice to which a method with a sign gives
    no more than 0 is left out, unless it is the first. ``pixels`` are names of ``PIXEL_METHODS``,
    the first one drawn; empty for the one that measured best, else Grad-CAM. ``measured`` measures the faithfulness on
    each series. ``page`` writes the page of each series and an index, ``figures`` those for papers as each kind named:
    png, svg, and ``nifti`` volumes of numbers and maps.
    """

    top: int = 6
    show: str | None = None
    pixels: tuple[str, ...] = ()
    measured: bool = False
    page: bool = True
    figures: tuple[str, ...] = ()
    nifti: bool = False
    attribution: AttributionOptions = field(default_factory=AttributionOptions)
    measure: MeasureOptions = field(default_factory=MeasureOptions)

    def __post_init__(self) -> None:
        if not 1 <= self.top <= 8:
            raise ValueError(f"top must be 1 to 8, not {self.top}")
        if not set(self.figures) <= {"png", "svg"}:
            raise ConfigError(f"Figures are png or svg, not {', '.join(self.figures)}.")
        for name, legal in ((self.show, SLICE_METHODS), *((one, PIXEL_METHODS) for one in self.pixels)):
            if name is not None and name not in legal:
                raise ConfigError(f"There is no explanation {name!r}. Legal are {', '.join(legal)}.")


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """One set of pictures as one member sees it, and its readings: ``slices`` (S,C,H,W), perhaps ``mirrored``."""

    member: Model
    slices: Tensor
    readings: tuple[Reading, ...]
    mirrored: bool


def explain_volume(
    volume: Volume,
    model: Model | Ensemble,
    *,
    top: int = 6,
    options: ExplainOptions | None = None,
    truth: Array | None = None,
) -> Explanation:
    """Explain one volume by one model, or by several as one: means over the members and over the views of each.

    The class explained is the likeliest (of yes or no: yes; of several findings: see ``DiagnosisTask.lead``).
    ``truth`` (S,K) are true labels of the slices, nan where they are not known; ``top`` counts where there are no
    ``options``.

    Raises:
        ValueError: top is not 1 to 8.
        ConfigError: the attribution to show first is none that this model has.
        RefusedError: the images lie outside of the model's training, and it does not score such series either.
    """
    options = options or ExplainOptions(top=top)
    ensemble = load_ensemble([model]) if isinstance(model, Model) else model
    seen = ensemble.look(ensemble.prepare(volume))
    looks = sorted(seen, key=lambda look: look.member.digest)  # the order in which models are given changes no bit
    scores = ensemble.judge(looks)
    if scores.verdict.reason:
        raise RefusedError(scores.verdict.reason)
    views = list(view_series(looks))
    chosen = ensemble.task.lead(scores.probabilities.numpy(), ensemble.thresholds)
    attributions = attribute_slices([one for view in views for one in view.readings], options.attribution)
    known = load_known(ensemble)
    name, why = choose_shown(attributions, options.show, known=known)
    ranked = attributions.of_class(chosen)[name].numpy()
    shown = first_slices(ranked, top=options.top, signed=SLICE_METHODS[name].signed)
    true = None if truth is None else truth[:, chosen]
    view = show_slices(volume, shown, window_hu=window_of(ensemble))
    names, drawn_because = choose_maps(options.pixels, known=known)
    maps = map_pixels(views, volume, names=names, class_index=chosen, shown=shown)
    pixel_maps = {key: fit_heat(heat, images=view.images) for key, heat in maps.items()}
    return Explanation(
        **_describe(volume, ensemble, scores, chosen=chosen),
        top=shown,
        images=view.images,
        letters=view.letters,
        window_text=view.window_text,
        heat=next(iter(pixel_maps.values()), None),
        pixel_maps=pixel_maps,
        shown_map=next(iter(pixel_maps), ""),
        map_because=drawn_because if names[0] in pixel_maps else "",
        attributions={key: values.numpy() for key, values in attributions.values.items()},
        shown_attribution=name,
        shown_because=why,
        completeness=attributions.completeness,
        truth=None if true is None else np.nan_to_num(true, nan=0.0) > 0,
        faithfulness=_measure(views, attributions, chosen=chosen, truth=true, options=options)
        if options.measured else None,
        model_faithfulness=known,
    )


def view_series(looks: Sequence[Look]) -> Iterator[View]:
    """Every set of pictures that a member reads, with its readings."""
    for look in looks:
        member, test_time = look.member, look.member.experiment.test_time
        device = next(member.network.parameters()).device
        for number, embeddings in enumerate(look.views):
            readings = read_ways(
                member.network, member.task, [embeddings], reverse_order=test_time.reverse_order,
                weight=1 / (len(looks) * len(look.views)),
            )  # fmt: skip
            slices = mirror(look.series[:]) if number else look.series[:]
            yield View(member=member, slices=slices.to(device), readings=tuple(readings), mirrored=bool(number))


def map_pixels(
    views: Sequence[View], volume: Volume, *, names: Sequence[str], class_index: int, shown: Sequence[int]
) -> dict[str, Tensor]:
    """By method, heat (T,h,w) in [0,1] over the turned slices: the mean over members and views, on one scale.

    Methods that a model has not (Grad-CAM of a vision transformer) are left out.
    """
    found = {}
    for name in names:
        heats = []
        for view in views:
            try:
                heats.append(_map_view(view, volume, name=name, class_index=class_index, shown=shown))
            except ModelError as error:
                logger.info("no %s: %s", name, error)
                break
        else:
            found[name] = common_scale(torch.stack(heats).sum(dim=0))
    return found


def describe_decision(model: Model | Ensemble, scores: SeriesScores | EnsembleScores) -> str:
    """The model's answer in words: the class name, or for a binary question its label or "no" label."""
    decided = model.task.decide(scores.probabilities.numpy(), model.thresholds)
    if model.experiment.task.target != "binary":
        return decided or "none"
    name = model.task.class_names[0]
    return name if decided == "1" else f"no {name}"


def describe_set(ensemble: Ensemble, scores: EnsembleScores) -> str:
    """The prediction set in words, as ``describe_decision``; "" where the model makes none."""
    conformal = ensemble.task.conformal if len(ensemble.members) == 1 else None
    if conformal is None:
        return ""
    told = ensemble.tell_set(scores.probabilities.numpy())
    if ensemble.experiment.task.target == "binary":
        name = ensemble.task.class_names[0]
        told = "|".join(name if one == "1" else f"no {name}" for one in told.split("|") if one)
    return told.replace("|", " or ") or "no answer is likely enough"


def _map_view(view: View, volume: Volume, *, name: str, class_index: int, shown: Sequence[int]) -> Tensor:
    heat = torch.stack([
        PIXEL_WAYS[name](one, view.slices, class_index=class_index, slice_indices=shown) * one.weight
        for one in view.readings
    ]).sum(dim=0)
    upright = mirror(heat) if view.mirrored else heat
    return view.member.experiment.preprocessing.placement(volume).invert(upright.detach().cpu())


def _measure(
    views: Sequence[View], attributions: Attributions, *, chosen: int, truth: Array | None, options: ExplainOptions
) -> Faithfulness:
    """The faithfulness on this series; how far the members agree where there are several."""
    members: dict[str, list[Reading]] = {}
    for view in views:
        members.setdefault(view.member.digest, []).extend(view.readings)
    alone = [attribute_slices(one, options.attribution) for one in members.values()] if len(members) > 1 else []
    return measure_series(
        [one for view in views for one in view.readings],
        as_arrays(attributions, chosen),
        class_index=chosen,
        truth=truth,
        members=[as_arrays(one, chosen) for one in alone],
        completeness=attributions.completeness,
        attribution_options=options.attribution,
        options=options.measure,
    )


def as_arrays(attributions: Attributions, class_index: int) -> dict[str, Array]:
    """(S,) of each method for one class, as arrays."""
    return {name: values.numpy() for name, values in attributions.of_class(class_index).items()}


def mark_truth(task: DiagnosisTask, labels: NDArray[np.generic]) -> Array | None:
    """Slice labels (S,K) as 0 and 1, nan where one is not known; None where none is, or where they are numbers."""
    known = labels != IGNORE
    if not known.any() or task.settings.target == "regression":
        return None
    return np.where(known, task.harden(labels), np.nan)


def _describe(volume: Volume, ensemble: Ensemble, scores: EnsembleScores, *, chosen: int) -> dict[str, Any]:
    """The fields of an Explanation that tell the series, the model and its answer."""
    series, names = volume.series, ensemble.task.class_names
    slice_scores = dict(zip(names, scores.slice_probabilities.T.numpy(), strict=True))
    by_class = dict(zip(names, scores.class_attention.T.numpy(), strict=True)) if ensemble.attends_by_class else {}
    return {
        "series_uid": series.series_uid,
        "label": names[chosen],
        "classes": names,
        "probability": float(scores.probabilities[chosen]),
        "prediction": describe_decision(ensemble, scores),
        "threshold": ensemble.thresholds.get(names[chosen]),
        "probabilities": dict(zip(names, scores.probabilities.tolist(), strict=True)),
        "prediction_set": describe_set(ensemble, scores),
        "axis": series.axis,
        "unit": unit_of(series),
        "positions": series.positions,
        "attention": scores.attention.numpy(),
        "slice_scores": slice_scores if ensemble.task.scores_slices else {},
        "class_attention": by_class,
        "sop_instance_uids": tuple(instance.sop_instance_uid for instance in series.instances),
        "frames": tuple(instance.frame for instance in series.instances),
        "findings": tuple(dict.fromkeys([*ensemble.note(series), *scores.verdict.notes])),
        "model_name": ensemble.experiment.name,
        "model_digest": ensemble.digest,
        "known_before": tell_split(ensemble, series.series_uid),
        "calibration": tell_calibration(ensemble),
    }
