"""The settings that a study tries: checked before anything is trained, and put into the experiment."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

from seriatim.errors import ConfigError
from seriatim.experiment import Experiment, RangeSettings
from seriatim.settings import apply_overrides

if TYPE_CHECKING:
    from optuna.trial import Trial

Values = Mapping[str, Any]
"""A value for each setting of the search."""
CLOSED = frozenset({"name", "seed", "data", "tune"})
"""Blocks that no search may touch: what is compared would change, or luck would be chosen."""
ASKED = frozenset({"task", "task.kind", "task.target", "task.labels", "task.classes", "task.slice_labels"})


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchSpace:
    """What ``experiment.tune`` searches. ``whole`` are the ranges of whole numbers, ``epochs`` the most that a run may
    have; ``experiment`` has no tune block.
    """

    experiment: Experiment
    search: Mapping[str, RangeSettings | tuple[object, ...]]
    whole: frozenset[str]
    epochs: int

    def apply(self, values: Values) -> Experiment:
        """The experiment with these values.

        Raises:
            ConfigError: they do not go together; the message names them and what is legal.
        """
        return _build(self.experiment, values)

    def draw(self, trial: Trial) -> dict[str, Any]:
        """The values that Optuna draws for a trial, or drew before it was stopped."""
        drawn: dict[str, Any] = {}
        for key, values in self.search.items():
            if not isinstance(values, RangeSettings):
                drawn[key] = trial.suggest_categorical(key, [json.dumps(value) for value in values])
            elif key in self.whole:
                low, high, step = (int(number) for number in (values.low, values.high, values.step or 1))
                drawn[key] = trial.suggest_int(key, low, high, log=values.log, step=step)
            else:
                drawn[key] = trial.suggest_float(key, values.low, values.high, log=values.log, step=values.step)
        return self.read(drawn)

    def read(self, drawn: Mapping[str, Any]) -> dict[str, Any]:
        """The values as Optuna keeps them, those of a list as JSON, to values of settings."""
        return {
            key: drawn[key] if isinstance(values, RangeSettings) else json.loads(drawn[key])
            for key, values in self.search.items()
        }


def open_search(experiment: Experiment) -> SearchSpace:
    """The search of an experiment. Every value, and every pair of values of two settings, makes a legal experiment.

    A list is tried value by value and a range by its ends, with the first value of every other setting.

    Raises:
        ConfigError: there is no block ``tune``, or a setting, a value or a pair of values is not legal; it is named.
    """
    if experiment.tune is None:
        raise ConfigError("The config has no block tune, which says what to search: see docs/tuning.md.")
    search, base = experiment.tune.search, experiment.model_copy(update={"tune": None})
    for key in search:
        if key.partition(".")[0] in CLOSED or key in ASKED:
            raise ConfigError(
                f"tune.search: {key} says which data, which question or which draw, and is not searched for. Leave it "
                "out, or run a study for each."
            )
    first = {key: _ends(values)[0] for key, values in search.items()}
    _build(base, first)
    whole = frozenset(key for key, values in search.items() if _is_whole(base, first, key, values))
    options = {key: _ends(values) for key, values in search.items()}
    single = _check(base, first, ({key: value} for key, values in options.items() for value in values))
    for one, other in combinations(options, 2):
        _check(base, first, ({one: a, other: b} for a in options[one] for b in options[other]))
    epochs = max(legal.training.epochs for legal in single)
    return SearchSpace(experiment=base, search=search, whole=whole, epochs=epochs)


def _ends(values: RangeSettings | tuple[object, ...]) -> tuple[Any, ...]:
    return (values.low, values.high) if isinstance(values, RangeSettings) else values


def _check(base: Experiment, first: Values, changes: Iterable[Values]) -> list[Experiment]:
    return [_build(base, {**first, **change}, told=change) for change in changes]


def _is_whole(base: Experiment, first: Values, key: str, values: object) -> bool:
    """Whether a range is of a setting that takes whole numbers only: one and a half is then refused."""
    if not isinstance(values, RangeSettings):
        return False
    if not all(number.is_integer() for number in (values.low, values.high, values.step or 1.0)):
        return False
    try:
        _build(base, {**first, key: values.low + 0.5})
    except ConfigError:
        return True
    return False


def _build(base: Experiment, values: Values, *, told: Values | None = None) -> Experiment:
    shown = ", ".join(f"{key}={json.dumps(value)}" for key, value in (told or values).items())
    changes = [f"{key}={json.dumps(value)}" for key, value in values.items()]
    try:
        content = apply_overrides(base.model_dump(mode="json"), changes)
        return Experiment.from_content(content, where="with these values")
    except ConfigError as error:
        raise ConfigError(f"tune.search, {shown}: {error}") from error
