"""How faithful maps of pixels are: what is left of the answer when the hottest places of some slices are blurred away.

Deletion and insertion of Petsiuk, Das and Saenko 2018 (RISE, arXiv:1806.07421), over the cells of a grid on all slices
mapped. A cell is not covered with grey, as occlusion does to make its map, but with a coarse picture of the slice: no
method is measured by its own way of covering. The answer is the logit: a few slices of many hardly move a probability
that is near 1, and then the places in them would all count alike.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter, process_time

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from seriatim.errors import ModelError
from seriatim.explanation.attribution.backward import evaluating
from seriatim.explanation.attribution.pixels import PIXEL_WAYS
from seriatim.explanation.attribution.reading import Reading
from seriatim.explanation.faithfulness.curves import Array, Kept, measure_curves, rank, trace_orders
from seriatim.models.chunks import encode_in_chunks
from seriatim.trained.faithfulness import Curves, Measured

logger = logging.getLogger(__name__)
GRID = 16
"""Cells along an edge of a slice."""
POINTS = 8
"""Steps from all cells blurred to none."""
COARSE = 4
"""What is left of a slice that is blurred away: so many places along its edge."""
AT_ONCE = 8
"""States of the slices that are encoded at a time, so that memory does not grow with the orders."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MapOptions:
    """How much is measured: ``slices`` of each of ``series`` of a split, against ``orders`` random ones from ``seed``.

    The series are those with the highest probability, since there is something to point at. 0 series measure nothing.
    A method that takes longer than ``affordable_s`` for a slice is left after the first series.
    """

    series: int = 6
    slices: int = 3
    orders: int = 8
    affordable_s: float = 1.0
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesMaps:
    """Maps by method, each (T,H,W) over the slices of the network's input, and how long each took for a slice.

    Of the time on the clock and that of the processors the shorter: others on the machine make the first one longer,
    several threads the second.
    """

    heat: Mapping[str, Tensor]
    seconds: Mapping[str, float]

    def keep(self, names: Iterable[str]) -> SeriesMaps:
        """Only those of some methods."""
        kept = list(names)
        return SeriesMaps(heat={name: self.heat[name] for name in kept},
                          seconds={name: self.seconds[name] for name in kept})


def make_maps(
    reading: Reading, slices: Tensor, *, names: Collection[str], class_index: int, shown: Sequence[int]
) -> SeriesMaps:
    """The maps of the slices ``shown`` of a series (S,C,H,W); methods that the encoder does not allow are left out."""
    heat, seconds = {}, {}
    for name in names:
        began, worked = perf_counter(), process_time()
        try:
            heat[name] = PIXEL_WAYS[name](reading, slices, class_index=class_index, slice_indices=shown).cpu()
        except ModelError as error:
            logger.info("no %s: %s", name, error)
            continue
        seconds[name] = min(perf_counter() - began, process_time() - worked) / len(shown)
    return SeriesMaps(heat=heat, seconds=seconds)


def measure_maps(
    reading: Reading, slices: Tensor, maps: SeriesMaps, *, class_index: int, shown: Sequence[int],
    options: MapOptions | None = None,
) -> dict[str, dict[str, Measured]]:  # fmt: skip
    """``insertion``, ``deletion``, ``gap`` (in logits), ``beats_random`` and ``seconds`` of each method, on one series.

    The cells of all slices shown are one order, so a map also has to tell which of the slices matters.
    """
    options = options or MapOptions()
    curves = trace_cells(reading, slices, maps.heat, class_index=class_index, shown=shown, options=options)
    return {
        name: {**measure_curves(curves, name), "seconds": Measured(value=maps.seconds[name])} for name in maps.heat
    }


def trace_cells(
    reading: Reading, slices: Tensor, heat: Mapping[str, Tensor], *, class_index: int, shown: Sequence[int],
    options: MapOptions,
) -> Curves:  # fmt: skip
    """The curves of every method over the share of cells that are clear, and those of random orders of cells."""
    generator, count = np.random.default_rng(options.seed), len(shown) * GRID**2
    ranked = {name: rank(_by_cell(one), generator) for name, one in heat.items()}

    def read(clear: Kept) -> Array:
        cells = torch.from_numpy(clear).reshape(-1, len(shown), GRID, GRID)
        return np.asarray(read_blurred(reading, slices, cells, shown=shown)[:, class_index].numpy())

    sizes = np.linspace(0, count, POINTS + 1).round().astype(int)
    return trace_orders(ranked, read, sizes=sizes, generator=generator, orders=options.orders)


def read_blurred(reading: Reading, slices: Tensor, clear: Tensor, *, shown: Sequence[int]) -> Tensor:
    """The logits (of regression: values) of a series some of whose places are blurred away: (B,K), on the CPU.

    Args:
        reading: how the model reads the series.
        slices: (S,C,H,W), as the embeddings were made of it.
        clear: (B,T,h,w) bool, the cells of the T slices ``shown`` that stay as they are.
        shown: the indices of these slices.
    """
    size = (slices.shape[2], slices.shape[3])
    own = slices[list(shown)]
    vague = functional.interpolate(functional.adaptive_avg_pool2d(own, COARSE), size=size, mode="bilinear")
    place = torch.tensor(list(shown), device=slices.device)
    found = []
    with evaluating(reading.network), torch.inference_mode():
        for part in torch.split(clear, AT_ONCE):
            mask = functional.interpolate(part.to(own), size=size, mode="nearest")[:, :, None] > 0
            mixed = torch.where(mask, own, vague)
            embeddings = encode_in_chunks(reading.network.encoder, mixed.flatten(0, 1)).to(reading.embeddings)
            series = reading.embeddings.repeat(len(part), 1, 1)
            series = series.index_copy(1, place, embeddings.reshape(len(part), len(own), -1))
            found.append(reading.logits(series).double().cpu())
    return torch.cat(found)


def _by_cell(heat: Tensor) -> NDArray[np.float64]:
    """The mean of maps (T,H,W) in each cell, (T*GRID*GRID,)."""
    return functional.adaptive_avg_pool2d(heat[:, None].float(), GRID).flatten().double().numpy()
