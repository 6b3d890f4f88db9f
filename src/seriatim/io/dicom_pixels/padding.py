"""Pixels outside the image: the padding value of each slice, or its range, in real-world values (PS3.3 C.7.5.1.1.2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.pixels.processing import apply_modality_lut

from seriatim.io.dicom.values import BadValueError, get_integer, get_number, get_text
from seriatim.io.dicom_pixels.rescale import Rescale

KEYWORDS = (("PixelPaddingValue", "PixelPaddingRangeLimit"),
            ("FloatPixelPaddingValue", "FloatPixelPaddingRangeLimit"),
            ("DoubleFloatPixelPaddingValue", "DoubleFloatPixelPaddingRangeLimit"))

Range = tuple[float, float]


def find_padding(dataset: Any, rescale: Rescale) -> Range | None:
    """Lowest and highest value of the padding of one slice, None where the file names none."""
    for value_keyword, limit_keyword in KEYWORDS:
        try:
            value = get_number(dataset, value_keyword)
            limit = get_number(dataset, limit_keyword)
        except BadValueError:
            continue
        if value is not None:
            ends = [value, value if limit is None else limit]
            if value_keyword == "PixelPaddingValue":
                ends = [_as_stored(int(end), dataset) for end in ends]
            worlds = _to_real_world(ends, dataset, rescale)
            return min(worlds), max(worlds)
    return None


def gather_padding(ranges: Sequence[Range | None]) -> NDArray[np.float64] | None:
    """(S,2) of all slices, NaN for a slice without padding; None where no slice has any."""
    if not any(ranges):
        return None
    return np.array([(np.nan, np.nan) if one is None else one for one in ranges], dtype=np.float64)


def _as_stored(value: int, dataset: Any) -> float:
    """The value with the sign of the pixels: a signed one is often written as unsigned, and the reverse."""
    bits = get_integer(dataset, "BitsAllocated", 16)
    wrapped = value % (1 << bits)
    signed = get_integer(dataset, "PixelRepresentation", 0) == 1
    return float(wrapped - (1 << bits) if signed and wrapped >= 1 << bits - 1 else wrapped)


def _to_real_world(ends: Sequence[float], dataset: Any, rescale: Rescale) -> list[float]:
    if get_text(dataset, "Modality") != "RTDOSE" and dataset.get("ModalityLUTSequence"):
        stored = np.array(ends, dtype=np.int64)
        return [float(end) for end in apply_modality_lut(stored, dataset)]
    return [float(end) for end in rescale.apply(np.array(ends))]
