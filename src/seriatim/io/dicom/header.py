"""DICOM headers: one file -> its planes, reading no pixels."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, BinaryIO

import pydicom
from pydicom.datadict import tag_for_keyword

from seriatim.io.content import digest_file
from seriatim.io.dicom.body_part import get_body_parts
from seriatim.io.dicom.bounded import BoundedFile, check_items
from seriatim.io.dicom.checks import CHECKED_KEYWORDS, check_storage
from seriatim.io.dicom.consistency import STORED_KEYWORDS, check_colours, stored_of
from seriatim.io.dicom.enhanced import as_trait
from seriatim.io.dicom.extent import check_extent
from seriatim.io.dicom.frames import FRAME_KEYWORDS, expand_frames
from seriatim.io.dicom.inflate import open_inflated
from seriatim.io.dicom.kinds import KIND_KEYWORDS, BrokenImageError, NotAnImageError, check_kind, role_of
from seriatim.io.dicom.mosaic import MOSAIC_TAGS
from seriatim.io.dicom.plane import Plane, Trait, check_geometry
from seriatim.io.dicom.preamble import check_preamble
from seriatim.io.dicom.values import (
    BadValueError,
    get_integer,
    get_modality,
    get_number,
    get_numbers,
    get_text,
    reading,
)
from seriatim.io.dicom_pixels.codecs import check_decoder
from seriatim.io.source import open_file
from seriatim.series.findings import Code, Finding, find

MAX_PIXELS_PER_FILE = 1 << 33
UNPLACED = frozenset({"CR", "DX", "MG", "US", "XA", "RF", "IO", "PX", "XC", "ES", "GM", "SM", "OP", "IVUS", "OT", "SC"})
"""Modalities whose images are single pictures: a position is not expected, and several files are several pictures."""

TRAITS = ("ConvolutionKernel", "FrameOfReferenceUID", "EchoTime", "EchoNumbers", "ImageType", "DiffusionBValue",
          "TemporalPositionIdentifier", "TriggerTime", "FrameReferenceTime", "AcquisitionNumber", "InversionTime",
          "FlipAngle", "RepetitionTime", "KVP", "SequenceName", "ScanOptions", "DiffusionGradientOrientation",
          "SeriesNumber", "AcquisitionTime", "SliceThickness", "ComplexImageComponent", "AcquisitionDateTime",
          "ContrastBolusAgent", "ReconstructionDiameter", "NominalPercentageOfCardiacPhase", "ContentTime",
          "ImagesInAcquisition", "NumberOfSlices", "SpacingBetweenSlices")
KEYWORDS = (*TRAITS, *STORED_KEYWORDS, *KIND_KEYWORDS, *FRAME_KEYWORDS, *CHECKED_KEYWORDS, "SOPInstanceUID",
            "StudyInstanceUID", "SeriesInstanceUID", "ImageOrientationPatient", "PixelSpacing",
            "InstanceNumber", "Manufacturer", "PatientID", "BodyPartExamined")
PRIVATE_BVALUES = (0x0019100C, 0x00431039, 0x20011003)
PRIVATE_DIRECTIONS = (0x0019100E,)
TAGS = [tag for keyword in KEYWORDS if (tag := tag_for_keyword(keyword)) is not None]
TAGS += [*PRIVATE_BVALUES, *PRIVATE_DIRECTIONS, *MOSAIC_TAGS]


def read_planes(path: Path) -> list[Plane]:
    """The planes of one DICOM file: one, or one per frame.

    Raises:
        NotAnImageError: the file holds no image.
    """
    try:
        with open_file(path) as raw, reading():
            polyglot = check_preamble(raw)
            file = open_inflated(raw)
            dataset = _read_header(file)
            kind = check_kind(dataset)
            findings = [*polyglot, *check_extent(file, dataset), *kind, *check_colours(dataset),
                        *check_storage(dataset), *_check_values(dataset)]
            return _make_planes(path, dataset, findings)
    except (NotAnImageError, OSError):
        raise
    except BadValueError as error:
        raise BrokenImageError(f"broken DICOM header: {error}") from error
    except Exception as error:
        raise BrokenImageError(f"unreadable DICOM: {type(error).__name__}") from error


def _read_header(file: BinaryIO) -> Any:
    dataset = pydicom.dcmread(BoundedFile(file), stop_before_pixels=True, specific_tags=TAGS, force=True)
    check_items(dataset)
    return dataset


def _check_values(dataset: Any) -> list[Finding]:
    findings = []
    syntax = get_text(dataset.file_meta, "TransferSyntaxUID") if hasattr(dataset, "file_meta") else ""
    if syntax and (missing := check_decoder(syntax)):
        findings.append(missing)
    try:
        rows, columns = get_integer(dataset, "Rows", 0), get_integer(dataset, "Columns", 0)
        frames = max(get_integer(dataset, "NumberOfFrames", 1), 1)
    except BadValueError as error:
        raise BrokenImageError(f"DICOM with a broken size: {error}") from error
    if rows < 1 or columns < 1:
        findings.append(find(Code.BAD_VALUE, f"Rows x Columns is {rows} x {columns}."))
    if rows * columns * frames > MAX_PIXELS_PER_FILE:
        message = f"{frames} frames of {columns} x {rows} pixels are too many for one file."
        findings.append(find(Code.TOO_LARGE, message))
    return findings


def _make_planes(path: Path, dataset: Any, findings: list[Finding]) -> list[Plane]:
    geometry: dict[str, tuple[float, ...] | None] = {"position": None, "orientation": None, "spacing_mm": None}
    modality = get_modality(dataset)
    fields = (("position", "ImagePositionPatient", 3), ("orientation", "ImageOrientationPatient", 6),
              ("spacing_mm", "PixelSpacing", 2))
    problems: list[Finding] = []
    for name, keyword, count in fields:
        try:
            geometry[name] = get_numbers(dataset, keyword, count)
        except BadValueError as error:
            problems.append(find(Code.BAD_VALUE, str(error)))
    problems += check_geometry(geometry["orientation"], geometry["spacing_mm"])
    if problems:  # what cannot be places nothing
        geometry = dict.fromkeys(geometry)
    if modality in UNPLACED:  # such a picture needs no place: often all zeros there
        problems = []
    photometric = get_text(dataset, "PhotometricInterpretation")
    plane = Plane(
        path=path, frame=None, modality=modality, patient=digest_patient(get_text(dataset, "PatientID")),
        rows=get_integer(dataset, "Rows", 0), columns=get_integer(dataset, "Columns", 0),
        role=role_of(dataset), body_parts=get_body_parts(dataset),
        sop_instance_uid=get_text(dataset, "SOPInstanceUID") or _content_uid(path),
        sop_class_uid=get_text(dataset, "SOPClassUID"), study_uid=get_text(dataset, "StudyInstanceUID"),
        series_uid=get_text(dataset, "SeriesInstanceUID"), number=_instance_number(dataset),
        colour=get_text(dataset, "SamplesPerPixel") == "3" or "PALETTE" in photometric,
        thickness_mm=_thickness(dataset), stored=stored_of(dataset), traits=_read_traits(dataset),
        findings=(*findings, *problems),
        position=geometry["position"], orientation=geometry["orientation"], spacing_mm=geometry["spacing_mm"],
    )
    return expand_frames(plane, dataset)


def digest_patient(patient: str) -> str:
    """What tells patients apart without telling who they are; "" where the file names none."""
    return hashlib.sha256(patient.encode("utf-8", "replace")).hexdigest() if patient else ""


def _instance_number(dataset: Any) -> int:
    try:
        return get_integer(dataset, "InstanceNumber", 0)
    except BadValueError:
        return 0


def _thickness(dataset: Any) -> float | None:
    try:
        return get_number(dataset, "SliceThickness")
    except BadValueError:
        return None


def _read_traits(dataset: Any) -> dict[str, Trait]:
    traits: dict[str, Trait] = {}
    for keyword in TRAITS:
        if text := get_text(dataset, keyword):
            traits[keyword] = as_trait(text)
    for keyword, tags in (("DiffusionBValue", PRIVATE_BVALUES), ("DiffusionGradientOrientation", PRIVATE_DIRECTIONS)):
        for tag in tags:
            if keyword not in traits and tag in dataset:
                traits[keyword] = _private_trait(dataset, tag)
    return traits


def _private_trait(dataset: Any, tag: int) -> Trait:
    value = dataset[tag].value
    if isinstance(value, bytes):
        return value.hex() if b"\0" in value.rstrip(b"\0") else as_trait(value.decode("ascii", "replace").strip(" \0"))
    if isinstance(value, str | int | float):
        return as_trait(str(value))
    values = [str(part) for part in value]
    return as_trait(values[0]) if tag == 0x00431039 and values else "\\".join(values)  # GE: the b-value comes first


def _content_uid(path: Path) -> str:
    with open_file(path) as file:
        digest = digest_file(file)
    return f"2.25.{int.from_bytes(digest[:16], 'big')}"
