"""A graph in a file, loaded by the library that computes it."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


class Session(Protocol):
    """One graph, ready to compute: one array in, the graph's outputs out. Any number of threads may call it at once."""

    def run(self, values: Array) -> list[NDArray[Any]]:
        """The outputs, in the order of the graph."""
