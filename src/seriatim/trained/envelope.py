"""What a model saw in training, as ranges that scoring holds new series against."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from seriatim.series import Series
from seriatim.series.geometry import plane_of

UNKNOWN_MODALITY = "OT"
"""DICOM's "other", and what files without a modality (NIfTI, pictures, video) are read as."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """What the model saw in training. Another modality, plane or axis is refused at scoring; ranges are noted."""

    modalities: tuple[str, ...]
    planes: tuple[str, ...]
    axis: str
    slices: tuple[int, int]
    slice_spacing_mm: tuple[float, float] | None

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Envelope:
        """The envelope that stands in a model's description. Raises LookupError, TypeError or ValueError."""
        spacing = content["slice_spacing_mm"]
        return cls(
            modalities=tuple(content["modalities"]),
            planes=tuple(content.get("planes", ())),
            axis=str(content["axis"]),
            slices=(int(content["slices"][0]), int(content["slices"][1])),
            slice_spacing_mm=None if spacing is None else (float(spacing[0]), float(spacing[1])),
        )

    def refuse(self, series: Series, *, modalities: Sequence[str] = ()) -> str:
        """Why a series, by its headers, must not be scored; "" where it may. ``modalities`` count before its own."""
        modality = refuse_modality(series, modalities or self.modalities)
        if modality:
            return modality
        plane = plane_of(series.affine) if series.affine is not None else ""
        if plane and self.planes and plane not in self.planes:
            return f"PLANE: the slices are {plane}, the model was trained on {' and '.join(self.planes)} ones."
        if len(series.instances) < 2 <= self.slices[0]:
            return f"NOT_A_SERIES: one single slice; the model was trained on {self.slices[0]} or more."
        if series.axis != self.axis:
            return f"AXIS: the series runs in {series.axis}, the model reads series in {self.axis}."
        return ""

    def note(self, series: Series) -> tuple[str, ...]:
        """The codes of the ranges that a series, by its headers, lies outside of."""
        codes = []
        if not self.slices[0] <= len(series.instances) <= self.slices[1]:
            codes.append("OUTSIDE_TRAINED_SLICES")
        spacing = self.slice_spacing_mm
        if spacing and series.spacing_mm and not 0.99 * spacing[0] <= series.spacing_mm[2] <= 1.01 * spacing[1]:
            codes.append("OUTSIDE_TRAINED_SPACING")
        return tuple(codes)


def refuse_modality(series: Series, allowed: Sequence[str]) -> str:
    """Why a series is of the wrong modality; "" where it is not, or where the training files did not tell theirs."""
    if series.format != "dicom" or not allowed or UNKNOWN_MODALITY in allowed or series.modality in allowed:
        return ""
    return f"MODALITY: the series is {series.modality or 'of no modality'}, the model is for {', '.join(allowed)}."
