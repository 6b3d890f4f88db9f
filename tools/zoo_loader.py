"""The reader of seriatim in the shape that the zoo's checker asks for.

python ../shared/zoo/check_reference.py --zoo ../shared/zoo --loader tools.zoo_loader:load -v
"""

from __future__ import annotations

from typing import Any

import seriatim.io


def load(path: str) -> list[tuple[Any, Any, str]]:
    """(array, affine, "RAS") of every usable series at ``path``."""
    return [(volume.array, volume.affine, "RAS") for volume in seriatim.io.read(path)]
