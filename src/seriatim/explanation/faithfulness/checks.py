"""Does an attribution depend on what was learnt, survive noise, agree between models, and point at what is true?"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np
import torch
from numpy.typing import NDArray

from seriatim.explanation.attribution.reading import Reading
from seriatim.models.network import SequenceNetwork
from seriatim.tasks import metrics
from seriatim.trained.faithfulness import Measured

Array = NDArray[np.float64]


def correlate(one: Array, other: Array) -> float:
    """Spearman's rank correlation of (S,) with (S,), ties at their middle rank; nan where one of them is constant."""
    if len(one) < 2 or np.ptp(one) == 0 or np.ptp(other) == 0:
        return float("nan")
    return metrics.pearson(metrics.mid_ranks(one), metrics.mid_ranks(other))


def add_noise(readings: Sequence[Reading], generator: torch.Generator, *, share: float) -> list[Reading]:
    """The readings of a series whose embeddings are disturbed: ``share`` of each number's spread over the slices.

    All readings of one set of embeddings get the same noise (Alvarez-Melis and Jaakkola 2018 ask whether explanations
    of nearly the same input are nearly the same).
    """
    noises: dict[int, torch.Tensor] = {}
    noisy = []
    for one in readings:
        values = one.embeddings
        if values.data_ptr() not in noises:
            drawn = torch.randn(values.shape, generator=generator, dtype=torch.float32).to(values)
            noises[values.data_ptr()] = share * drawn * values.std(dim=0, correction=0, keepdim=True)
        noisy.append(replace(one, embeddings=values + noises[values.data_ptr()]))
    return noisy


def shuffle_weights(readings: Sequence[Reading], generator: torch.Generator) -> list[Reading]:
    """The readings of networks that know nothing: all that follows the encoder has its weights shuffled.

    The randomisation test of Adebayo et al. 2018 (arXiv:1810.03292), of all layers at once: each tensor keeps its
    numbers, so that outputs keep their size, and loses what they mean. The embeddings stay.
    """
    shuffled: dict[int, SequenceNetwork] = {}
    for one in readings:
        if id(one.network) not in shuffled:
            shuffled[id(one.network)] = _shuffle(one.network, generator)
    return [replace(one, network=shuffled[id(one.network)]) for one in readings]


def agree(attributions: Sequence[Mapping[str, Array]]) -> dict[str, float]:
    """The mean rank correlation between each two models' attributions of one series, by method."""
    found = {}
    for name in attributions[0] if attributions else ():
        pairs = [correlate(one[name], other[name]) for one, other in combinations(attributions, 2)]
        known = [value for value in pairs if not np.isnan(value)]
        if known:
            found[name] = float(np.mean(known))
    return found


def measure_against_truth(values: Array, truth: Array) -> dict[str, Measured]:
    """``pointing`` and ``average_precision`` of (S,) values against (S,) labels of 0, 1, nan where not known.

    Pointing game (Zhang et al. 2018, arXiv:1608.00507): is the first slice positive? Slices that tie for the first
    place count by their share. Empty where no known slice is positive, or all are.
    """
    known = ~np.isnan(truth)
    labels, ranked = truth[known], values[known]
    positives = int(labels.sum())
    if not 0 < positives < len(labels):
        return {}
    first = ranked == ranked.max()
    share = positives / len(labels)
    return {
        "pointing": Measured(value=float(labels[first].mean()), chance=share),
        "average_precision": Measured(
            value=metrics.average_precision(labels, ranked), chance=chance_precision(len(labels), positives)
        ),
    }


def chance_precision(count: int, positives: int) -> float:
    """The average precision of a random ranking, on average: at rank k, a positive has (P - 1)(k - 1)/(N - 1) others
    before it.
    """
    ranks = np.arange(1, count + 1)
    return float(np.mean((1 + (positives - 1) * (ranks - 1) / max(1, count - 1)) / ranks))


def chance_correlation(count: int) -> float:
    """The mean size of a rank correlation of independent rankings of ``count`` slices (normal approximation)."""
    return float(np.sqrt(2 / (np.pi * max(1, count - 1))))


def _shuffle(network: SequenceNetwork, generator: torch.Generator) -> SequenceNetwork:
    copied = copy.deepcopy(network, {id(network.encoder): network.encoder})
    encoders = {id(parameter) for parameter in network.encoder.parameters()}
    with torch.no_grad():
        for parameter in copied.parameters():
            if id(parameter) not in encoders:
                order = torch.randperm(parameter.numel(), generator=generator).to(parameter.device)
                parameter.copy_(parameter.flatten()[order].reshape(parameter.shape))
    return copied
