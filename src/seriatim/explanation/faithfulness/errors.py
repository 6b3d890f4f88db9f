"""How faithful the scores of an anomaly model are: do the frames and places it calls abnormal make the score?

Deletion and insertion of Petsiuk, Das and Saenko 2018 (RISE, arXiv:1806.07421), where what is left out is normal: a
frame is taken out of the sequence, and a place of a frame is put right with the same place of the most normal frame of
its own series. Covering with grey or blur would be abnormal itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from seriatim.explanation.faithfulness.curves import Array, Kept, measure_curves, rank, trace_orders
from seriatim.tasks.anomaly import FrameScores
from seriatim.trained import AnomalyModel
from seriatim.trained.faithfulness import Measured

GRID, POINTS, ORDERS = 8, 6, 8
"""Cells along an edge of a frame, steps of a curve, and random orders."""
SCORE, PLACES = "score", "places"


def measure_frames(model: AnomalyModel, slices: Tensor, along: Array, scores: FrameScores) -> dict[str, Measured]:
    """Does the score of the series fall when its highest frames are taken out? Empty for a series too short for that.

    Args:
        model: its detectors read the shorter sequence again; the encoder works once.
        slices: (S,C,H,W) as the network sees the series.
        along: (S,) where the frames are along the series, from 0 to 1.
        scores: what the model says of the series.
    """
    count, least = len(slices), model.network.fewest_frames
    if count < least + 2:
        return {}
    generator = np.random.default_rng(0)
    seen = look(model, slices)

    def read(keep: Kept) -> Array:
        return np.array([judge(model, seen, along, kept=np.flatnonzero(one)).level for one in keep])

    sizes = np.unique(np.linspace(least, count, POINTS).round().astype(int))
    curves = trace_orders({SCORE: rank(scores.surprise, generator)}, read, sizes=sizes, generator=generator,
                          orders=ORDERS)
    return measure_curves(curves, SCORE)


def measure_places(model: AnomalyModel, slices: Tensor, along: Array, scores: FrameScores) -> dict[str, Measured]:
    """Does the score of the highest frame fall when its highest places are put right? Empty where no method knows any.

    Arguments as of ``measure_frames``.
    """
    if scores.places is None or len(slices) < 2:
        return {}
    generator = np.random.default_rng(0)
    peak, normal = int(scores.surprise.argmax()), int(scores.surprise.argmin())
    heat = functional.adaptive_avg_pool2d(torch.from_numpy(scores.places[peak])[None, None].float(), GRID).flatten()
    read = partial(_read_repaired, model, slices, along, frames=(peak, normal))
    sizes = np.linspace(0, GRID**2, POINTS).round().astype(int)
    curves = trace_orders({PLACES: rank(heat.double().numpy(), generator)}, read, sizes=sizes, generator=generator,
                          orders=ORDERS)
    return measure_curves(curves, PLACES)


def look(model: AnomalyModel, slices: Tensor) -> dict[str, Tensor]:
    """What the detectors read of each frame, by the kind of it."""
    device = model.network.device
    with torch.inference_mode():
        return {reads: model.network.look(slices.to(device), reads)
                for reads in dict.fromkeys(one.reads for one in model.network.methods)}


def judge(
    model: AnomalyModel, seen: Mapping[str, Tensor], along: Array, *, kept: np.ndarray | None = None
) -> FrameScores:
    """The scores of a sequence, or of the frames ``kept`` of it."""
    places = along if kept is None else along[kept]
    with torch.inference_mode():
        parts = seen if kept is None else {reads: one[torch.from_numpy(kept)] for reads, one in seen.items()}
        return model.task.judge([one.examine(parts[one.reads]) for one in model.network.methods], places)


def _read_repaired(
    model: AnomalyModel, slices: Tensor, along: Array, keep: Kept, *, frames: tuple[int, int]
) -> Array:
    """The score of a frame where just some of its cells are kept, and the others are those of another frame."""
    peak, normal = frames
    seen, size = look(model, slices), (slices.shape[2], slices.shape[3])
    found = []
    for one in keep:
        cells = torch.from_numpy(one).reshape(1, 1, GRID, GRID).float()
        mask = functional.interpolate(cells, size=size, mode="nearest")[0] > 0
        own = look(model, torch.where(mask, slices[peak], slices[normal])[None])
        changed = {reads: values.clone() for reads, values in seen.items()}
        for reads, values in own.items():
            changed[reads][peak] = values[0]
        found.append(judge(model, changed, along).levels[peak])
    return np.array(found)
