"""Values of a DICOM header that say how pixels are stored: what cannot be, found before a pixel is read."""

from __future__ import annotations

from typing import Any

from seriatim.io.dicom.kinds import VOLUMETRIC
from seriatim.io.dicom.values import BadValueError, get_integer, get_number, get_text
from seriatim.series.findings import Code, Finding, find

CHECKED_KEYWORDS = ("BitsAllocated", "BitsStored", "HighBit", "SamplesPerPixel", "PixelRepresentation",
                    "RescaleSlope", "RescaleIntercept")
SCALED = frozenset({"CT", "PT"})
"""Modalities whose stored values mean nothing without slope and intercept (PS3.3 C.8.2.1, C.8.9.1): both type 1."""
MAX_SLOPE = 1e30
"""Real-world values are float32 at most."""
MIN_BITS = 8
"""CT, MR, PT and NM images store no fewer bits."""


def check_storage(dataset: Any) -> list[Finding]:
    """BAD_VALUE where the header says of its pixels what cannot be (PS3.3 C.7.6.3.1)."""
    try:
        problem = _find_bits(dataset) or _find_rescale(dataset)
    except BadValueError as error:
        problem = str(error)
    return [find(Code.BAD_VALUE, problem)] if problem else []


def _find_bits(dataset: Any) -> str:
    allocated = get_integer(dataset, "BitsAllocated", 16)
    stored = get_integer(dataset, "BitsStored", allocated)
    get_integer(dataset, "HighBit", stored - 1)  # what cannot be is taken for BitsStored - 1 (codecs.correct_bits)
    if allocated < 1 or not 0 < stored <= allocated:
        return f"BitsAllocated {allocated} and BitsStored {stored} cannot be."
    if allocated > stored < MIN_BITS and get_text(dataset, "Modality").upper() in VOLUMETRIC:
        return f"BitsStored is {stored} of {allocated}: too few for an image of this kind."
    samples, sign = get_integer(dataset, "SamplesPerPixel", 1), get_integer(dataset, "PixelRepresentation", 0)
    if samples < 1 or sign not in (0, 1):
        return f"SamplesPerPixel {samples} or PixelRepresentation {sign} cannot be."
    return ""


def _find_rescale(dataset: Any) -> str:
    scaled = get_text(dataset, "Modality").upper() in SCALED
    for keyword in ("RescaleSlope", "RescaleIntercept"):
        value = get_number(dataset, keyword)
        if value is None and keyword in dataset and scaled:
            return f"{keyword} is empty."
        if value is not None and abs(value) > MAX_SLOPE:
            return f"{keyword} is {value:g}, larger than a value can be."
    return ""
