"""Multi-frame DICOM: one file -> one plane per frame, placed in space or in time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate
from typing import Any

import numpy as np

from seriatim.io.dicom_enhanced import place_enhanced
from seriatim.io.dicom_mosaic import place_mosaic
from seriatim.io.dicom_plane import Plane
from seriatim.io.dicom_values import BadValueError, get_group, get_integer, get_number, get_numbers, get_text
from seriatim.series.findings import Code, Finding, find

NM_VECTORS = ("EnergyWindowVector", "DetectorVector", "PhaseVector", "RotationVector", "RRIntervalVector",
              "TimeSlotVector", "AngularViewVector", "TimeSliceVector")
FRAME_KEYWORDS = (
    *NM_VECTORS, "NumberOfFrames", "PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence",
    "DimensionIndexSequence", "FrameTime", "FrameTimeVector", "CineRate", "RecommendedDisplayFrameRate",
    "FrameIncrementPointer", "GridFrameOffsetVector", "DoseGridScaling", "SpacingBetweenSlices",
    "DetectorInformationSequence", "SliceVector",
)
"""The attributes that this module needs, with those of dicom_enhanced.py."""
VOLUMETRIC = frozenset({"CT", "MR", "PT"})
SECONDS_PER_UNTIMED_FRAME = 1.0


def expand_frames(plane: Plane, dataset: Any) -> list[Plane]:
    """The planes of the file that ``plane`` describes: itself, or one per frame."""
    count = get_integer(dataset, "NumberOfFrames", 1)
    if "PerFrameFunctionalGroupsSequence" in dataset:
        placed = place_enhanced(plane, dataset, max(count, 1))
        return placed if placed[0].position is not None or count <= 1 else place_in_time(plane, dataset, count)
    if count <= 1:
        return place_mosaic(plane, dataset) or [plane]
    if plane.modality == "RTDOSE":
        return _place_dose(plane, dataset, count)
    image_type = get_text(dataset, "ImageType").upper()
    if plane.modality == "NM" and "RECON" in image_type and "DetectorInformationSequence" in dataset:
        return _place_nuclear(plane, dataset, count)
    return place_in_time(plane, dataset, count)


def place_in_time(plane: Plane, dataset: Any, count: int) -> list[Plane]:
    """Frames at their times in seconds from the first (PS3.3 C.7.6.5); an untimed frame counts as one second."""
    problems: list[Finding] = []
    try:
        times = _frame_times(dataset, count)
    except BadValueError as error:
        times = None
        problems.append(replace(find(Code.BAD_VALUE, f"{error} Frames are counted instead."), action="keep"))
    if times is None:
        times = [index * SECONDS_PER_UNTIMED_FRAME for index in range(count)]
        problems.append(_untimed(plane))
    base = replace(plane, position=None, orientation=None, spacing_mm=None, findings=(*plane.findings, *problems))
    return [replace(base, frame=index, time_s=time) for index, time in enumerate(times)]


def _untimed(plane: Plane) -> Finding:
    if plane.modality in VOLUMETRIC:
        return find(Code.MISSING_GEOMETRY, "The frames have neither positions nor times. Export the series again.")
    finding = find(Code.MISSING_GEOMETRY, "The frames have no times: positions count them in stored order.")
    return replace(finding, action="keep")


def _frame_times(dataset: Any, count: int) -> list[float] | None:
    vector = get_numbers(dataset, "FrameTimeVector")
    if vector and len(vector) == count and count > 1:
        times = list(accumulate((0.0, *vector[1:])))
        if min(vector[1:]) <= 0:
            raise BadValueError("FrameTimeVector does not ascend.")
        return [time / 1000 for time in times]
    seconds = None
    if frame_time := get_number(dataset, "FrameTime"):
        seconds = frame_time / 1000
    elif rate := get_number(dataset, "CineRate") or get_number(dataset, "RecommendedDisplayFrameRate"):
        seconds = 1 / rate
    if seconds is None:
        return None
    if seconds <= 0:
        raise BadValueError(f"The frame time is {seconds:g} s.")
    return [index * seconds for index in range(count)]


def _place_dose(plane: Plane, dataset: Any, count: int) -> list[Plane]:
    """RT Dose: planes at the grid frame offsets along the normal (PS3.3 C.8.8.3.2)."""
    try:
        offsets = get_numbers(dataset, "GridFrameOffsetVector", count)
    except BadValueError as error:
        return _broken(plane, count, str(error))
    if offsets is None or not plane.placed:
        return _broken(plane, count, "The dose grid has no GridFrameOffsetVector or no position.")
    return _place_along(plane, [offset - offsets[0] for offset in offsets])


def _place_nuclear(plane: Plane, dataset: Any, count: int) -> list[Plane]:
    """NM tomography: planes at Spacing Between Slices along the normal, with its sign (PS3.3 C.8.4.9 and C.8.4.15)."""
    detector = get_group(dataset, "DetectorInformationSequence")
    try:
        position = get_numbers(detector, "ImagePositionPatient", 3)
        orientation = get_numbers(detector, "ImageOrientationPatient", 6)
        between = get_number(dataset, "SpacingBetweenSlices")
        numbers = get_numbers(dataset, "SliceVector", count) or tuple(range(1, count + 1))
    except BadValueError as error:
        return _broken(plane, count, str(error))
    if position is None or orientation is None or not between or plane.spacing_mm is None:
        return place_in_time(plane, dataset, count)
    base = replace(plane, position=position, orientation=orientation)
    placed = _place_along(base, [(number - 1) * between for number in numbers])
    vectors = {name: get_numbers(dataset, name) or () for name in NM_VECTORS}
    kinds = {name: values for name, values in vectors.items() if len(values) == count}
    return [
        replace(one, traits={**one.traits, **{name: values[index] for name, values in kinds.items()}})
        for index, one in enumerate(placed)
    ]


def _place_along(plane: Plane, offsets_mm: Sequence[float]) -> list[Plane]:
    axes = np.asarray(plane.orientation, dtype=np.float64).reshape(2, 3)
    normal = np.cross(axes[0], axes[1])
    origin = np.asarray(plane.position)
    return [
        replace(plane, frame=index, position=tuple(float(part) for part in origin + offset * normal))
        for index, offset in enumerate(offsets_mm)
    ]


def _broken(plane: Plane, count: int, reason: str) -> list[Plane]:
    finding = find(Code.BAD_VALUE, reason)
    return [replace(plane, frame=index, findings=(*plane.findings, finding)) for index in range(count)]
