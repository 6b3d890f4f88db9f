"""Which attribution and which map are shown first: the one asked for, the one that measured best, or the default."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from seriatim.errors import ConfigError
from seriatim.explanation.attribution.gather import Attributions
from seriatim.explanation.faithfulness.map_words import DEFAULT_MAP, why_map
from seriatim.explanation.faithfulness.words import DEFAULT, why_shown
from seriatim.explanation.table import rank_slices
from seriatim.trained import Ensemble
from seriatim.trained.faithfulness import FAITHFULNESS, Faithfulness, load_faithfulness


def load_known(ensemble: Ensemble) -> Faithfulness | None:
    """What ``seriatim faithfulness`` left in the run folder, or in the folder of a cross-validation; None without it.

    Raises:
        ModelError: the file is damaged.
    """
    paths = [member.path.resolve() for member in ensemble.members]
    folders = {path if len(paths) == 1 else path.parents[1] for path in paths}
    if len(folders) > 1:
        return None
    return load_faithfulness(folders.pop() / FAITHFULNESS, digest=ensemble.digest)


def choose_shown(attributions: Attributions, show: str | None, *, known: Faithfulness | None) -> tuple[str, str]:
    """The attribution that is shown first, and why in words: the one asked for, that measured best, or the default's.

    Raises:
        ConfigError: the one asked for is none that this model has.
    """
    have = list(attributions.values)
    if show is not None:
        if show not in have:
            raise ConfigError(f"This model has no attribution {show}; it has {', '.join(have)}.")
        return show, why_shown(show, asked=True)
    if known is not None and known.choice is not None and known.best in have:
        return known.best, why_shown(known.best, choice=known.choice)
    name = DEFAULT if DEFAULT in have else have[0]
    return name, why_shown(name, measured=known is not None)


def choose_maps(asked: tuple[str, ...], *, known: Faithfulness | None) -> tuple[tuple[str, ...], str]:
    """The maps of pixels to make, the first one drawn, and why that one in words."""
    if asked:
        return asked, why_map(asked[0], asked=True)
    measured = known.pixels if known is not None else None
    if measured is not None and measured.best:
        return (measured.best,), why_map(measured.best, choice=measured.choice)
    return (DEFAULT_MAP,), why_map(DEFAULT_MAP)


def first_slices(values: NDArray[np.float64], *, top: int, signed: bool = False) -> tuple[int, ...]:
    """The ``top`` slices with the highest values, the highest first.

    Where values are ``signed``, those at or below 0 are no evidence and are left out, but for the first: one is shown.
    """
    first = [int(index) for index in np.argsort(rank_slices(values))[:top]]
    return tuple(index for place, index in enumerate(first) if not signed or not place or values[index] > 0)
