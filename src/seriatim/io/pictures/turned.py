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


class Turning:
    """``quarter_turns`` of the frames of one video, one after another, which nearly always are turned alike.

    The matrix is looked at where the angle changes only: a frame that was asked for its side data and that data hold
    each other, so that neither picture nor converter of any frame would be freed before the garbage collector runs.
    """

    def __init__(self) -> None:
        self._angle: float | None = None
        self._turns: int | None = 0

    def of(self, frame: Any) -> int | None:
        """The quarter turns of the next frame; None as ``quarter_turns``."""
        angle = frame.rotation
        if angle != self._angle:
            self._angle, self._turns = angle, quarter_turns(frame)
        return self._turns
