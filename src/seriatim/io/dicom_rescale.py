"""Stored value -> real-world value of a DICOM frame: slope and intercept, per file or per frame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seriatim.errors import InputError
from seriatim.io.dicom_values import BadValueError, get_group, get_number, get_text


@dataclass(frozen=True, slots=True, kw_only=True)
class Rescale:
    """``stored * slope + intercept`` (PS3.3 C.11.1.1.2)."""

    slope: float = 1.0
    intercept: float = 0.0

    def apply(self, stored: NDArray[Any]) -> NDArray[Any]:
        """Integer where slope and intercept are whole, float64 otherwise."""
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
    """The rescale of one frame: its own functional group, then the shared one, then the file's.

    Raises:
        InputError: a slope or an intercept is not a finite number, or the slope is 0.
    """
    try:
        if get_text(dataset, "Modality") == "RTDOSE":
            return _checked(get_number(dataset, "DoseGridScaling", 1.0), 0.0)
        for source in (_own(dataset, frame), get_group(dataset, "SharedFunctionalGroupsSequence")):
            group = get_group(source, "PixelValueTransformationSequence") if source is not None else None
            if group is not None:
                return _checked(get_number(group, "RescaleSlope", 1.0), get_number(group, "RescaleIntercept", 0.0))
        return _checked(get_number(dataset, "RescaleSlope", 1.0), get_number(dataset, "RescaleIntercept", 0.0))
    except BadValueError as error:
        raise InputError(f"The rescale of a slice cannot be used: {error}") from error


def _own(dataset: Any, frame: int) -> Any:
    groups = dataset.get("PerFrameFunctionalGroupsSequence")
    return groups[frame] if groups and frame < len(groups) else None


def _checked(slope: float | None, intercept: float | None) -> Rescale:
    if not slope:
        raise BadValueError("RescaleSlope is 0.")
    return Rescale(slope=slope, intercept=intercept or 0.0)
