"""Which files make one DICOM series: by their UIDs, and with suspicion where these are missing or shared."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from seriatim.io.content import digest_files, make_uid
from seriatim.io.dicom.plane import Plane
from seriatim.io.dicom.shelf import FileKey, PlaneShelf
from seriatim.io.scratch_database import pack_text
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


def group_planes(shelf: PlaneShelf) -> Iterator[PlaneGroup]:
    """Group the planes of all files on a shelf into series, one after the other; no series mixes studies or patients.

    Files without a SeriesInstanceUID are grouped by folder, modality and series number, and get UIDs from their
    content. Patients are compared by digest; files that name none stay with the only patient of their series.
    """
    strays: Counter[Hashable] = Counter()
    for stray in _find_strays(shelf):
        strays[_place_of(stray.planes[0])] += len(stray.planes)
    for key in shelf.list_keys():
        same = shelf.list_some_of(key.series_uid) if key.series_uid else [key]
        studies = [one for one in same if one.study_uid]
        homeless = [one for one in same if not one.study_uid] if len(studies) == 1 else []
        if key in homeless:
            continue
        planes = list(_adopt(shelf, key, homeless))
        notes = _note_studies(len(same) - len(homeless))
        for group in _split_patients(planes):
            yield _note_strays(_name(replace(group, notes=(*group.notes, *notes))), strays)


def _adopt(shelf: PlaneShelf, key: FileKey, homeless: Sequence[FileKey]) -> Iterator[Plane]:
    """The planes of a series, those of its UID without a StudyInstanceUID put into it: it is the only study with it."""
    for planes in shelf.read(key, *homeless):
        for plane in planes:
            yield plane if planes[0].study_uid or not homeless else replace(
                plane, study_uid=key.study_uid, findings=(*plane.findings, _no_study()))


def _no_study() -> Finding:
    message = "StudyInstanceUID is missing in some files: they are taken for the study of their series."
    return replace(find(Code.BAD_VALUE, message), action="keep")


def _note_studies(studies: int) -> tuple[Finding, ...]:
    """A note for a series whose UID is also in another study: one may hold slices of the other."""
    message = "One SeriesInstanceUID is found in several studies: each is a series of its own, perhaps not whole."
    return (replace(find(Code.BAD_VALUE, message), action="keep"),) if studies > 1 else ()


def _find_strays(shelf: PlaneShelf) -> Iterator[PlaneGroup]:
    """The few slices without a SeriesInstanceUID that lie somewhere."""
    for key in shelf.list_keys_of(""):
        for group in _split_patients([plane for planes in shelf.read(key) for plane in planes]):
            if len(group.planes) < MIN_SLICES:
                yield group


def _note_strays(group: PlaneGroup, strays: Mapping[Hashable, int]) -> PlaneGroup:
    """The group with a note where a few slices without a SeriesInstanceUID lie beside it and could be its own.

    ``strays`` counts such slices by ``_place_of``.
    """
    slices = strays.get(_place_of(group.planes[0]), 0)
    if not slices or len(group.planes) < MIN_SLICES or group.nameless:
        return group
    message = f"{slices} slices without a SeriesInstanceUID lie beside this series: it may not be whole."
    return replace(group, notes=(*group.notes, find(Code.SHORT_COVERAGE, message, slices=slices)))


def _place_of(plane: Plane) -> Hashable:
    """What strays share with the series that they may be of."""
    return plane.path.parent, plane.modality, plane.rows, plane.columns


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
    """A digest of the content of files that does not depend on their names, but for those that cannot be read."""
    return b"".join(sorted(map(_digest_file, paths)))


def _digest_file(path: Path) -> bytes:
    try:
        return digest_files([path])
    except OSError:  # gone since its header was read, or damaged behind it: reading the series will say so
        return hashlib.sha256(pack_text(str(path))).digest()
