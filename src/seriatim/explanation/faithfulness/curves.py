"""Deletion and insertion over slices: what is left of the answer when slices are taken out of the series in an order.

Petsiuk, Das and Saenko 2018 (RISE, arXiv:1806.07421) over pixels; here slices are not covered but gone, so that the
sequence model never reads what no scanner made.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from seriatim.explanation.attribution.reading import Reading, read_subsets
from seriatim.trained.faithfulness import Curves, Measured

POINTS = 16
"""Numbers of slices kept, evenly from one slice to all of them; all numbers of a shorter series."""
ORDERS = 50
Array = NDArray[np.float64]
Kept = NDArray[np.bool_]


def trace_curves(
    readings: Sequence[Reading], attributions: Mapping[str, Array], *, class_index: int, generator: np.random.Generator,
    orders: int = ORDERS,
) -> Curves | None:  # fmt: skip
    """The curves of every method, and those of ``orders`` random orders; None where there is one slice.

    Ties are broken at random. ``attributions`` map methods to (S,).
    """
    count = len(readings[0].embeddings)
    if count < 2:
        return None

    def read(keep: Kept) -> Array:
        return np.asarray(read_subsets(readings, torch.from_numpy(keep))[:, class_index].numpy())

    sizes = np.unique(np.linspace(1, count, min(POINTS, count)).round().astype(int))
    ranked = {name: rank(values, generator) for name, values in attributions.items()}
    return trace_orders(ranked, read, sizes=sizes, generator=generator, orders=orders)


def trace_orders(
    ranked: Mapping[str, NDArray[np.intp]], read: Callable[[Kept], Array], *, sizes: NDArray[np.intp],
    generator: np.random.Generator, orders: int,
) -> Curves:  # fmt: skip
    """The curves of every order, and those of ``orders`` random ones, each beside its reverse.

    Args:
        ranked: by method all N things from the first to the last: slices, frames or places.
        read: what the model answers where just some are kept, (B,N) bool -> (B,).
        sizes: how many are kept at each point, ascending to N.
        generator: draws the random orders.
        orders: how many of them; half are the reverses of the others.
    """
    count = int(sizes[-1])
    forward = [generator.permutation(count) for _ in range(orders // 2)]
    chance = [*forward, *(order[::-1] for order in forward)]
    every = [*ranked.values(), *(order[::-1] for order in ranked.values()), *chance]
    keep = np.zeros((len(every), len(sizes), count), dtype=bool)
    for row, order in enumerate(every):
        for column, size in enumerate(sizes):
            keep[row, column, order[:size]] = True
    states, places = np.unique(keep.reshape(-1, count), axis=0, return_inverse=True)
    traced, methods = read(states)[places].reshape(len(every), len(sizes)), len(ranked)
    return Curves(
        kept=sizes / count,
        insertion=dict(zip(ranked, traced[:methods], strict=True)),
        deletion=dict(zip(ranked, traced[methods : 2 * methods], strict=True)),
        random=traced[2 * methods :],
    )


def measure_curves(curves: Curves, name: str) -> dict[str, Measured]:
    """``insertion``, ``deletion``, their ``gap`` and how many random orders it beats, of one method.

    Deletion by an order keeps what insertion by its reverse keeps: the first half of the random orders are the reverse
    of the second, and their differences, either way round, are what a gap is by chance.
    """
    insertion, deletion = (area_under(curves.kept, one[name]) for one in (curves.insertion, curves.deletion))
    random = np.array([area_under(curves.kept, one) for one in curves.random])
    half = len(random) // 2
    gaps = np.concatenate([random[:half] - random[half:], random[half:] - random[:half]])
    gap = insertion - deletion
    beaten = float(np.mean(gaps < gap) + np.mean(gaps == gap) / 2)
    return {
        "insertion": _against(insertion, random),
        "deletion": _against(deletion, random),
        "gap": _against(gap, gaps),
        "beats_random": Measured(value=beaten, chance=0.5),
    }


def area_under(kept: Array, values: Array) -> float:
    """The mean of a curve over the share of slices kept, by the trapezoidal rule."""
    return float(np.trapezoid(values, kept) / (kept[-1] - kept[0]))


def rank(values: Array, generator: np.random.Generator) -> NDArray[np.intp]:
    """The slices from the highest value to the lowest, ties at random."""
    return np.lexsort((generator.random(len(values)), -values))


def _against(value: float, random: Array) -> Measured:
    low, high = np.percentile(random, [2.5, 97.5])
    return Measured(value=value, chance=float(random.mean()), chance_low=float(low), chance_high=float(high))
