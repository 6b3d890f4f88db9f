"""The reader of seriatim in the shape that the zoo's checker asks for.

python ../shared/zoo/check_reference.py --zoo ../shared/zoo --loader tools.zoo_loader:load -v
"""

from __future__ import annotations

from typing import Any

import seriatim.io
from seriatim.series import Code

KEEP = {Code.DERIVED: "keep", Code.NOT_A_SERIES: "keep"}
"""What the zoo takes either way: read, or left out."""


def load(path: str) -> list[tuple[Any, Any, str]]:
    """(array, affine, "RAS") of every series at ``path`` that can be read."""
    return [(volume.array, volume.affine, "RAS") for volume in seriatim.io.read(path, KEEP)]
