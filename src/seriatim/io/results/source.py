"""The images that a result is about, read again from their headers: who they belong to, and where each lies."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pydicom
from pydicom.datadict import tag_for_keyword

from seriatim.errors import InputError
from seriatim.io.dicom.bounded import BoundedFile, check_items
from seriatim.io.dicom.header import read_planes
from seriatim.io.dicom.inflate import open_inflated
from seriatim.io.dicom.plane import Plane
from seriatim.io.dicom.values import BadValueError, get_integer, get_number, get_text, reading
from seriatim.io.results.identity import RULES, read_identity
from seriatim.io.source import open_file
from seriatim.series import Code, Series

UID = re.compile(r"[0-9]+(\.[0-9]+)+")
RATIOS = re.compile(r"\d{1,6}(\.\d{1,8})?(\\\d{1,6}(\.\d{1,8})?)*")
METHODS = re.compile(r"[A-Z0-9_]{1,16}(\\[A-Z0-9_]{1,16})*")
UID_KEYWORDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID")
LOSS = ("LossyImageCompressionRatio", "LossyImageCompressionMethod")
KEYWORDS = (*RULES, *UID_KEYWORDS, "SpecificCharacterSet", "NumberOfFrames", "FrameOfReferenceUID", "SliceThickness",
            "BurnedInAnnotation", "DeidentificationMethodCodeSequence", *LOSS)
TAGS = [tag for keyword in KEYWORDS if (tag := tag_for_keyword(keyword)) is not None]


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceSlice:
    """One slice: the object that holds it, its frame from 1 (None where the object is one image), and its place."""

    sop_class_uid: str
    sop_instance_uid: str
    frame_number: int | None
    plane: Plane


@dataclass(frozen=True, kw_only=True)
class Source:
    """The series that a result is about. ``identity`` is whose it is, by keyword; its repr does not tell.

    ``loss`` are the attributes of an image made of pixels that were compressed with loss, or not.
    ``burned_in`` is True where pixels may show text, False where they do not, None where that is not known.
    """

    study_uid: str
    series_uid: str
    modality: str
    rows: int
    columns: int
    slices: tuple[SourceSlice, ...]
    frame_of_reference_uid: str
    thickness_mm: float | None
    loss: Mapping[str, str]
    burned_in: bool | None
    identity: _Hidden

    @cached_property
    def instances(self) -> dict[str, SourceSlice]:
        """The first slice of each SOP instance, by its UID, in order."""
        found: dict[str, SourceSlice] = {}
        for one in self.slices:
            found.setdefault(one.sop_instance_uid, one)
        return found


class _Hidden(dict[str, str]):
    """Values that no log and no traceback shows."""

    def __repr__(self) -> str:
        return f"<{len(self)} values>"


def read_source(series: Series) -> Source:
    """Read the headers of a DICOM series again.

    Raises:
        InputError: it is no DICOM, has no UIDs that an object could refer to, or changed since it was found.
    """
    if series.format != "dicom":
        raise InputError(f"NOT_DICOM: the series is {series.format}. Without a patient and a study there is nowhere to "
                         "file results; the tables have them.")
    heads = {path: _read_head(path) for path in dict.fromkeys(one.path for one in series.instances)}
    planes = {(path, plane.frame): plane for path in heads for plane in read_planes(path)}
    slices = []
    for instance in series.instances:
        plane = planes.get((instance.path, instance.frame))
        head = heads[instance.path]
        if plane is None or get_text(head, "SOPInstanceUID") != instance.sop_instance_uid:
            raise InputError("The file has no SOP Instance UID, or changed since it was found. Results need one that "
                             "they can refer to.")
        frame = None if instance.frame is None or _frames(head) < 2 else instance.frame + 1
        slices.append(SourceSlice(sop_class_uid=get_text(head, "SOPClassUID"), plane=plane, frame_number=frame,
                                  sop_instance_uid=instance.sop_instance_uid))
    return _describe(series, heads, tuple(slices))


def _describe(series: Series, heads: Mapping[Path, Any], slices: tuple[SourceSlice, ...]) -> Source:
    first = next(iter(heads.values()))
    for head in heads.values():
        _check_uids(head, first)
    frames_of_reference = {get_text(head, "FrameOfReferenceUID") for head in heads.values()}
    own = frames_of_reference.pop() if len(frames_of_reference) == 1 else ""
    return Source(
        study_uid=get_text(first, "StudyInstanceUID"), series_uid=get_text(first, "SeriesInstanceUID"),
        modality=series.modality, rows=series.rows, columns=series.columns, slices=slices,
        frame_of_reference_uid=own if _is_uid(own) else "",
        thickness_mm=_thickness(first), loss=_tell_loss(series, first),
        burned_in=_tell_burned_in(series, heads), identity=_Hidden(_identity(first)),
    )


def _identity(head: Any) -> dict[str, str]:
    with reading():
        return read_identity(head)


def _read_head(path: Path) -> Any:
    try:
        with open_file(path) as raw, reading():
            file = BoundedFile(open_inflated(raw))
            dataset = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=TAGS, force=True)
            check_items(dataset)
            return dataset
    except Exception as error:
        raise InputError(f"{path} cannot be read again ({type(error).__name__}).") from error


def _check_uids(head: Any, first: Any) -> None:
    for keyword in UID_KEYWORDS:
        if not _is_uid(str(head.get(keyword) or "").strip(" \0")):  # as it stands there: get_text replaces what is none
            raise InputError(f"BAD_VALUE: {keyword} is missing or no DICOM UID. Results need one they can refer to.")
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID"):
        if get_text(head, keyword) != get_text(first, keyword):
            raise InputError(f"BAD_VALUE: the files differ in {keyword}. Export the series again.")


def _is_uid(text: str) -> bool:
    return len(text) <= 64 and UID.fullmatch(text) is not None


def _frames(head: Any) -> int:
    try:
        return get_integer(head, "NumberOfFrames", 1)
    except BadValueError:
        return 1


def _thickness(head: Any) -> float | None:
    try:
        value = get_number(head, "SliceThickness")
    except BadValueError:
        return None
    return value if value is not None and value > 0 else None


def _tell_loss(series: Series, head: Any) -> dict[str, str]:
    """PS3.3 C.7.6.1.1.5: once lossy, always lossy; by how much and by which method where the source says so."""
    if all(finding.code is not Code.LOSSY for finding in series.findings):
        return {"LossyImageCompression": "00"}
    stated = {keyword: get_text(head, keyword) for keyword in LOSS}
    whole = RATIOS.fullmatch(stated[LOSS[0]]) and METHODS.fullmatch(stated[LOSS[1]])
    return {"LossyImageCompression": "01", **(stated if whole else {})}


def _tell_burned_in(series: Series, heads: Mapping[Path, Any]) -> bool | None:
    """True where a header says so; False where all deny it, or it is the usual picture of a scanner; else None."""
    stated = {get_text(head, "BurnedInAnnotation").upper() for head in heads.values()}
    if "YES" in stated:
        return True
    if stated == {"NO"}:
        return False
    return None if any(finding.code is Code.BURNED_IN_TEXT for finding in series.findings) else False
