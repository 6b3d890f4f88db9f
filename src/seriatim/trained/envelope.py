"""What a model saw in training, as ranges that scoring holds new series against."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from seriatim.series import Series
from seriatim.series.geometry import plane_of
from seriatim.trained.intensity import PERCENTILES

UNKNOWN_MODALITY = "OT"
"""DICOM's "other", and what files without a modality (NIfTI, pictures, video) are read as."""


LEAST_RANGE, NOTED_BEYOND, GRAVE_BEYOND = 0.1, 0.1, 1.0
ENDS = (1, 5, 95, 99)


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What was found about a series: the ``reason`` to refuse it where it is ``grave``, or the code to ``note``."""

    reason: str
    note: str
    grave: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What the images of a series say: the ``reason`` to refuse it ("" where none), codes to note, and the ``distance``
    to training's series as a multiple of the threshold, None where the model measures none.
    """

    reason: str = ""
    notes: tuple[str, ...] = ()
    distance: float | None = None


def judge_distance(distance: float) -> Judgement | None:
    """What to say of a ``Familiarity.measure``; None where the series is as near as those of training."""
    if distance <= 1:
        return None
    return Judgement(
        reason=f"OUT_OF_DISTRIBUTION: to the encoder it lies {distance:.2f} times as far from training's series as all "
               "but few of their kind do. Is it the anatomy, protocol and unit of training?",
        note="OUT_OF_DISTRIBUTION", grave=True,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """What the model saw in training. Another modality, plane or axis is refused at scoring; ranges are noted.

    ``body_parts`` are the regions that the files named, empty where none did; ``intensity`` holds the lowest and the
    highest value of each of the PERCENTILES over all series, empty where it was not measured.
    """

    modalities: tuple[str, ...]
    planes: tuple[str, ...]
    axis: str
    slices: tuple[int, int]
    slice_spacing_mm: tuple[float, float] | None
    body_parts: tuple[str, ...] = ()
    intensity: tuple[tuple[float, float], ...] = ()

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
            body_parts=tuple(content.get("body_parts", ())),
            intensity=tuple((float(low), float(high)) for low, high in content.get("intensity", ())),
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

    def judge_body_part(self, series: Series) -> Judgement | None:
        """What to say of a series whose files name other body parts than training's did; None where they do not."""
        if not series.body_parts or not self.body_parts or set(series.body_parts) & set(self.body_parts):
            return None
        told = " and ".join(series.body_parts)
        return Judgement(
            reason=f"BODY_PART: the files say {told}, the model was trained on {' and '.join(self.body_parts)}.",
            note="OUTSIDE_TRAINED_BODY_PART", grave=True,
        )

    def judge_intensity(self, intensity: Sequence[float]) -> Judgement | None:
        """What to say of the PERCENTILES of a prepared series; None where they lie in the range of training.

        Outside by more than a tenth of the range is told. By more than the whole range it is grave, but only at the
        ends (percentiles 1, 5, 95, 99): those between depend on how much air is in the picture. A range counts as no
        narrower than a tenth of what lies between the darkest and the brightest of training: few series leave some
        percentiles nearly without a range.
        """
        if not self.intensity:
            return None
        least = LEAST_RANGE * (self.intensity[-1][1] - self.intensity[0][0])
        beyond = [
            (max(low - value, value - high) / max(high - low, least, 1e-9), percentile, value,
             f"{low:.4g} to {high:.4g}")
            for percentile, value, (low, high) in zip(PERCENTILES, intensity, self.intensity, strict=True)
        ]
        at_end = max(one for one in beyond if one[1] in ENDS)
        grave = at_end[0] > GRAVE_BEYOND
        far, percentile, value, seen = at_end if grave else max(beyond)
        if far <= NOTED_BEYOND:
            return None
        text = f"percentile {percentile} of its values is {value:.4g}, in training it was {seen}"
        reason = f"INTENSITY: {text}. Give them in the unit of training."
        return Judgement(reason=reason, note="OUTSIDE_TRAINED_INTENSITY", grave=grave)

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
