"""Norms: what validation's normal frames taught of every part, of their fusion, and the threshold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seriatim.tasks.normality import Normality, learn_normality
from seriatim.tasks.profile import Profile, learn_profile, level_apart

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Norms:
    """What validation's normal frames taught: the law of each part and of their fusion, and the threshold.

    ``threshold`` is a surprise, -log p. ``frames`` and ``seconds`` tell of how much normal material it comes.
    """

    parts: Mapping[str, Normality]
    fused: Normality
    threshold: float
    frames: int
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        """For ``model.json``."""
        return asdict(self)

    @property
    def by_position(self) -> bool:
        """Whether frames are compared with those at their place along the sequence."""
        return any(law.profile is not None for law in self.parts.values())

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Norms:
        """What ``as_dict`` gave. Raises LookupError, TypeError or ValueError."""
        parts = {str(name): _read_normality(one) for name, one in content["parts"].items()}
        return cls(parts=parts, fused=_read_normality(content["fused"]), threshold=float(content["threshold"]),
                   frames=int(content["frames"]), seconds=float(content["seconds"]))


def _read_normality(content: Mapping[str, Any]) -> Normality:
    profile = content.get("profile")
    return Normality(
        quantiles=tuple(float(value) for value in content["quantiles"]), tail_start=float(content["tail_start"]),
        tail_mean=float(content["tail_mean"]), frames=int(content["frames"]),
        profile=profile and Profile(centers=tuple(float(value) for value in profile["centers"]),
                                    spreads=tuple(float(value) for value in profile["spreads"])),
    )


def learn_law(raw: Sequence[Array], places: Sequence[Array] | None) -> tuple[Normality, list[Array]]:
    """The law of one part over normal sequences' raw scores (S,), and the surprise of each of their frames by it.

    With ``places`` (S,) from 0 to 1 it is a law by position.

    Raises:
        ValueError: there are too few frames, or for a law by position too few sequences.
    """
    levelled = list(raw) if places is None else level_apart(raw, places)
    law = learn_normality(drop_unknown(np.concatenate(levelled)))
    surprises = [law.surprise(one) for one in levelled]
    return replace(law, profile=None if places is None else learn_profile(raw, places)), surprises


def drop_unknown(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Without the frames about which nothing is said."""
    return values[~np.isnan(values)]
