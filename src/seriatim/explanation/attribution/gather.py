"""All attributions of one series by name: what a picture, a table and the measures of faithfulness read."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from seriatim.errors import ConfigError
from seriatim.explanation.attribution.backward import evaluating
from seriatim.explanation.attribution.reading import Reading, average
from seriatim.explanation.attribution.slices import (
    STEPS,
    Baseline,
    Integrated,
    integrate_gradients,
    leave_out,
    weigh_gradient,
    window_of_series,
)
from seriatim.explanation.methods import SLICE_METHODS


@dataclass(frozen=True, slots=True, kw_only=True)
class AttributionOptions:
    """How to attribute: the integrated gradients' ``baseline`` and ``steps``, the ``window`` left out (None: 3 slices,
    or a twentieth of a long series), and which methods: ``names`` None means all that the model has.
    """

    baseline: Baseline = "series"
    steps: int = STEPS
    window: int | None = None
    names: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        unknown = [name for name in self.names or () if name not in SLICE_METHODS]
        if unknown:
            raise ConfigError(f"There is no attribution {unknown[0]!r}. Legal are {', '.join(SLICE_METHODS)}.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Attributions:
    """``values`` maps methods to (S,K), or (S,) where all classes share it, on the CPU in float64.

    ``completeness`` is the largest completeness error of integrated gradients over the classes; None without them.
    """

    values: Mapping[str, Tensor]
    completeness: float | None

    def of_class(self, index: int) -> dict[str, Tensor]:
        """(S,) of each method for one class."""
        return {name: one if one.ndim == 1 else one[:, index] for name, one in self.values.items()}


def attribute_slices(readings: Sequence[Reading], options: AttributionOptions | None = None) -> Attributions:
    """What each slice had in the answer, by every method that the model has; means over the readings.

    Raises:
        ModelError: a gradient is not finite.
    """
    options = options or AttributionOptions()
    paths: list[Integrated] = []

    def integrate(reading: Reading) -> Tensor:
        paths.append(integrate_gradients(reading, baseline=options.baseline, steps=options.steps))
        return paths[-1].values

    window = options.window or window_of_series(len(readings[0].embeddings))
    by_class = all(one.network.attends_by_class for one in readings)
    ways: dict[str, Callable[[Reading], Tensor]] = {
        "attention": lambda one: _attend(one, by_class=by_class),
        "slice_scores": _score,
        "gradient_input": weigh_gradient,
        "integrated_gradients": integrate,
        "leave_out": leave_out,
        "leave_window_out": lambda one: leave_out(one, window=window),
    }
    names = available(readings, options.names)
    values = {name: average(readings, ways[name]) for name in names}
    squeezed = {name: one[:, 0] if one.ndim == 2 and one.shape[1] == 1 else one for name, one in values.items()}
    errors = [float(one.error.max()) for one in paths]
    return Attributions(values=squeezed, completeness=max(errors, default=None))


def available(readings: Sequence[Reading], names: Collection[str] | None = None) -> list[str]:
    """The methods of slices that these readings have, in the order of ``SLICE_METHODS``: all, or those among ``names``.

    Slice scores need a model that learnt them.
    """
    scored = all(one.task.scores_slices for one in readings)
    have = [name for name in SLICE_METHODS if name != "slice_scores" or scored]
    return [name for name in have if names is None or name in names]


def _attend(reading: Reading, *, by_class: bool) -> Tensor:
    found = _output(reading)
    return found[1] if by_class else found[0]


def _score(reading: Reading) -> Tensor:
    return reading.task.slice_probabilities(_output(reading)[2])


def _output(reading: Reading) -> tuple[Tensor, Tensor, Tensor]:
    """Attention (S,), class attention (S,K) or (S,0), slice logits (S,K), in the order of the series."""
    given = reading.embeddings.flip(0) if reading.turned else reading.embeddings
    mask = torch.ones(1, len(given), dtype=torch.bool, device=given.device)
    with evaluating(reading.network), torch.inference_mode():
        found = reading.network.read(given[None], mask)
    by_class = found.attention[0, :, None][:, :0] if found.class_attention is None else found.class_attention[0]
    parts = [one.double().cpu() for one in (found.attention[0], by_class, found.slice_logits[0])]
    attention, of_class, slices = (one.flip(0) if reading.turned else one for one in parts)
    return attention, of_class, slices
