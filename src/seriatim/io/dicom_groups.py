"""Which files make one DICOM series: by their UIDs, and with suspicion where these are missing or shared."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from seriatim.io.content import digest_files, make_uid
from seriatim.io.dicom_plane import Plane
from seriatim.series.findings import Code, Finding, find


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaneGroup:
    """The planes of one series, what tells it from others of its UID, and what was noticed about its UIDs."""

    planes: list[Plane]
    name: str = ""
    notes: tuple[Finding, ...] = ()


def group_planes(files: Iterable[list[Plane]]) -> list[PlaneGroup]:
    """Group the planes of files (one list each) into series; no series mixes studies or patients.

    Files without a SeriesInstanceUID are grouped by folder, modality and series number, and get UIDs from their
    content. Patients are compared by digest; files that name none stay with the only patient of their series.
    """
    groups: dict[Hashable, list[Plane]] = defaultdict(list)
    for planes in files:
        groups[_key(planes[0])] += planes
    return [_name(group) for planes in groups.values() for group in _split_patients(planes)]


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
    how = "" if first.series_uid else " and the files of a folder are taken for one series"
    message = f"{' and '.join(missing)} is missing: it is made from the content{how}. Export the series with its UIDs."
    note = replace(find(Code.BAD_VALUE, message), action="keep")
    planes = [replace(plane, study_uid=study_uid, series_uid=series_uid) for plane in group.planes]
    return PlaneGroup(planes=planes, name=group.name, notes=(*group.notes, note))


def _digest(paths: Sequence[Path]) -> bytes:
    """A digest of the content of files that does not depend on their names."""
    return b"".join(sorted(digest_files([path]) for path in paths))
