"""Which planes of one DICOM series make one volume: by what tells volumes apart, never by file order.

First by what no volume mixes (kind of image, size, pixel spacing, orientation), then by kernel, echo, b-value and frame
of reference, then, only where planes repeat a position, by whatever value separates the repeats.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np

from seriatim.io.dicom.plane import Plane, Trait, along, origins_of
from seriatim.io.dicom.runs import Group, find_stretches, lie_between, make_one_grid, name_parts, split_runs
from seriatim.series.spacing import find_gaps, is_even

MIN_SLICES = 3
"""A group of fewer slices is not split off by a trait alone."""
NO_MODALITY = "OT"
"""What a file without a modality is taken for."""
ORIENTATION_TOLERANCE = 2e-3
POSITION_TOLERANCE_MM = 1e-2
SOFT_TRAITS = ("FrameOfReferenceUID", "ConvolutionKernel", "EchoNumbers", "EchoTime", "DiffusionBValue",
               "ComplexImageComponent", "StackID")
REPEAT_TRAITS = (
    "StackID", "EchoTime", "EchoNumbers", "ComplexImageComponent", "ImageType", "DiffusionBValue",
    "TemporalPositionIndex", "TemporalPositionIdentifier", "NominalPercentageOfCardiacPhase", "TriggerTime",
    "FrameReferenceTime", "TemporalPositionTimeOffset", "AcquisitionNumber", "InversionTime", "FlipAngle",
    "RepetitionTime", "KVP",
    "ConvolutionKernel", "DiffusionGradientOrientation", "SequenceName", "ScanOptions", "SeriesNumber",
    "ContrastBolusAgent", "AcquisitionDateTime", "AcquisitionTime", "SliceThickness", "ReconstructionDiameter",
    "ContentTime", "DimensionIndex", "EnergyWindowVector", "DetectorVector", "PhaseVector", "RotationVector",
    "RRIntervalVector", "TimeSlotVector", "AngularViewVector", "TimeSliceVector",
)
LABELS = {"EchoTime": "echo", "EchoNumbers": "echo", "DiffusionBValue": "b", "ComplexImageComponent": "component",
          "ImageType": "type", "FrameOfReferenceUID": "frame of reference", "ConvolutionKernel": "kernel",
          "KVP": "kVp", "StackID": "stack", "DiffusionGradientOrientation": "direction"}
SHOWN_BY_VALUE = frozenset({"DiffusionBValue", "KVP", "ConvolutionKernel", "ComplexImageComponent"})

SHOWN_TEXT = re.compile(
    r"[A-Za-z]{0,3}\d{1,3}[A-Za-z]{0,2}(\\\d)?|magnitude|phase|real|imaginary|mixed|standard|soft|detail|bone|boneplus"
    r"|lung|edge|chst|head|brain|body|sharp|smooth|medium|ultra",
    re.IGNORECASE)
"""Kernels of makers, B30f and Qr40d\\3 and BONE: no text that could be a name is shown."""


def split_volumes(planes: Sequence[Plane]) -> list[Group]:
    """The volumes of one series as (name, planes). Planes without a place in space form groups of their own."""
    groups: list[Group] = []
    for name, hard in _split_hard(_complete(planes)):
        for soft_name, soft in _split_soft(hard):
            parts = split_repeats(soft) if soft[0].placed else None
            groups += [(_join(name, soft_name, part_name), part) for part_name, part in parts or [("", soft)]]
    return groups


def count_repeats(planes: Sequence[Plane]) -> int:
    """How many planes lie at the position of another."""
    return len(planes) - len(set(_places(planes)))


def _complete(planes: Sequence[Plane]) -> list[Plane]:
    """The planes, with the SOP class and the modality of the others where a file does not name its own."""
    classes = {plane.sop_class_uid for plane in planes} - {""}
    modalities = {plane.modality for plane in planes} - {NO_MODALITY}
    sop_class = min(classes) if len(classes) == 1 else ""
    modality = min(modalities) if len(modalities) == 1 else NO_MODALITY
    return [
        plane if plane.sop_class_uid and plane.modality != NO_MODALITY else replace(
            plane, sop_class_uid=plane.sop_class_uid or sop_class,
            modality=modality if plane.modality == NO_MODALITY else plane.modality)
        for plane in planes
    ]


def _split_hard(planes: Sequence[Plane]) -> list[Group]:
    clusters = _Clusters()

    def key(plane: Plane) -> Hashable:
        return (plane.role, plane.placed, clusters.number_of(plane), plane.rows, plane.columns,
                _round(plane.spacing_mm), plane.sop_class_uid, plane.modality,
                plane.stored.photometric == "MONOCHROME1", plane.colour, plane.time_s is not None and plane.clip)

    groups = _group(sorted(planes, key=_stable), key)
    return [(_name_hard(index, part, len(groups)), part) for index, part in enumerate(groups.values())]


class _Clusters:
    """The orientations of planes: those within tolerance of one that came before are one."""

    def __init__(self) -> None:
        self._known = np.empty((0, 6))
        self._numbers: dict[tuple[float, ...], int] = {}

    def number_of(self, plane: Plane) -> int:
        """The number of the orientation that a plane shares within tolerance; a new one where it shares none."""
        if not plane.placed or plane.orientation is None:
            return -1
        number = self._numbers.get(plane.orientation)
        if number is None:
            distances = np.abs(self._known - plane.orientation).max(axis=1)
            shared = np.flatnonzero(distances < ORIENTATION_TOLERANCE)
            number = int(shared[0]) if len(shared) else len(distances)
            if not len(shared):
                self._known = np.vstack([self._known, plane.orientation])
            self._numbers[plane.orientation] = number
        return number


@lru_cache
def _round(spacing_mm: tuple[float, ...] | None) -> tuple[float, ...] | None:
    return None if spacing_mm is None else tuple(round(value, 3) for value in spacing_mm)


def _name_hard(index: int, planes: Sequence[Plane], count: int) -> str:
    if planes[0].role and count > 1:
        return f"{planes[0].role} {index + 1}"
    return f"part {index + 1}" if count > 1 else ""


def _split_soft(planes: list[Plane]) -> list[Group]:
    """Split by kernel, echo, b-value ...; not where that would shatter a volume into single slices."""
    groups: list[Group] = [("", planes)]
    for trait in SOFT_TRAITS:
        groups = [(_join(name, label), part) for name, group in groups for label, part in _split_by(group, trait)
                  ] if all(_may_split(group, trait) for _, group in groups) else groups
    return groups


def _may_split(planes: Sequence[Plane], trait: str) -> bool:
    sizes = Counter([plane.traits.get(trait, "") for plane in planes])
    return len(sizes) == 1 or (min(sizes.values()) >= MIN_SLICES and not _fill_holes(planes, trait))


def _fill_holes(planes: Sequence[Plane], trait: str) -> bool:
    """True where the parts of a trait are one stack together: an echo time that wavers from slice to slice."""
    if not planes[0].placed:
        return False
    places = np.array(_places(planes), dtype=np.float64)
    positions = along(origins_of(planes), planes[0].normal_ras)
    first = dict(zip(places[::-1], positions[::-1], strict=True))
    return make_one_grid(np.array([first[place] for place in places]), _number_values(planes, trait))


def _number_values(planes: Sequence[Plane], trait: str) -> list[int]:
    """A number per plane: that of the value of its trait, in the order in which values come first."""
    known: dict[Trait, int] = {}
    return [known.setdefault(plane.traits.get(trait, ""), len(known)) for plane in planes]


def split_repeats(planes: list[Plane]) -> list[Group] | None:
    """Split planes that repeat positions into volumes that do not; None where nothing tells the repeats apart."""
    if not count_repeats(planes):
        return _split_between(planes) or _split_apart(planes)
    places = len(set(_places(planes)))
    for trait in REPEAT_TRAITS:
        parts = _split_by(planes, trait)
        if len(parts) < 2 or not _are_mostly_whole([len(set(_places(part))) for _, part in parts], places):
            continue
        split = [(name, split_repeats(part)) for name, part in parts]
        if all(inner is not None for _, inner in split):
            return [(_join(name, inner_name), part) for name, inner in split for inner_name, part in inner or ()]
    return split_runs(planes, _places(planes)) or _split_stretches(planes)


def _are_mostly_whole(sizes: Sequence[int], places: int) -> bool:
    """True where no part lacks over half of the places, or one does (a scan that was stopped) beside whole ones."""
    short = sum(size * 2 < places for size in sizes)
    return not short or (short == 1 and len(sizes) > 2 and sorted(sizes)[1] == places)


def _split_between(planes: list[Plane]) -> list[Group] | None:
    """Split even stacks that lie between one another's slices, as two phases of one stretch do."""
    positions = along(origins_of(planes), planes[0].normal_ras)
    if is_even(np.sort(positions)):
        return None
    for trait in REPEAT_TRAITS:
        values = _number_values(planes, trait)
        if 1 <= max(values) < len(planes) // MIN_SLICES and lie_between(planes, positions, values):
            return _split_by(planes, trait)
    stretches = find_stretches(planes, positions)
    if not lie_between(planes, positions, stretches):
        return None
    return name_parts(planes, stretches)


def _split_apart(planes: list[Plane]) -> list[Group]:
    """Split acquisitions that lie apart, where instance numbers go on over each hole: so nothing is missing there."""
    parts = _split_by(planes, "AcquisitionNumber")
    if len(parts) < 2 or not all(_is_stretch(part) for _, part in parts):
        return [("", planes)]
    order = np.argsort(along(origins_of(planes), np.cross(*planes[0].axes_ras)))
    ordered = [planes[index] for index in order]
    holes = find_gaps(along(origins_of(ordered), np.cross(*planes[0].axes_ras)))
    numbers = np.array([plane.number for plane in ordered])
    changes = {index for index in range(len(ordered) - 1) if _acquisition(ordered[index]) != _acquisition(
        ordered[index + 1])}
    go_on = (np.diff(numbers) == 1).all() or (np.diff(numbers) == -1).all()
    return parts if holes and go_on and {hole.index for hole in holes} == changes else [("", planes)]


def _acquisition(plane: Plane) -> Trait:
    return plane.traits.get("AcquisitionNumber", "")


def _split_stretches(planes: list[Plane]) -> list[Group] | None:
    """Split by the first trait whose parts are stretches without repeats and without holes: stations that overlap."""
    for trait in REPEAT_TRAITS:
        parts = _split_by(planes, trait)
        if len(parts) > 1 and all(_is_stretch(part) for _, part in parts):
            return parts
    return None


def _is_stretch(planes: list[Plane]) -> bool:
    if len(planes) < MIN_SLICES or count_repeats(planes):
        return False
    return not find_gaps(np.sort(along(origins_of(planes), planes[0].normal_ras)))


def _split_by(planes: Sequence[Plane], trait: str) -> list[Group]:
    if len({plane.traits.get(trait, "") for plane in planes}) < 2:
        return [("", list(planes))]
    groups = _group(planes, lambda plane: plane.traits.get(trait, ""))
    ordered = sorted(groups.items(), key=lambda item: _order(item[0]))
    return [(_label(trait, value, index), part) for index, (value, part) in enumerate(ordered)]


def _order(value: Hashable) -> tuple[bool, float, str]:
    return (False, float(value), "") if isinstance(value, int | float) else (True, 0.0, str(value))


def _label(trait: str, value: Trait | Hashable, index: int) -> str:
    label = LABELS.get(trait, "t")
    if trait in SHOWN_BY_VALUE and value == "":
        return f"no {label}"
    if trait in SHOWN_BY_VALUE and (isinstance(value, float) or SHOWN_TEXT.fullmatch(str(value))):
        return f"{label} {value:g}" if isinstance(value, float) else f"{label} {value}"
    return f"{label} {index + 1}"


def _group(planes: Sequence[Plane], key: Callable[[Plane], Hashable]) -> dict[Hashable, list[Plane]]:
    groups: dict[Hashable, list[Plane]] = {}
    for plane in planes:
        groups.setdefault(key(plane), []).append(plane)
    return groups


def _places(planes: Sequence[Plane]) -> list[int]:
    """A number per plane: equal where the planes lie at one position along their common normal."""
    if not planes or not planes[0].placed:
        return list(range(len(planes)))
    normal = planes[0].normal_ras
    positions = along(origins_of(planes), normal)
    order = np.argsort(positions, kind="stable")
    steps = np.concatenate([[0], np.diff(positions[order]) > POSITION_TOLERANCE_MM]).cumsum()
    numbers = np.empty(len(planes), dtype=int)
    numbers[order] = steps
    return list(map(int, numbers))


def _stable(plane: Plane) -> tuple[int, str, int]:
    """An order that does not depend on file names."""
    return plane.number, plane.sop_instance_uid, plane.frame or 0


def _join(*names: str) -> str:
    return ", ".join(name for name in names if name)
