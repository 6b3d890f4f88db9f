"""What `seriatim tune` searches, as a block of the same YAML."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from seriatim.settings import Settings


class RangeSettings(Settings):
    """Numbers between two ends, both included; whole where the setting is."""

    low: float = Field(allow_inf_nan=False)
    """The least value."""
    high: float = Field(allow_inf_nan=False)
    """The greatest value."""
    log: bool = False
    """Draw even in the logarithm: for learning rates and decays."""
    step: float | None = Field(default=None, gt=0)
    """Only low, low + step, low + 2 step, ..."""

    @model_validator(mode="after")
    def _check(self) -> RangeSettings:
        if self.low >= self.high:
            raise ValueError(f"low must be below high (given: {self.low:g} and {self.high:g})")
        if self.log and self.low <= 0:
            raise ValueError(f"log needs low above 0 (given: {self.low:g})")
        if self.log and self.step is not None:
            raise ValueError("log and step exclude each other; leave one out")
        return self


def _kind_of_values(content: Any) -> str:
    return "range" if isinstance(content, dict | RangeSettings) else "choices"


Values = Annotated[
    Annotated[RangeSettings, Tag("range")] | Annotated[tuple[object, ...], Tag("choices")],
    Discriminator(_kind_of_values),
]


class TuneSettings(Settings):
    """What `seriatim tune` tries; `train` and all other commands ignore it."""

    search: dict[str, Values] = Field(min_length=1)
    """By setting, `training.learning_rate` say, either a list of its values or a range {low, high, log, step}. Whole
    groups may be values: `network.temporal: [{kind: lstm, hidden: 64}, {kind: none}]`. Not for what is asked (`task`
    labels), for `data`, or for `seed`."""
    trials: int = Field(default=20, ge=1)
    """Trials in all, failed and stopped ones counted."""
    folds: int | None = Field(default=None, ge=2)
    """Judge a trial by the mean over so many inner folds of the patients that are not tested; null: by the one
    validation split that `train` would draw."""
    seeds: int = Field(default=1, ge=1)
    """Judge a trial by the mean over so many seeds (`seed`, `seed` + 1, ...)."""
    pruning: Literal["median", "hyperband", "none"] = "median"
    """Stop a trial early: where its best epoch so far is below the median of the others' (from the sixth on), or by
    Hyperband (Li 2018)."""

    @field_validator("search")
    @classmethod
    def _check_search(cls, search: dict[str, Any]) -> dict[str, Any]:
        for key, values in search.items():
            if isinstance(values, tuple) and len({repr(value) for value in values}) < max(2, len(values)):
                raise ValueError(f"{key} needs at least two values, each of them once (given: {list(values)})")
            inside = next((other for other in search if other.startswith(f"{key}.")), None)
            if inside is not None:
                raise ValueError(f"{inside} is within {key}; search for one of the two")
        return search
