"""Slices that share a SeriesInstanceUID but fit no volume of it: told on both sides, so nothing goes missing unseen.

A volume from which another size or direction was split off, or of which a slice cannot be placed, may be incomplete.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace

from seriatim.io.dicom.kinds import VOLUMETRIC
from seriatim.io.dicom.plane import Plane
from seriatim.io.dicom.runs import Group
from seriatim.io.dicom.split import ORIENTATION_TOLERANCE
from seriatim.series.findings import Action, Code, Finding, find

MIN_SLICES = 3
"""Fewer slices than this beside a volume are strays of it, no volume of their own."""
MAX_KINDS = 32
"""So many kinds of slices, the largest, are compared with each group: a radial series has one per slice."""


def tell_strays(groups: Sequence[Group]) -> list[list[Finding]]:
    """For each group of a series, what the groups of another kind mean for it; one finding per code at most."""
    kinds: dict[Hashable, list[list[Plane]]] = {}
    own = [_kind_of(planes[0]) for _, planes in groups]
    for kind, (_, planes) in zip(own, groups, strict=True):
        kinds.setdefault(kind, []).append(planes)
    if len(kinds) < 2:
        return [[] for _ in groups]
    others = [(kind, _Others(planes=max(alike, key=len), slices=sum(map(len, alike)))) for kind, alike in kinds.items()]
    largest = sorted(others, key=lambda other: -len(other[1].planes))[:MAX_KINDS]
    return [_tell_all(planes, [other for kind, other in largest if kind != own[index]])
            for index, (_, planes) in enumerate(groups)]


@dataclass(frozen=True, slots=True)
class _Others:
    """The slices of one kind that are not in a volume: the largest group of them, and how many there are in all."""

    planes: list[Plane]
    slices: int


def _kind_of(plane: Plane) -> Hashable:
    """What slices of one stack share."""
    directions = None if plane.orientation is None else tuple(round(part, 2) for part in plane.orientation)
    return (plane.placed, directions, plane.rows, plane.columns, plane.spacing_mm, plane.colour, plane.sop_class_uid,
            plane.role, plane.traits.get("ImageType", ""), plane.modality,
            plane.time_s is None, plane.stored.photometric == "MONOCHROME1")


def _tell_all(planes: list[Plane], others: Sequence[_Others]) -> list[Finding]:
    told: dict[tuple[Code, Action], Finding] = {}
    for other in others:
        for finding in _tell(planes, other):
            told.setdefault((finding.code, finding.action), finding)
    return list(told.values())


def _tell(planes: list[Plane], other: _Others) -> list[Finding]:
    """What other slices mean for ``planes``."""
    others = other.planes
    if not _are_kin(planes[0], others[0]):
        return []
    if planes[0].colour != others[0].colour and not _is_broken(others):
        return []
    if _says(planes[0]) != _says(others[0]):
        return _contradictions(planes, other)
    bigger = len(others) > len(planes)
    if not planes[0].placed:
        lost = bigger and not _is_broken(planes) and _have_one_size(planes[0], others[0])
        return [_unplaced(planes)] if lost else []
    if len(others) < len(planes) and _are_lost(planes, others):
        return [_misses(other)]
    told = _differences(planes, other) if others[0].placed else []
    return [*told, *(_stray(planes, others) if told else [])]


def _stray(planes: Sequence[Plane], others: Sequence[Plane]) -> list[Finding]:
    """NOT_A_SERIES for one or two slices beside a volume."""
    if not len(planes) < MIN_SLICES <= len(others):
        return []
    message = f"{len(planes)} slices fit no volume of their series: of another direction, size, pixel spacing or kind."
    return [find(Code.NOT_A_SERIES, message, slices=len(planes))]


def _says(plane: Plane) -> tuple[str, str, bool]:
    """What a header says of the kind of image, alike in all slices of a stack."""
    return plane.modality, plane.sop_class_uid, plane.stored.photometric == "MONOCHROME1"


def _contradictions(planes: list[Plane], other: _Others) -> list[Finding]:
    """Slices of one direction and size whose headers name other kinds of image: one of them is wrong."""
    if not planes[0].placed or not other.planes[0].placed or _differences(planes, other):
        return []
    message = (f"{other.slices} slices of this series, of the same direction and size, say another modality, SOP class "
               "or photometric interpretation: no part of this volume. Check their headers.")
    note = replace(find(Code.BAD_VALUE, message, slices=other.slices), action="keep")
    return [note, *_stray(planes, other.planes)]


def _are_kin(plane: Plane, other: Plane) -> bool:
    """True where both could be slices of one stack but for their place, direction and size."""
    types = [one.traits.get("ImageType", "") for one in (plane, other)]
    return (plane.modality in VOLUMETRIC and types[0] == types[1]
            and not plane.role and not other.role and plane.time_s is None and other.time_s is None)


def _are_lost(planes: list[Plane], others: list[Plane]) -> bool:
    """True where ``others`` are slices that no volume holds and that could be of this one."""
    if _is_broken(others):
        if not others[0].placed or planes[0].colour != others[0].colour:
            return True
        return bool(_differences(planes, _Others(others, len(others))))
    return not others[0].placed and _have_one_size(planes[0], others[0])


def _is_broken(planes: Sequence[Plane]) -> bool:
    return any(finding.action == "refuse" for plane in planes for finding in plane.findings)


def _unplaced(planes: Sequence[Plane]) -> Finding:
    message = f"{len(planes)} slices without a place lie beside a volume of their series. Export the series again."
    return find(Code.MISSING_GEOMETRY, message, slices=len(planes))


def _misses(other: _Others) -> Finding:
    """What a volume is told when slices of its series cannot be placed: no one knows where they belong."""
    refusals = [finding for plane in other.planes for finding in plane.findings if finding.action == "refuse"]
    code = refusals[0].code if refusals else Code.MISSING_GEOMETRY
    why = f" ({refusals[0].message})" if refusals else ""
    message = f"{other.slices} slices of this series cannot be placed{why}: it may not be whole. Export it again."
    return find(code, message, slices=other.slices)


def _differences(planes: Sequence[Plane], others: _Others) -> list[Finding]:
    """How the slices of two placed groups differ, as kept findings."""
    first, other, count = planes[0], others.planes[0], others.slices
    told = []
    parts = zip(first.orientation or (), other.orientation or (), strict=True)
    if max(abs(one - two) for one, two in parts) >= ORIENTATION_TOLERANCE:
        message = f"{count} slices of this series lie in another direction and are no part of this volume."
        told.append(find(Code.MIXED_ORIENTATION, message, slices=count))
    if _size_of(first) != _size_of(other):
        message = f"{count} slices of this series have another size or pixel spacing: no part of this volume."
        told.append(replace(find(Code.MIXED_SIZE, message, slices=count), action="keep"))
    return told


def _have_one_size(plane: Plane, other: Plane) -> bool:
    return (plane.rows, plane.columns) == (other.rows, other.columns)


def _size_of(plane: Plane) -> tuple[float, ...]:
    return plane.rows, plane.columns, *(round(part, 3) for part in plane.spacing_mm or ())
