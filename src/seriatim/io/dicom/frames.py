"""Multi-frame DICOM: one file -> one plane per frame, placed in space or in time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from seriatim.io.dicom.concatenation import CONCATENATION_KEYWORDS, find_part
from seriatim.io.dicom.enhanced import place_enhanced
from seriatim.io.dicom.mosaic import place_mosaic
from seriatim.io.dicom.plane import Plane, check_geometry
from seriatim.io.dicom.times import TIME_KEYWORDS, frame_times
from seriatim.io.dicom.values import BadValueError, get_group, get_integer, get_number, get_numbers, get_text
from seriatim.series.findings import Code, Finding, find

NM_VECTORS = ("EnergyWindowVector", "DetectorVector", "PhaseVector", "RotationVector", "RRIntervalVector",
              "TimeSlotVector", "AngularViewVector", "TimeSliceVector")
FRAME_KEYWORDS = (
    *NM_VECTORS, *TIME_KEYWORDS, *CONCATENATION_KEYWORDS, "NumberOfFrames", "PerFrameFunctionalGroupsSequence",
    "SharedFunctionalGroupsSequence", "DimensionIndexSequence", "GridFrameOffsetVector", "DoseGridScaling",
    "SpacingBetweenSlices", "DetectorInformationSequence", "SliceVector",
)
"""The attributes that this module and those it calls need."""
CLIP_VECTORS = ("EnergyWindowVector", "DetectorVector", "RRIntervalVector")
"""What tells clips of one nuclear medicine file apart; the other vectors count frames within a clip."""
VOLUMETRIC = frozenset({"CT", "MR", "PT"})
SECONDS_PER_UNTIMED_FRAME = 1.0
MAX_FRAMES = 100_000
SAME_MM = 1e-2
MIN_AXIAL_COSINE = 0.9999


def expand_frames(plane: Plane, dataset: Any) -> list[Plane]:
    """The planes of the file that ``plane`` describes: itself, or one per frame."""
    count = get_integer(dataset, "NumberOfFrames", 1)
    plane = replace(plane, part=find_part(dataset, max(count, 1)))
    if count > MAX_FRAMES:
        message = f"{count} frames in one file are more than the {MAX_FRAMES} that are read."
        return [replace(plane, frame=0, findings=(*plane.findings, find(Code.TOO_LARGE, message)))]
    if "PerFrameFunctionalGroupsSequence" in dataset:
        placed = place_enhanced(plane, dataset, max(count, 1))
        in_space = count <= 1 or any(one.position is not None for one in placed) or plane.modality in VOLUMETRIC
        return placed if in_space else place_in_time(plane, dataset, count)
    if count <= 1:
        return place_mosaic(plane, dataset) or [plane]
    if plane.modality == "RTDOSE":
        return _place_dose(plane, dataset, count)
    if plane.modality == "NM":
        return _place_nuclear(plane, dataset, count)
    return place_in_time(plane, dataset, count)


def place_in_time(plane: Plane, dataset: Any, count: int) -> list[Plane]:
    """Frames at their times in seconds; an untimed frame counts as one second. A clip is the file, or its parts."""
    first = max(plane.part.offset, 0) if plane.part else 0
    times, notes = frame_times(dataset, count, first=first)
    if times is None:
        times = [(first + index) * SECONDS_PER_UNTIMED_FRAME for index in range(count)]
        notes.append(_untimed(plane))
    clip = plane.part.uid if plane.part else str(plane.path)
    base = replace(plane, position=None, orientation=None, spacing_mm=None, clip=clip,
                   findings=(*plane.findings, *notes))
    return [replace(base, frame=index, time_s=time) for index, time in enumerate(times)]


def _untimed(plane: Plane) -> Finding:
    if plane.modality in VOLUMETRIC:
        return find(Code.MISSING_GEOMETRY, "The frames have neither positions nor times. Export the series again.")
    finding = find(Code.MISSING_GEOMETRY, "The frames have no times: positions count them in stored order.")
    return replace(finding, action="keep")


def _place_dose(plane: Plane, dataset: Any, count: int) -> list[Plane]:
    """RT Dose: planes at offsets along the normal from 0, or at their z in the patient (PS3.3 C.8.8.3.2)."""
    try:
        offsets = get_numbers(dataset, "GridFrameOffsetVector", count)
    except BadValueError as error:
        return _broken(plane, count, str(error))
    if offsets is None or not plane.placed:
        return _broken(plane, count, "The dose grid has no GridFrameOffsetVector or no position.")
    normal_z = float(np.cross(*np.asarray(plane.orientation).reshape(2, 3))[2])
    first_z = (plane.position or (0.0, 0.0, 0.0))[2]
    if offsets[0] == 0:
        return _place_along(plane, offsets)
    if abs(offsets[0] - first_z) > SAME_MM or abs(normal_z) < MIN_AXIAL_COSINE:
        reason = f"GridFrameOffsetVector starts at {offsets[0]:g}: neither 0 nor {first_z:g}, the z of its plane."
        return _broken(plane, count, reason)
    return _place_along(plane, [(offset - offsets[0]) * np.sign(normal_z) for offset in offsets])


def _place_nuclear(plane: Plane, dataset: Any, count: int) -> list[Plane]:
    """NM: a reconstruction is placed in space, all else are clips, one per energy window, detector and interval."""
    vectors = {name: _vector(dataset, name, count) for name in NM_VECTORS}
    kinds = {name: values for name, values in vectors.items() if values}
    reconstructed = "RECON" in get_text(dataset, "ImageType").upper() or "SliceVector" in dataset
    placed = _place_tomogram(plane, dataset, count) if reconstructed else place_in_time(plane, dataset, count)
    return [
        replace(one, clip="|".join([one.clip, *(f"{kinds[name][index]:g}" for name in CLIP_VECTORS if name in kinds)]),
                traits={**one.traits, **{name: values[index] for name, values in kinds.items()}})
        for index, one in enumerate(placed)
    ]


def _vector(dataset: Any, name: str, count: int) -> tuple[float, ...]:
    """One value per frame; nothing where it is missing or has another number of values."""
    try:
        values = get_numbers(dataset, name) or ()
    except BadValueError:
        return ()
    return values if len(values) == count else ()


def _place_tomogram(plane: Plane, dataset: Any, count: int) -> list[Plane]:
    """Planes at Spacing Between Slices along the normal, with its sign (PS3.3 C.8.4.9 and C.8.4.15)."""
    detector = get_group(dataset, "DetectorInformationSequence")
    try:
        position = get_numbers(detector, "ImagePositionPatient", 3) if detector is not None else plane.position
        orientation = get_numbers(detector, "ImageOrientationPatient", 6) if detector is not None else plane.orientation
        between = get_number(dataset, "SpacingBetweenSlices")
        numbers = get_numbers(dataset, "SliceVector", count) or tuple(range(1, count + 1))
        problems = check_geometry(orientation, None)
    except BadValueError as error:
        return _broken(plane, count, str(error))
    if problems:
        return _broken(plane, count, problems[0].message)
    base = replace(plane, position=position, orientation=orientation)
    if not base.placed or not between:  # in stored order, without a place
        return [replace(plane, frame=index, position=None) for index in range(count)]
    return _place_along(base, [(number - 1) * between for number in numbers])


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
