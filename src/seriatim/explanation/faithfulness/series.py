"""Measure the explanations of one series: every method beside every other, on the same subsets, noise and shuffles."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from seriatim.explanation.attribution.gather import AttributionOptions, attribute_slices
from seriatim.explanation.attribution.reading import Reading
from seriatim.explanation.faithfulness.checks import (
    add_noise,
    agree,
    chance_correlation,
    correlate,
    measure_against_truth,
    shuffle_weights,
)
from seriatim.explanation.faithfulness.curves import ORDERS, measure_curves, trace_curves
from seriatim.explanation.faithfulness.words import choose_best, tell_series
from seriatim.trained.faithfulness import Faithfulness, Measured

Array = NDArray[np.float64]
Disturb = Callable[[Sequence[Reading], torch.Generator], list[Reading]]


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasureOptions:
    """How much is drawn: ``orders`` random orders, ``draws`` of ``noise`` (a share of the embeddings' spread over the
    slices) and ``shuffles`` of the weights; all follow from ``seed``.
    """

    orders: int = ORDERS
    draws: int = 3
    noise: float = 0.1
    shuffles: int = 3
    seed: int = 0


def measure_series(
    readings: Sequence[Reading],
    attributions: Mapping[str, Array],
    *,
    class_index: int,
    truth: Array | None = None,
    members: Sequence[Mapping[str, Array]] = (),
    completeness: float | None = None,
    attribution_options: AttributionOptions | None = None,
    options: MeasureOptions | None = None,
) -> Faithfulness:
    """How faithful the attributions of one series are to the model, for one class.

    Args:
        readings: how the model reads the series.
        attributions: what is measured: each method's (S,).
        class_index: the class that they explain.
        truth: (S,) true labels of the slices, nan where they are not known.
        members: the attributions of several models, to see how far they agree.
        completeness: the completeness error of the integrated gradients.
        attribution_options: how the attributions were made; they are made again under noise and with shuffled weights.
        options: how much is drawn.
    """
    options, count = options or MeasureOptions(), len(readings[0].embeddings)
    figures: dict[str, dict[str, Measured]] = {name: {} for name in attributions}
    numbers = np.random.default_rng(options.seed)
    curves = trace_curves(
        readings, attributions, class_index=class_index, generator=numbers, orders=options.orders
    )
    again = partial(_repeat, readings, attributions, class_index=class_index, made=attribution_options, options=options)
    noisy = again(partial(add_noise, share=options.noise), times=options.draws)
    shuffled = again(shuffle_weights, times=options.shuffles)
    agreeing = agree(members) if len(members) > 1 else {}
    for name, values in attributions.items():
        own = figures[name]
        if curves is not None:
            own |= measure_curves(curves, name)
        removal = correlate(values, attributions["leave_out"]) if "leave_out" in attributions else float("nan")
        told = {
            "leave_one_out": Measured(value=removal, chance=0.0),
            "noise": Measured(value=_mean([correlate(values, one[name]) for one in noisy])),
            "randomised": Measured(
                value=_mean([abs(correlate(values, one[name])) for one in shuffled]), chance=chance_correlation(count)
            ),
            "agreement": Measured(value=agreeing.get(name, float("nan")), chance=0.0),
        }
        own |= {key: one for key, one in told.items() if not np.isnan(one.value)}
        if name == "integrated_gradients" and completeness is not None:
            own["completeness"] = Measured(value=completeness)
        if truth is not None:
            own |= measure_against_truth(values, truth)
    best = choose_best(figures)
    return Faithfulness(
        about="series", methods=figures, best=best, words=tell_series(figures, best=best), curves=curves
    )


def _repeat(
    readings: Sequence[Reading], attributions: Mapping[str, Array], disturb: Disturb, *, class_index: int, times: int,
    made: AttributionOptions | None, options: MeasureOptions,
) -> list[dict[str, Array]]:  # fmt: skip
    """The attributions of the same methods, of readings that are disturbed so many times."""
    generator = torch.Generator().manual_seed(options.seed)
    base = made or AttributionOptions()
    same = AttributionOptions(
        baseline=base.baseline, steps=base.steps, window=base.window, names=tuple(attributions)
    )
    found = []
    for _ in range(times):
        values = attribute_slices(disturb(readings, generator), same).of_class(class_index)
        found.append({name: one.numpy() for name, one in values.items()})
    return found


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else float("nan")
