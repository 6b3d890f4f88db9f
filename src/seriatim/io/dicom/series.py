"""Planes of one DICOM series -> Series: duplicates dropped, slices ordered by position, findings told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from seriatim.io.dicom.concatenation import mark_missing_parts
from seriatim.io.dicom.consistency import check_stored
from seriatim.io.dicom.coverage import tell_coverage
from seriatim.io.dicom.duplicates import drop_copies, drop_same_pixels
from seriatim.io.dicom.kinds import VOLUMETRIC
from seriatim.io.dicom.plane import Plane, along, origins_of
from seriatim.io.dicom.runs import Group
from seriatim.io.dicom.split import count_repeats, split_volumes
from seriatim.io.dicom.strays import tell_strays
from seriatim.io.isolation.limits import Limits
from seriatim.series.findings import KEEPABLE, Action, Code, Finding, find
from seriatim.series.geometry import direction_sign, spacing_of, tilt_degrees
from seriatim.series.series import Instance, Series
from seriatim.series.spacing import check_spacing

MIN_TILT_DEGREES = 0.5
MAX_SHIFT_PIXELS = 0.3
MAX_VOLUME_BYTES = 1 << 36
MISFIT = frozenset({Code.DUPLICATE_POSITION, Code.MIXED_SIZE, Code.UNEVEN_SPACING})
"""What is found where slices of two series are taken for one."""
MIN_SLICES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class _Placing:
    planes: list[Plane]
    positions: NDArray[np.float64]
    affine: NDArray[np.float64] | None
    findings: list[Finding]


def build_series(planes: Sequence[Plane], *, path: Path, notes: Sequence[Finding] = (),
                 limits: Limits | None = None) -> list[Series]:
    """The volumes and clips of all planes that share a series UID. Each plane is in one of them, or a left-out copy.

    ``notes`` are findings about all of them; copies are decoded under ``limits``, where they are compressed otherwise.
    """
    kept, dropped = drop_copies(planes, limits=limits)
    kept = mark_missing_parts(kept)
    left_out = Counter(copy.kept for copy in dropped)
    series = []
    groups = [part for group in split_volumes(kept) for part in _separate_pictures(group)]
    for (name, group), strays in zip(groups, tell_strays(groups), strict=True):
        copies = sum(left_out[plane.path, plane.frame] for plane in group) if dropped else 0
        message = f"Copies of slices that were left out: {copies}."
        extra = [find(Code.DUPLICATE_SLICE, message, copies=copies)] if copies else []
        whole = _build_volume(group, name, extra=[*notes, *extra, *strays], path=path)
        series += _build_by_folder(whole, group, notes) or [whole]
    return _tell_film(tell_coverage(series, kept))


def _tell_film(series: list[Series]) -> list[Series]:
    """Several pictures of one place are a film to most who have them, and it is told how to read them so."""
    places = {tuple(one.affine.ravel().round(3)) for one in series if one.affine is not None}
    if len(series) < 2 or len(places) != 1 or any(len(one.instances) != 1 or one.affine is None for one in series):
        return series
    message = (f"One slice location, {len(series)} times, each a sequence of length 1. To read them as one film: "
               "--frames, or data.sequence: frames.")
    return [
        replace(one, findings=tuple(
            replace(finding, message=message)
            if finding.code is Code.NOT_A_SERIES and finding.action == "keep" else finding for finding in one.findings
        ))
        for one in series
    ]


def refuse_planes(planes: Sequence[Plane], *, path: Path, reason: str) -> Series:
    """The row of a series that cannot be put together at all."""
    first = planes[0]
    instances = tuple(
        Instance(path=plane.path, sop_instance_uid=plane.sop_instance_uid, frame=plane.frame, position=float(index))
        for index, plane in enumerate(sorted(planes, key=lambda plane: (str(plane.path), plane.frame or 0)))
    )
    return Series(
        study_uid=first.study_uid, series_uid=first.series_uid, modality=first.modality, axis="space", format="dicom",
        path=path, instances=instances, rows=first.rows, columns=first.columns,
        findings=(find(Code.UNREADABLE, reason),),
    )


def apply_actions(series: Series, actions: Mapping[Code, Action]) -> Series:
    """The series with the caller's action on each finding it names; a finding we chose to keep stays kept."""
    changed = tuple(
        replace(finding, action=actions[finding.code])
        if (finding.code in actions and finding.action == "refuse") or actions.get(finding.code) == "refuse"
        else finding
        for finding in series.findings
    )
    return replace(series, findings=changed)


def _separate_pictures(group: Group) -> list[Group]:
    """Single pictures of one series (stills, projections, captures) are series of one image, not a stack."""
    name, planes = group
    no_stack = planes[0].modality not in VOLUMETRIC or planes[0].role == "capture"
    alone = not planes[0].placed and planes[0].time_s is None and no_stack
    if not alone or len(planes) == 1:
        return [group]
    return [(f"{name}, image {index + 1}".removeprefix(", "), [plane]) for index, plane in enumerate(planes)]


def _build_by_folder(whole: Series, planes: list[Plane], notes: Sequence[Finding]) -> list[Series]:
    """One series per folder, where the folders are whole series of one place but do not fit together; else none.

    So lie two series that a careless anonymiser gave one UID. Slices of one series spread over folders fit together.
    """
    if not planes[0].placed or not MISFIT & {finding.code for finding in whole.findings}:
        return []
    folders: dict[Path, list[Plane]] = {}
    for plane in planes:
        folders.setdefault(plane.path.parent, []).append(plane)
    message = (f"SeriesInstanceUID is shared by {len(folders)} folders whose slices do not fit together: each is a "
               "series of its own. Give each its own UID.")
    note = replace(find(Code.BAD_VALUE, message, folders=len(folders)), action="keep")
    series = []
    for index, (folder, own) in enumerate(sorted(folders.items())):
        name = ", ".join(part for part in (whole.volume, f"folder {index + 1}") if part)
        part = _build_volume(own, name, extra=[*notes, note], path=folder)
        if len(part.instances) < MIN_SLICES or (MISFIT | {Code.GAP}) & {one.code for one in part.findings}:
            return []
        series.append(part)
    ends = sorted((part.positions.min(), part.positions.max()) for part in series)
    overlap = any(  # where any two do, two neighbours do: a third that starts between them overlaps one of them as much
        2 * (min(a[1], b[1]) - b[0]) > min(a[1] - a[0], b[1] - b[0]) for a, b in pairwise(ends)
    )
    return series if overlap else []


def _build_volume(planes: list[Plane], name: str, *, extra: list[Finding], path: Path) -> Series:
    findings = [*extra, *_file_findings(planes), *check_stored(planes)]
    broken = any(finding.action == "refuse" and finding.code not in KEEPABLE for finding in findings)
    first = planes[0]
    axis: Literal["space", "time"] = "space"
    if first.time_s is not None:
        axis, placing = "time", _place_in_time(planes)
    elif first.placed and not broken:
        placing = _place_in_space(planes)
    else:
        placing = _leave_unplaced(planes, broken=broken)
    findings += placing.findings
    if len(planes) == 1 and first.role != "capture":  # a capture has its finding
        findings.append(_single(first))
    elif first.role == "localizer":
        findings.append(find(Code.NOT_A_SERIES, "A localizer shows where the scan lies; it is no series of its own."))
    if first.rows * first.columns * len(planes) * 4 > MAX_VOLUME_BYTES:
        message = f"{len(planes)} slices of {first.columns} x {first.rows} do not fit memory."
        findings.append(find(Code.TOO_LARGE, message))
    instances = tuple(
        Instance(path=plane.path, sop_instance_uid=plane.sop_instance_uid, frame=plane.frame, position=float(position))
        for plane, position in zip(placing.planes, placing.positions, strict=True)
    )
    return Series(
        study_uid=first.study_uid, series_uid=first.series_uid, modality=first.modality, axis=axis, format="dicom",
        path=path, instances=instances, rows=first.rows, columns=first.columns, affine=placing.affine,
        spacing_mm=None if placing.affine is None else spacing_of(placing.affine), volume=name,
        body_parts=tuple(sorted({part for plane in planes for part in plane.body_parts})), findings=tuple(findings),
    )


def _file_findings(planes: Sequence[Plane]) -> list[Finding]:
    """One finding per code and action of the planes' own, with how many files it touches."""
    told: dict[tuple[Code, Action], Finding] = {}  # by action too: a kept one must not hide a refused one
    files: dict[tuple[Code, Action], set[Path]] = {}
    for plane in planes:
        for finding in plane.findings:
            key = (finding.code, finding.action)
            told.setdefault(key, finding)
            files.setdefault(key, set()).add(plane.path)
    return [_count(finding, len(files[key])) for key, finding in told.items()]


def _count(finding: Finding, files: int) -> Finding:
    """The finding with how many files it touches, where it is more than one."""
    if files == 1:
        return finding
    message = f"{finding.message} (the same in {files} files)"
    return replace(finding, message=message, numbers={**finding.numbers, "files": files})


def _single(plane: Plane) -> Finding:
    if plane.role == "localizer":
        return find(Code.NOT_A_SERIES, "A localizer is a single picture that shows where the scan lies.")
    finding = find(Code.NOT_A_SERIES, "There is only one slice, a sequence of length 1.")
    return replace(finding, action="keep")


def _place_in_time(planes: list[Plane]) -> _Placing:
    ordered = sorted(planes, key=lambda plane: plane.time_s or 0.0)
    times = np.array([plane.time_s for plane in ordered], dtype=np.float64)
    findings = []
    if (np.diff(times) <= 0).any():
        findings.append(find(Code.BAD_VALUE, "Two frames of a clip have one time. Export it again."))
    return _Placing(planes=ordered, positions=times - times[0], affine=None, findings=findings)


def _leave_unplaced(planes: list[Plane], *, broken: bool) -> _Placing:
    """Planes without a place: one picture is fine; several slices without a place have no order."""
    ordered = sorted(planes, key=lambda plane: (plane.number, plane.sop_instance_uid, plane.frame or 0))
    findings = []
    if len(planes) > 1 and not broken:
        message = (f"{len(planes)} slices without a position or orientation have no order. Export the series with "
                   "ImagePositionPatient, ImageOrientationPatient and PixelSpacing. If kept, they stand in the order "
                   "of InstanceNumber.")
        findings.append(find(Code.MISSING_GEOMETRY, message))
        if len({(plane.number, plane.frame) for plane in planes}) < len(planes):
            findings.append(find(Code.BAD_VALUE, "InstanceNumber repeats or is missing: it gives no order either."))
    return _Placing(planes=ordered, positions=np.arange(len(planes), dtype=np.float64), affine=None, findings=findings)


def _place_in_space(planes: list[Plane]) -> _Placing:
    planes, findings = drop_same_pixels(planes) if count_repeats(planes) else (planes, [])
    first = planes[0]
    normal = first.normal_ras * (direction_sign(first.normal_ras) / np.linalg.norm(first.normal_ras))
    places = along(origins_of(planes), normal).tolist()
    order = sorted(range(len(planes)), key=lambda index: (places[index], planes[index].sop_instance_uid))
    planes = [planes[index] for index in order]
    origins = origins_of(planes)
    positions = along(origins, normal)
    if repeats := count_repeats(planes):
        message = (f"{repeats} slices lie at the position of another and nothing tells them apart. "
                   "Export each volume as a series of its own.")
        findings.append(find(Code.DUPLICATE_POSITION, message, repeats=repeats))
        return _Placing(planes=planes, positions=positions, affine=None, findings=findings)
    affine = _affine_of(planes[0], origins, normal)
    shift = _largest_shift(origins, positions, affine)
    if shift > MAX_SHIFT_PIXELS * min(first.spacing_mm or (1.0,)):
        message = f"Slices are shifted in plane by up to {shift:.4g} mm: they share no grid."
        findings.append(find(Code.MIXED_SIZE, message, shift_mm=shift))
    findings += check_spacing(positions)
    if len(planes) > 1 and (tilt := tilt_degrees(affine)) > MIN_TILT_DEGREES:
        message = f"Slices are sheared by {tilt:.3g} degrees; the affine keeps the shear."
        findings.append(find(Code.GANTRY_TILT, message, degrees=tilt))
    return _Placing(planes=planes, positions=positions, affine=affine, findings=findings)


def _affine_of(plane: Plane, origins: NDArray[np.float64], normal: NDArray[np.float64]) -> NDArray[np.float64]:
    """(4,4) index (column, row, slice) -> RAS+ mm (PS3.3 C.7.6.2.1.1); the slice step is the mean of the steps."""
    column_axis, row_axis = plane.axes_ras
    between_rows, between_columns = plane.spacing_mm or (1.0, 1.0)
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = column_axis * between_columns, row_axis * between_rows
    affine[:3, 2] = (origins[-1] - origins[0]) / (len(origins) - 1) if len(origins) > 1 else normal
    affine[:3, 3] = origins[0]
    return affine


def _largest_shift(origins: NDArray[np.float64], positions: NDArray[np.float64], affine: NDArray[np.float64]) -> float:
    """How far (mm) an origin lies from the straight line through the first and the last."""
    if len(origins) < 3:
        return 0.0
    part = (positions - positions[0]) / (positions[-1] - positions[0])
    line = origins[0] + part[:, None] * (origins[-1] - origins[0])
    return float(np.linalg.norm(origins - line, axis=1).max()) if np.isfinite(affine).all() else 0.0
