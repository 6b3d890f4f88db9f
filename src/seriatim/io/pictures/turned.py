"""How the frames of a video are to be turned: the display matrix that MP4, MOV and Matroska files may hold."""

from __future__ import annotations

import struct
from typing import Any

ONE = 1 << 16
TOLERANCE = ONE // 100
TURNS = {(1, 0, 0, 1): 0, (0, -1, 1, 0): 1, (-1, 0, 0, -1): 2, (0, 1, -1, 0): 3}
"""The upper left of the matrix (ISO/IEC 14496-12, 8.3.2), by quarter turns counterclockwise."""


def quarter_turns(frame: Any) -> int | None:
    """How often a frame is to be turned by 90 degrees, counterclockwise, to be upright.

    None where the file asks for anything else: a mirrored picture, a stretched one, or one that lies askew.
    """
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return 0
    numbers = struct.unpack("=9i", bytes(matrix)[:36])
    found = (numbers[0], numbers[1], numbers[3], numbers[4])
    for turn, count in TURNS.items():
        if all(abs(number - part * ONE) <= TOLERANCE for number, part in zip(found, turn, strict=True)):
            return count
    return None
