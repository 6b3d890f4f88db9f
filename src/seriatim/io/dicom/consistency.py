"""How the slices of one volume are stored must agree: what no other slice confirms is told, or refused."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from seriatim.io.dicom.plane import Plane, Stored
from seriatim.io.dicom.values import BadValueError, get_integer, get_number, get_text
from seriatim.series.findings import Code, Finding, find

STORED_KEYWORDS = ("PhotometricInterpretation", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation",
                   "RescaleSlope", "RescaleIntercept")
"""The attributes that this module needs; a reader of headers must not leave them out."""
COLOURS = frozenset({"MONOCHROME1", "MONOCHROME2", "PALETTE COLOR", "RGB", "HSV", "ARGB", "CMYK", "YBR_FULL",
                     "YBR_FULL_422", "YBR_PARTIAL_422", "YBR_PARTIAL_420", "YBR_ICT", "YBR_RCT", "XYB"})
"""The defined terms of PhotometricInterpretation, retired ones included (PS3.3 C.7.6.3.1.2)."""
ABSOLUTE = frozenset({"CT", "PT"})
"""Modalities whose values mean nothing without a rescale (PS3.3 C.8.2.1 and C.8.9.1)."""


def stored_of(dataset: Any) -> Stored:
    """How the values of a file are stored; numbers that cannot be are None, and told elsewhere."""
    layout = tuple(_whole(dataset, keyword) for keyword in ("BitsAllocated", "BitsStored", "HighBit",
                                                            "PixelRepresentation"))
    rescale = tuple(_real(dataset, keyword) for keyword in ("RescaleSlope", "RescaleIntercept"))
    return share_stored(get_text(dataset, "PhotometricInterpretation"), layout, rescale)


def check_colours(dataset: Any) -> list[Finding]:
    """BAD_VALUE where colours contradict the samples of a pixel (PS3.3 C.7.6.3.1.2), or what must be said is not."""
    photometric, modality = get_text(dataset, "PhotometricInterpretation"), get_text(dataset, "Modality")
    missing = [keyword for keyword, text in (("PhotometricInterpretation", photometric), ("Modality", modality))
               if not text]
    try:
        samples = get_integer(dataset, "SamplesPerPixel", 1)
    except BadValueError as error:
        return [find(Code.BAD_VALUE, str(error))]
    grey = photometric.startswith(("MONOCHROME", "PALETTE"))
    if samples not in (1, 3) or (grey and samples != 1) or (photometric.startswith(("RGB", "YBR")) and samples != 3):
        message = f"{samples} samples per pixel do not fit the colours that PhotometricInterpretation names."
        return [find(Code.BAD_VALUE, message)]
    if missing:
        return [_note(f"{' and '.join(missing)} is missing: what the values mean is assumed.")]
    if photometric.upper() not in COLOURS:
        return [_note("PhotometricInterpretation is none that DICOM knows: what the values mean is assumed.")]
    return []


def check_stored(planes: Sequence[Plane]) -> list[Finding]:
    """BAD_VALUE where slices of one volume differ in how values are stored, or some lack the rescale of the others."""
    kinds = list(dict.fromkeys(plane.stored for plane in planes))
    if len(kinds) < 2:
        return []
    modality = planes[0].modality
    findings = []
    if len({kind.layout for kind in kinds}) > 1:
        message = "The slices differ in BitsAllocated, BitsStored, HighBit or PixelRepresentation. Check their values."
        findings.append(_note(message))
    lacking = sum(None in plane.stored.rescale for plane in planes)
    if modality in ABSOLUTE and 0 < lacking < len(planes):
        message = (f"{lacking} of {len(planes)} slices lack RescaleSlope or RescaleIntercept, which the others have: "
                   "their values cannot be compared. Export the series again.")
        findings.append(find(Code.BAD_VALUE, message, lacking=lacking))
    elif modality == "CT" and len({kind.rescale for kind in kinds}) > 1:
        findings.append(_note("RescaleSlope or RescaleIntercept differs between slices of a CT. Check their values."))
    return findings


def _note(message: str) -> Finding:
    return replace(find(Code.BAD_VALUE, message), action="keep")


@functools.lru_cache(maxsize=256)
def share_stored(photometric: str, layout: tuple[int | None, ...], rescale: tuple[float | None, ...]) -> Stored:
    """One object for the many files that are stored alike."""
    return Stored(photometric=photometric, layout=layout, rescale=rescale)


def _whole(dataset: Any, keyword: str) -> int | None:
    try:
        return get_integer(dataset, keyword, -1)
    except BadValueError:
        return None


def _real(dataset: Any, keyword: str) -> float | None:
    try:
        return get_number(dataset, keyword)
    except BadValueError:
        return None
