"""What was measured of a model's explanations, and what chose the one shown, as plain numbers and words. No torch."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from seriatim.errors import ModelError
from seriatim.io.tables.outputs import write_json

FAITHFULNESS = "faithfulness.json"
"""In a run folder: what was measured of the model's explanations, on series that it was not trained on."""
FORMAT = 2
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One figure of one method: of a series its value, of a model the mean over ``n`` series.

    ``low`` and ``high`` are the 95 % interval of a mean. ``chance`` is what a random order gets, on average, and
    ``chance_low`` to ``chance_high`` hold 95 % of random orders (of one series).
    """

    value: float
    low: float | None = None
    high: float | None = None
    chance: float | None = None
    chance_low: float | None = None
    chance_high: float | None = None
    n: int = 1


Figures: TypeAlias = Mapping[str, Mapping[str, Measured]]
"""Figures by method and measure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Curves:
    """What is left of the answer when a share of the slices is kept, and the others are taken out of the series.

    ``kept`` (N,) ascends to 1. ``insertion`` and ``deletion`` map each method to (N,) probabilities (of regression:
    values) when just the slices that it ranks highest (lowest) are kept; ``random`` (R,N) are those of R random orders.
    Read from left to right the first are insertion curves, the second from right to left deletion curves.
    """

    kept: NDArray[np.float64]
    insertion: Mapping[str, NDArray[np.float64]]
    deletion: Mapping[str, NDArray[np.float64]]
    random: NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """By what the method shown was chosen: the figures of all methods over ``count`` series of ``split``.

    ``overlap`` of the series beside it chose too, by another model: validation series of one fold are test series of
    others.
    """

    split: str
    count: int
    methods: Figures
    overlap: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Faithfulness:
    """How faithful the explanations of one ``series`` are, or those of a ``model`` over ``count`` series of ``split``.

    ``methods`` maps method to measure to figure, by the names of ``seriatim.explanation.methods``; what could not be
    measured is not there. ``best`` is the method of slices (in ``pixels`` that of pixels) that measured best: of a
    series there, of a model in its ``choice``, which is of other series than ``methods`` are; without a choice "".
    ``words`` say it all in sentences. ``curves`` are of one series only; ``pixels`` are the same about maps of pixels.
    """

    about: Literal["series", "model"]
    methods: Figures
    best: str
    words: tuple[str, ...]
    count: int = 1
    split: str = ""
    choice: Choice | None = None
    curves: Curves | None = None
    pixels: Faithfulness | None = None

    def as_dict(self) -> dict[str, Any]:
        """All but the curves, for JSON."""
        told: dict[str, Any] = {"about": self.about, "count": self.count, "split": self.split, "best": self.best,
                                "words": list(self.words), "methods": _as_numbers(self.methods)}
        if (choice := self.choice) is not None:
            told["choice"] = {"split": choice.split, "count": choice.count, "overlap": choice.overlap,
                              "methods": _as_numbers(choice.methods)}
        return told | ({} if self.pixels is None else {"pixels": self.pixels.as_dict()})

    def save(self, path: Path, **more: Any) -> None:
        """Write it as JSON, with ``more`` keys of the writer's. Raises OutputError."""
        write_json(path, {"format": FORMAT, **self.as_dict(), **more})


def load_faithfulness(path: Path, *, digest: str | None = None) -> Faithfulness | None:
    """Read what ``save`` wrote; None where there is no file, or where it is that of a model with another ``digest``.

    One of an older format is left aside with a warning.

    Raises:
        ModelError: the file is damaged, or of a newer format.
    """
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        written = int(content["format"])
        if digest is not None and content.get("digest", digest) != digest:
            return None
        found = _read(content) if written == FORMAT else None
    except (OSError, LookupError, TypeError, ValueError, AttributeError) as error:
        raise ModelError(f"{path} cannot be read: {error}. Measure it again with `seriatim faithfulness`.") from error
    if written > FORMAT:
        raise ModelError(f"{path} is not of format {FORMAT}. Measure it again with `seriatim faithfulness`.")
    if written < FORMAT:
        logger.warning("%s is of an older format, whose choice was made on test series, and is not used. Measure it "
                       "again with `seriatim faithfulness`.", path)
    return found


def _read(content: Mapping[str, Any]) -> Faithfulness:
    choice, pixels = content.get("choice"), content.get("pixels")
    return Faithfulness(
        about=content["about"],
        methods=_read_figures(content["methods"]),
        best=str(content["best"]),
        words=tuple(str(one) for one in content["words"]),
        count=int(content["count"]),
        split=str(content["split"]),
        choice=None if choice is None else Choice(
            split=str(choice["split"]), count=int(choice["count"]), methods=_read_figures(choice["methods"]),
            overlap=int(choice["overlap"]),
        ),
        pixels=None if pixels is None else _read(pixels),
    )  # fmt: skip


def _read_figures(content: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> dict[str, dict[str, Measured]]:
    return {
        str(name): {str(key): Measured(**one) for key, one in figures.items()} for name, figures in content.items()
    }


def _as_numbers(methods: Figures) -> dict[str, dict[str, dict[str, float]]]:
    return {
        name: {key: {k: v for k, v in asdict(one).items() if v is not None} for key, one in figures.items()}
        for name, figures in methods.items()
    }
