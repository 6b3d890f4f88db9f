"""How far scores move when something else than torch computes them, measured before anything is kept."""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seriatim.deploy.pictures import Pictured
from seriatim.tasks.predict import read_logits
from seriatim.tasks.profile import place_frames
from seriatim.trained import AnomalyModel, Model

MOST_SLICES, DRAWN_LENGTHS = 500, 12
MOST_FRAMES, DRAWN_CLIPS = 64, 4
LOGIT = "logit"
"""What the network says before it becomes a probability; it is told, and decides nothing."""
AnyModel: TypeAlias = Model | AnomalyModel
Array: TypeAlias = NDArray[np.float64]


@dataclass(slots=True, kw_only=True)
class Differences:
    """The largest differences seen, by what differs: ``probability``, ``attention``, ``slice_score``.

    Of a regression they are in units of the labels' spread. ``largest_logit`` is that of the network's answers before
    they become probabilities, and ``least_certain`` how far from both 0 and 1 a probability was at most; both None
    where the answers are not of logits.
    """

    largest: dict[str, float] = field(default_factory=dict)
    largest_logit: float | None = None
    least_certain: float | None = None

    def add(self, one: Mapping[str, Array], other: Mapping[str, Array]) -> None:
        """Count what differs between two answers; what is not a number on one side alone differs by infinity."""
        for name, values in one.items():
            worst = _largest_difference(values, other[name])
            if name == LOGIT:
                certain = np.minimum(one["probability"], 1 - one["probability"])
                self.largest_logit = max(self.largest_logit or 0.0, worst)
                self.least_certain = max(self.least_certain or 0.0, float(np.max(certain)))
            else:
                self.largest[name] = max(self.largest.get(name, 0.0), worst)

    def describe(self) -> dict[str, Any]:
        """What the report says of it."""
        return {"largest_difference": self.largest, "largest_logit_difference": self.largest_logit,
                "least_certain": self.least_certain}

    @property
    def worst(self) -> float:
        """The largest of all."""
        return max(self.largest.values(), default=math.inf)


def compare_lengths(reference: AnyModel, candidate: AnyModel, pictures: Tensor) -> tuple[Differences, list[int]]:
    """What differs on made-up series of random lengths from ``pictures`` (N,C,H,W), and the lengths."""
    seen = Differences()
    if isinstance(reference, AnomalyModel):
        assert isinstance(candidate, AnomalyModel)
        least = reference.network.fewest_frames
        lengths = [least, *draw_lengths(reference.digest, DRAWN_CLIPS, least=least, most=MOST_FRAMES)]
        for length in lengths:
            slices = stretch(pictures, length)
            seen.add(_judge(reference, slices), _judge(candidate, slices))
        return seen, lengths
    assert isinstance(candidate, Model)
    lengths = [1, 2, 3, MOST_SLICES, *draw_lengths(reference.digest, DRAWN_LENGTHS, least=1, most=MOST_SLICES)]
    ours, theirs = reference.embed(pictures), candidate.embed(pictures)
    for length in lengths:
        told = [
            _tell(model, [stretch(view, length) for view in views])
            for model, views in ((reference, ours), (candidate, theirs))
        ]
        seen.add(told[0], told[1])
    return seen, lengths


def compare_validation(reference: AnyModel, candidate: AnyModel, series: Iterable[Pictured]) -> dict[str, Any]:
    """What differs on real series, and each measure of validation before and after."""
    seen, rows, before, after = Differences(), [], [], []
    for one in series:
        answers = [_answer(model, one) for model in (reference, candidate)]
        seen.add(answers[0], answers[1])
        rows.append(reference.task.encode_labels(one.row))
        before.append(answers[0]["probability"])
        after.append(answers[1]["probability"])
    if not rows:
        return {"series": 0}
    labels = np.array(rows, dtype=float)
    old, new = (reference.task.metrics(np.stack(found), labels) for found in (before, after))
    change = {name: new[name] - value for name, value in old.items() if name in new}
    return {"series": len(rows), **seen.describe(), "before": old, "after": new, "change": change}


def draw_lengths(seed: str, count: int, *, least: int, most: int) -> list[int]:
    """Random lengths, as many short ones as long ones by their logarithm; the same for the same seed."""
    drawn = random.Random(int(hashlib.sha256(seed.encode()).hexdigest(), 16))  # noqa: S311 - not for secrets
    return [round(math.exp(drawn.uniform(math.log(least), math.log(most)))) for _ in range(count)]


def stretch(values: Tensor, length: int) -> Tensor:
    """(N,...) -> (length,...) from the first to the last, straight between neighbours: no two of a longer one are
    equal, which would leave it to chance which of them is the largest.
    """
    places = torch.linspace(0, len(values) - 1, length, dtype=torch.float64)
    before = places.floor().long()
    share = (places - before).to(values.dtype).reshape(-1, *[1] * (values.ndim - 1))
    return values[before] + share * (values[(before + 1).clamp(max=len(values) - 1)] - values[before])


def _answer(model: AnyModel, one: Pictured) -> dict[str, Array]:
    if isinstance(model, AnomalyModel):
        return _judge(model, one.slices, one.series.positions)
    return _tell(model, model.embed(one.slices))


def _tell(model: Model, views: Sequence[Tensor]) -> dict[str, Array]:
    """What the tables say of a series with these embeddings, for regression in units of the labels' spread; else with
    the logits of each view, before calibration.
    """
    scores = model.read(views)
    unit = model.network.output_scale.double().cpu().numpy()
    told = {"probability": scores.probabilities.numpy() / unit, "attention": scores.attention.numpy()}
    if model.network.attends_by_class:
        told["class_attention"] = scores.class_attention.numpy()
    if model.task.scores_slices:
        told["slice_score"] = scores.slice_probabilities.numpy() / unit
    if model.task.settings.target != "regression":
        told[LOGIT] = np.stack([read_logits(model.backed or model.network, view).numpy() for view in views])
    return told


def _largest_difference(one: Array, other: Array) -> float:
    seen = np.abs(one - other)
    return float(np.max(np.where(np.isfinite(seen), seen, np.inf), initial=0.0))


def _judge(model: AnomalyModel, slices: Tensor, positions: Array | None = None) -> dict[str, Array]:
    places = place_frames(np.arange(len(slices), dtype=float) if positions is None else positions)
    found = model.task.judge(model.examine(slices), places)
    return {"probability": np.array([found.level]), "slice_score": found.levels}
