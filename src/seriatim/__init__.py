"""seriatim: deep learning over ordered medical images.

The public names are imported on first use, so that ``import seriatim`` and the command line stay fast.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from seriatim.errors import SeriatimError
    from seriatim.experiment import Experiment
    from seriatim.explanation import explain, show
    from seriatim.io import Limits, find_series, frames_over_time, read, read_volume
    from seriatim.scoring import score
    from seriatim.series import Code, Inventory, Series, Volume
    from seriatim.trained import load_model
    from seriatim.training import train

__all__ = [
    "Code", "Experiment", "Inventory", "Limits", "SeriatimError", "Series", "Volume", "explain", "find_series",
    "frames_over_time", "load_model", "read", "read_volume", "score", "show", "train",
]  # fmt: skip

_HOMES = {
    "Code": "series",
    "Experiment": "experiment",
    "Inventory": "series",
    "Limits": "io",
    "SeriatimError": "errors",
    "Series": "series",
    "Volume": "series",
    "explain": "explanation",
    "find_series": "io",
    "frames_over_time": "io",
    "load_model": "trained",
    "read": "io",
    "read_volume": "io",
    "score": "scoring",
    "show": "explanation",
    "train": "training",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'seriatim' has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(f"seriatim.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
