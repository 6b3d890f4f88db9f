"""Stored value -> real-world value of a DICOM frame: slope and intercept, or a table, per file or per frame."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seriatim.errors import InputError
from seriatim.io.dicom.values import BadValueError, get_group, get_number, get_numbers, get_text


@dataclass(frozen=True, slots=True, kw_only=True)
class Rescale:
    """``stored * slope + intercept`` (PS3.3 C.11.1.1.2), or the value of ``table`` at ``stored - first``.

    A stored value outside of a table is the value at its nearest end, as with a Modality LUT (C.11.1.1.1).
    """

    slope: float = 1.0
    intercept: float = 0.0
    table: tuple[float, ...] = ()
    first: int = 0

    def apply(self, stored: NDArray[Any]) -> NDArray[Any]:
        """Integer where slope and intercept are whole, float64 otherwise."""
        if self.table:
            values = np.asarray(self.table, dtype=np.float64)
            return np.asarray(values[np.clip(stored.astype(np.int64) - self.first, 0, len(values) - 1)])
        if self.slope == 1 and self.intercept == 0:
            return stored
        if stored.dtype.kind in "iu" and self.slope.is_integer() and self.intercept.is_integer():
            wide = stored.astype(np.int32 if self._fits(stored.dtype) else np.int64)
            return wide * int(self.slope) + int(self.intercept)
        return stored.astype(np.float64) * self.slope + self.intercept

    def _fits(self, dtype: np.dtype[Any]) -> bool:
        limits = np.iinfo(dtype)
        ends = [edge * self.slope + self.intercept for edge in (limits.min, limits.max)]
        return max(abs(end) for end in ends) < 2**31


def rescale_of(dataset: Any, frame: int) -> Rescale:
    """What turns the stored values of one frame into real-world ones.

    Its own functional group goes before the shared one, and that before the file's. A real-world value mapping
    (PS3.3 C.7.6.16.2.11) is used where there is no rescale and no Modality LUT; where there is one, it says the same or
    another quantity than the scanner's. Of several mappings the first is used. Units stay as they are (PET: BQML, ...).

    Raises:
        InputError: a slope or an intercept is not a finite number, or the slope is 0.
    """
    try:
        if get_text(dataset, "Modality") == "RTDOSE":
            return _checked(get_number(dataset, "DoseGridScaling", 1.0), 0.0)
        for source in _groups(dataset, frame):
            group = get_group(source, "PixelValueTransformationSequence")
            if group is not None:
                return _checked(get_number(group, "RescaleSlope", 1.0), get_number(group, "RescaleIntercept", 0.0))
        if "RescaleSlope" in dataset or "RescaleIntercept" in dataset or dataset.get("ModalityLUTSequence"):
            return _checked(get_number(dataset, "RescaleSlope", 1.0), get_number(dataset, "RescaleIntercept", 0.0))
        sources = (*_groups(dataset, frame), dataset)
        mappings = (source.get("RealWorldValueMappingSequence") for source in sources)
        return next((_mapped(mapping) for mapping in mappings if mapping), Rescale())
    except BadValueError as error:
        raise InputError(f"The rescale of a slice cannot be used: {error}") from error


def _groups(dataset: Any, frame: int) -> Iterator[Any]:
    """The functional groups of a frame: its own, then the shared ones."""
    frames = dataset.get("PerFrameFunctionalGroupsSequence")
    if frames and frame < len(frames):
        yield frames[frame]
    shared = get_group(dataset, "SharedFunctionalGroupsSequence")
    if shared is not None:
        yield shared


def _mapped(mappings: Any) -> Rescale:
    """A linear mapping, or a table of which the first value stands for RealWorldValueFirstValueMapped."""
    mapping = mappings[0]
    units = [get_text(get_group(one, "MeasurementUnitsCodeSequence"), "CodeValue") for one in mappings]
    if units[0] in units[1:]:  # pieces of one mapping, each for a range of stored values
        raise BadValueError("RealWorldValueMappingSequence has several mappings to one unit.")
    slope = get_number(mapping, "RealWorldValueSlope")
    if slope is not None:
        return _checked(slope, get_number(mapping, "RealWorldValueIntercept", 0.0))
    table, first = get_numbers(mapping, "RealWorldValueLUTData"), get_number(mapping, "RealWorldValueFirstValueMapped")
    if not table or first is None:
        raise BadValueError("RealWorldValueMappingSequence has neither a slope nor a table.")
    return Rescale(table=table, first=int(first))


def _checked(slope: float | None, intercept: float | None) -> Rescale:
    if not slope:
        raise BadValueError("RescaleSlope is 0.")
    return Rescale(slope=slope, intercept=intercept or 0.0)
