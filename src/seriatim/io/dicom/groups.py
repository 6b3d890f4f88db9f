"""Which files make one DICOM series: by their UIDs, and with suspicion where these are missing or shared."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from seriatim.io.content import digest_files, make_uid
from seriatim.io.dicom.plane import Plane
from seriatim.series.findings import Code, Finding, find

MIN_SLICES = 3
"""Fewer slices without a SeriesInstanceUID are strays of the series beside them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaneGroup:
    """The planes of one series, what tells it from others of its UID, and what was noticed about its UIDs.

    ``nameless``: the files have no SeriesInstanceUID.
    """

    planes: list[Plane]
    name: str = ""
    nameless: bool = False
    notes: tuple[Finding, ...] = ()


def group_planes(files: Iterable[list[Plane]]) -> list[PlaneGroup]:
    """Group the planes of files (one list each) into series; no series mixes studies or patients.

    Files without a SeriesInstanceUID are grouped by folder, modality and series number, and get UIDs from their
    content. Patients are compared by digest; files that name none stay with the only patient of their series.
    """
    groups: dict[Hashable, list[Plane]] = defaultdict(list)
    for planes in _adopt(list(files)):
        groups[_key(planes[0])] += planes
    notes = _notes_of_studies(groups)
    named = [_name(replace(group, notes=(*group.notes, *notes.get(key, ()))))
             for key, planes in groups.items() for group in _split_patients(planes)]
    return [_note_strays(group, named) for group in named]


def _adopt(files: list[list[Plane]]) -> list[list[Plane]]:
    """The files, those without a StudyInstanceUID put into the only study that has a series of their UID."""
    studies: dict[str, set[str]] = defaultdict(set)
    for planes in files:
        if planes[0].study_uid:
            studies[planes[0].series_uid].add(planes[0].study_uid)
    only = {uid: min(found) for uid, found in studies.items() if uid and len(found) == 1}
    return [[replace(plane, study_uid=only[plane.series_uid], findings=(*plane.findings, _no_study())) for plane in
             planes] if not planes[0].study_uid and planes[0].series_uid in only else planes for planes in files]


def _no_study() -> Finding:
    message = "StudyInstanceUID is missing in some files: they are taken for the study of their series."
    return replace(find(Code.BAD_VALUE, message), action="keep")


def _notes_of_studies(groups: Mapping[Hashable, list[Plane]]) -> dict[Hashable, tuple[Finding, ...]]:
    """A note for each group whose SeriesInstanceUID is also in another study: one may hold slices of the other."""
    keys: dict[str, list[Hashable]] = defaultdict(list)
    for key, planes in groups.items():
        keys[planes[0].series_uid].append(key)
    message = "One SeriesInstanceUID is found in several studies: each is a series of its own, perhaps not whole."
    note = replace(find(Code.BAD_VALUE, message), action="keep")
    return {key: (note,) for uid, same in keys.items() if uid and len(same) > 1 for key in same}


def _note_strays(group: PlaneGroup, groups: Sequence[PlaneGroup]) -> PlaneGroup:
    """The group with a note where a few slices without a SeriesInstanceUID lie beside it and could be its own."""
    first = group.planes[0]
    strays = sum(len(other.planes) for other in groups if other.nameless and len(other.planes) < MIN_SLICES <= len(
        group.planes) and not group.nameless and _are_alike(first, other.planes[0]))
    if not strays:
        return group
    message = f"{strays} slices without a SeriesInstanceUID lie beside this series: it may not be whole."
    return replace(group, notes=(*group.notes, find(Code.SHORT_COVERAGE, message, slices=strays)))


def _are_alike(plane: Plane, other: Plane) -> bool:
    return (plane.path.parent == other.path.parent and plane.modality == other.modality
            and (plane.rows, plane.columns) == (other.rows, other.columns))


def _key(plane: Plane) -> Hashable:
    if plane.series_uid:
        return plane.study_uid, plane.series_uid
    return plane.study_uid, plane.path.parent, plane.modality, plane.traits.get("SeriesNumber", "")


def _split_patients(planes: list[Plane]) -> list[PlaneGroup]:
    patients: dict[str, list[Plane]] = {}
    for plane in sorted(planes, key=lambda plane: (str(plane.path), plane.frame or 0)):
        patients.setdefault(plane.patient, []).append(plane)
    if len(patients.keys() - {""}) < 2:
        return [PlaneGroup(planes=planes)]
    message = f"{len(patients)} patients share one SeriesInstanceUID or have none: each is a series of its own."
    note = replace(find(Code.BAD_VALUE, message, patients=len(patients)), action="keep")
    has_uid = bool(planes[0].series_uid)  # else each gets a UID of its own
    return [
        PlaneGroup(planes=part, name=f"patient {index + 1}" if has_uid else "", notes=(note,))
        for index, part in enumerate(patients.values())
    ]


def _name(group: PlaneGroup) -> PlaneGroup:
    """The group with UIDs of its content where it has none."""
    first = group.planes[0]
    missing = [keyword for keyword, uid in (("StudyInstanceUID", first.study_uid),
                                            ("SeriesInstanceUID", first.series_uid)) if not uid]
    if not missing:
        return group
    digest = first.series_uid.encode() or _digest(sorted({plane.path for plane in group.planes}))
    study_uid = first.study_uid or make_uid(digest, "study")
    series_uid = first.series_uid or make_uid(digest, "series")
    verb = "is" if len(missing) == 1 else "are"
    how = "" if first.series_uid else " and the files of a folder are taken for one series"
    message = f"{' and '.join(missing)} {verb} missing: made from the content{how}. Export the series with its UIDs."
    note = replace(find(Code.BAD_VALUE, message), action="keep")
    planes = [replace(plane, study_uid=study_uid, series_uid=series_uid) for plane in group.planes]
    return PlaneGroup(planes=planes, name=group.name, notes=(*group.notes, note), nameless=not first.series_uid)


def _digest(paths: Sequence[Path]) -> bytes:
    """A digest of the content of files that does not depend on their names."""
    return b"".join(sorted(digest_files([path]) for path in paths))
