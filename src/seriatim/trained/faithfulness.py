"""What was measured of a model's explanations, as plain numbers and words. No torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from seriatim.errors import ModelError
from seriatim.io.tables.outputs import write_json

FAITHFULNESS = "faithfulness.json"
"""In a run folder: what was measured of the model's explanations, on series that it was not trained on."""
FORMAT = 1


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
class Faithfulness:
    """How faithful the explanations of one ``series`` are, or those of a ``model`` over ``count`` series.

    ``methods`` maps method to measure to figure, by the names of ``seriatim.explanation.methods``; what could not be
    measured is not there. ``best`` is the method of slices that measured best, ``words`` say it all in
    sentences. ``curves`` are of one series only.
    """

    about: Literal["series", "model"]
    methods: Mapping[str, Mapping[str, Measured]]
    best: str
    words: tuple[str, ...]
    count: int = 1
    curves: Curves | None = None

    def as_dict(self) -> dict[str, Any]:
        """All but the curves, for JSON."""
        methods = {
            name: {key: {k: v for k, v in asdict(one).items() if v is not None} for key, one in figures.items()}
            for name, figures in self.methods.items()
        }
        return {"format": FORMAT, "about": self.about, "count": self.count, "best": self.best,
                "words": list(self.words), "methods": methods}

    def save(self, path: Path, **more: Any) -> None:
        """Write it as JSON, with ``more`` keys of the writer's. Raises OutputError."""
        write_json(path, {**self.as_dict(), **more})


def load_faithfulness(path: Path, *, digest: str | None = None) -> Faithfulness | None:
    """Read what ``save`` wrote; None where there is no file, or where it is that of a model with another ``digest``.

    Raises:
        ModelError: the file is damaged.
    """
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        legal = content["format"] == FORMAT
        if digest is not None and content.get("digest", digest) != digest:
            return None
        methods = {
            str(name): {str(key): Measured(**one) for key, one in figures.items()}
            for name, figures in content["methods"].items()
        }
        words = tuple(str(one) for one in content["words"])
        found = Faithfulness(about=content["about"], methods=methods, best=str(content["best"]), words=words,
                             count=int(content["count"]))
    except (OSError, LookupError, TypeError, ValueError, AttributeError) as error:
        raise ModelError(f"{path} cannot be read: {error}. Measure it again with `seriatim faithfulness`.") from error
    if not legal:
        raise ModelError(f"{path} is not of format {FORMAT}. Measure it again with `seriatim faithfulness`.")
    return found
