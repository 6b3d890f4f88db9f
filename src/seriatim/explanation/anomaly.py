"""Why an anomaly model called frames abnormal: their scores, events, and where in a frame they are unlike normal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seriatim.explanation.alignment import MapGrid, locate_cells, resize_heat
from seriatim.explanation.display import show_slices, window_of
from seriatim.explanation.explanation import Letters, Unit, unit_of
from seriatim.explanation.known_before import tell_split
from seriatim.models.detectors import Evidence, FutureDetector
from seriatim.series import Volume
from seriatim.series.series import Axis
from seriatim.tasks.anomaly import FrameScores
from seriatim.tasks.events import Event
from seriatim.tasks.profile import place_frames
from seriatim.trained import AnomalyModel
from seriatim.trained.faithfulness import FAITHFULNESS, Faithfulness, load_faithfulness
from seriatim.transforms.placement import Placement, resize

HEAT_FROM, HEAT_TO = 0.25, 0.75
"""The scores at which colour begins and is full; half way is the threshold."""
APART = 10
"""Where there is no event, the highest frames shown are this share of the series apart (one tenth)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaceMaps:
    """Where frames are unlike normal: ``levels`` (S,h,w) on the cells of ``grid`` over the network's input.

    A level is a score like a frame's: 0.5 at the threshold. ``method`` is the one that knows places.
    """

    levels: NDArray[np.float64]
    grid: MapGrid
    placement: Placement
    method: str

    def draw(self, indices: Sequence[int], *, size: tuple[int, int]) -> NDArray[np.float32]:
        """Heat (T,*size) in [0,1] over the frames as they are displayed."""
        levels = torch.from_numpy(self.levels[list(indices)]).float()
        heat = ((levels - HEAT_FROM) / (HEAT_TO - HEAT_FROM)).clamp(0, 1)
        on_frames = self.placement.invert(resize_heat(heat, self.grid, size=self.placement.size))
        return resize(on_frames, size).clamp(0, 1).numpy()


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameExplanation:
    """An anomaly model about one series of S frames or slices, of which the T in ``shown`` (in order) have pictures.

    ``images`` uint8 (T,H,W) or (T,H,W,3) as in ``Explanation``; ``part_levels`` are the surprises by method on the
    scale of the scores. ``threshold_p_value`` is the share of normal frames that reach the threshold, 0.5; an event
    goes on down to the score ``release``. ``known_before`` is as in ``Explanation``, ``faithfulness``
    what ``seriatim faithfulness`` measured of the model.
    """

    series_uid: str
    axis: Axis
    unit: Unit
    positions: NDArray[np.float64]
    sop_instance_uids: tuple[str, ...]
    frames: tuple[int | None, ...]
    scores: FrameScores
    part_levels: dict[str, NDArray[np.float64]]
    threshold_p_value: float
    release: float
    shown: tuple[int, ...]
    images: NDArray[np.uint8]
    places: PlaceMaps | None
    letters: Letters | None
    window_text: str
    findings: tuple[str, ...]
    model_name: str
    model_digest: str
    known_before: str = ""
    faithfulness: Faithfulness | None = None

    @property
    def noun(self) -> str:
        """What one step of the series is called."""
        return "frame" if self.axis == "time" else "slice"

    @property
    def title(self) -> str:
        """What was found, in two words."""
        count = len(self.scores.events)
        return "No event" if not count else "1 event" if count == 1 else f"{count} events"

    @property
    def meaning(self) -> str:
        """What the score is, and what it is not."""
        share = f"{100 * self.threshold_p_value:.2g} %"
        return (f"A score is no probability: 0.5 is the threshold, which {share} of normal validation {self.noun}s "
                "reach.")

    def event_at(self, index: int) -> int:
        """The number of the event that a frame belongs to, from 1; 0 where it is in none."""
        inside = (number for number, one in enumerate(self.scores.events, start=1) if one.start <= index < one.stop)
        return next(inside, 0)


def explain_frames(volume: Volume, model: AnomalyModel, *, top: int = 6) -> FrameExplanation:
    """Score one volume again and gather what a picture of it needs; ``top`` frames are shown.

    Raises:
        ValueError: ``top`` is not 1 to 8.
        ModelError: the ``faithfulness.json`` of the model is damaged.
    """
    if not 1 <= top <= 8:
        raise ValueError(f"top must be 1 to 8, not {top}")
    series, slices = volume.series, model.prepare(volume)
    evidence, along = model.examine(slices), place_frames(series.positions)
    scores, norms = model.task.judge(evidence, along), model.task.norms
    assert norms is not None
    shown = choose_frames(scores, top=top)
    view = show_slices(volume, shown, window_hu=window_of(model))
    return FrameExplanation(
        series_uid=series.series_uid,
        axis=series.axis,
        unit=unit_of(series),
        positions=series.positions,
        sop_instance_uids=tuple(instance.sop_instance_uid for instance in series.instances),
        frames=tuple(instance.frame for instance in series.instances),
        scores=scores,
        part_levels={name: _level(surprise, norms.threshold) for name, surprise in scores.parts.items()},
        threshold_p_value=exp(-norms.threshold),
        release=1 / (1 + 1 / model.task.settings.release),
        shown=shown,
        images=view.images,
        places=_find_places(evidence, model, slices, volume=volume),
        letters=view.letters,
        window_text=view.window_text,
        findings=model.note(series),
        model_name=model.experiment.name,
        model_digest=model.digest,
        known_before=tell_split(model, series.series_uid),
        faithfulness=load_faithfulness(model.path / FAITHFULNESS, digest=model.digest),
    )


def choose_frames(scores: FrameScores, *, top: int) -> tuple[int, ...]:
    """Which ``top`` frames to show, in order: the highest peaks of events, and evenly spaced frames outside of them.

    At least a third are normal ones to compare with (of one frame, none). Without an event a third are the highest
    frames, apart from each other.
    """
    count, third = len(scores.levels), max(1, top // 3)
    peaks = [event.peak for event in rank_events(scores.events)][: max(1, top - third)]
    chosen = peaks or _highest(scores.levels, third)
    inside = np.zeros(count, dtype=bool)
    for event in scores.events:
        inside[event.start : event.stop] = True
    inside[chosen] = True
    for free in (np.flatnonzero(~inside), np.arange(count)):
        free = np.setdiff1d(free, chosen)
        wanted = min(top - len(chosen), len(free))
        chosen = [*chosen, *(int(free[int((step + 0.5) * len(free) / wanted)]) for step in range(wanted))]
    return tuple(sorted(chosen))


def rank_events(events: Sequence[Event]) -> list[Event]:
    """Events by their peak score, the highest first."""
    return sorted(events, key=lambda event: -event.peak_score)


def _highest(levels: NDArray[np.float64], wanted: int) -> list[int]:
    """The highest frames, each at some distance to those before it."""
    chosen: list[int] = []
    for index in np.argsort(-levels, kind="stable"):
        if len(chosen) < wanted and all(abs(int(index) - one) > len(levels) / APART for one in chosen):
            chosen.append(int(index))
    return chosen


def _find_places(
    evidence: Sequence[Evidence], model: AnomalyModel, slices: Tensor, *, volume: Volume
) -> PlaceMaps | None:
    """The places of the first method that knows any, on the scale of the scores.

    A frame's most abnormal place stands for its raw score by that method, and each other place for its share of that;
    what this would mean for a frame is what the method's law of normal frames says. For the patch memory, whose raw
    score is the largest patch distance, that is the share of normal frames whose strangest patch is as far.
    """
    norms = model.task.norms
    assert norms is not None
    for one, detector in zip(evidence, model.network.methods, strict=True):
        if one.places is None:
            continue
        name, raw = next(iter(one.parts.items()))
        places, raw = one.places.double().cpu(), raw.double().cpu()
        strongest = places.flatten(1).amax(dim=1).clamp(min=1e-12)
        values = (places * (raw / strongest)[:, None, None]).numpy()
        surprise = np.nan_to_num(norms.parts[name].surprise(values, place_frames(volume.positions)), nan=0.0)
        if isinstance(detector, FutureDetector):
            grid = _centres(places, slices, picture=detector.size)
        else:
            grid = locate_cells(model.network.encoder, slices[:1].to(next(model.network.parameters()).device))
        placement = model.experiment.preprocessing.placement(volume)
        return PlaceMaps(levels=_level(surprise, norms.threshold), grid=grid, placement=placement, method=name)
    return None


def _centres(places: Tensor, slices: Tensor, *, picture: int) -> MapGrid:
    """Cells on every second pixel, from the first, of pictures of ``picture`` rows and columns."""
    step = picture // places.shape[1]
    scale = [length / picture for length in slices.shape[2:]]
    return MapGrid(stride=(step * scale[0], step * scale[1]), offset=(scale[0] / 2 - 0.5, scale[1] / 2 - 0.5))


def _level(surprise: NDArray[np.float64], threshold: float) -> NDArray[np.float64]:
    return np.asarray(surprise / (surprise + threshold))
