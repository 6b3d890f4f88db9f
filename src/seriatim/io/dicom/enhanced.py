"""Enhanced multi-frame objects: what the functional groups say about each frame (PS3.3 C.7.6.16)."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from seriatim.io.dicom.plane import Plane, Trait, check_geometry
from seriatim.io.dicom.values import BadValueError, get_group, get_number, get_numbers, get_text
from seriatim.series.findings import Code, Finding, find

FRAME_TRAITS = (
    ("FrameContentSequence", "StackID", "StackID"),
    ("FrameContentSequence", "TemporalPositionIndex", "TemporalPositionIndex"),
    ("FrameContentSequence", "FrameAcquisitionNumber", "AcquisitionNumber"),
    ("MREchoSequence", "EffectiveEchoTime", "EchoTime"),
    ("MRImageFrameTypeSequence", "ComplexImageComponent", "ComplexImageComponent"),
    ("MRImageFrameTypeSequence", "FrameType", "ImageType"),
    ("CTImageFrameTypeSequence", "FrameType", "ImageType"),
    ("PETFrameTypeSequence", "FrameType", "ImageType"),
    ("MRDiffusionSequence", "DiffusionBValue", "DiffusionBValue"),
    ("CardiacSynchronizationSequence", "NominalPercentageOfCardiacPhase", "NominalPercentageOfCardiacPhase"),
    ("CardiacSynchronizationSequence", "NominalCardiacTriggerDelayTime", "TriggerTime"),
    ("CTReconstructionSequence", "ConvolutionKernel", "ConvolutionKernel"),
    ("CTXRayDetailsSequence", "KVP", "KVP"),
    ("MRTimingAndRelatedParametersSequence", "RepetitionTime", "RepetitionTime"),
    ("MRTimingAndRelatedParametersSequence", "FlipAngle", "FlipAngle"),
    ("MRModifierSequence", "InversionTimes", "InversionTime"),
    ("MRVelocityEncodingSequence", "VelocityEncodingDirection", "DiffusionGradientOrientation"),
    ("TemporalPositionSequence", "TemporalPositionTimeOffset", "TemporalPositionTimeOffset"),
    ("FrameContentSequence", "FrameAcquisitionDateTime", "AcquisitionDateTime"),
)
SPATIAL_DIMENSIONS = (0x00209057, 0x00200032, 0x00209056)  # in-stack position, image position, stack
GEOMETRY = (("position", "PlanePositionSequence", "ImagePositionPatient", 3),
            ("orientation", "PlaneOrientationSequence", "ImageOrientationPatient", 6),
            ("spacing_mm", "PixelMeasuresSequence", "PixelSpacing", 2))
PROBE_GEOMETRY = (("position", "PlanePositionVolumeSequence", "ImagePositionVolume", 3),
                  ("orientation", "PlaneOrientationVolumeSequence", "ImageOrientationVolume", 6))
"""Enhanced ultrasound volumes: planes in the frame of the probe, not of the patient (PS3.3 C.8.24.6)."""


def place_enhanced(plane: Plane, dataset: Any, count: int) -> list[Plane]:
    """One plane per frame with its own position, orientation, spacing, thickness and traits."""
    frames = dataset.PerFrameFunctionalGroupsSequence
    shared = get_group(dataset, "SharedFunctionalGroupsSequence")
    if len(frames) != count:
        reason = f"There are {count} frames but functional groups for {len(frames)}."
        return [replace(plane, frame=0, findings=(*plane.findings, find(Code.BAD_VALUE, reason)))]
    other_dimensions = _other_dimensions(dataset)
    return [_place(plane, index, (frame, shared), other_dimensions) for index, frame in enumerate(frames)]


def _place(plane: Plane, index: int, groups: tuple[Any, Any], other_dimensions: list[int]) -> Plane:
    values: dict[str, tuple[float, ...] | None] = {}
    problems: list[Finding] = []
    notes: list[Finding] = []
    try:
        for name, sequence, keyword, size in GEOMETRY:
            group = _macro(groups, sequence)
            values[name] = None if group is None else get_numbers(group, keyword, size)
        if values["position"] is None and _macro(groups, "PlanePositionVolumeSequence") is not None:
            for name, sequence, keyword, size in PROBE_GEOMETRY:
                group = _macro(groups, sequence)
                values[name] = None if group is None else get_numbers(group, keyword, size)
            message = "Planes lie in the frame of the probe: their order is known, their place in the patient is not."
            notes.append(replace(find(Code.MISSING_GEOMETRY, message), action="keep"))
        problems += check_geometry(values["orientation"], values["spacing_mm"])
        problems += _check_values(groups)
    except BadValueError as error:
        problems.append(find(Code.BAD_VALUE, str(error)))
    if problems:  # what cannot be places nothing
        values = {}
    return replace(
        plane, frame=index, position=values.get("position"), orientation=values.get("orientation"),
        spacing_mm=values.get("spacing_mm"), traits={**plane.traits, **_traits(groups, other_dimensions)},
        findings=(*plane.findings, *notes, *problems),
    )


def _check_values(groups: tuple[Any, Any]) -> list[Finding]:
    transformation = _macro(groups, "PixelValueTransformationSequence")
    if transformation is None:
        return []
    get_number(transformation, "RescaleIntercept")
    zero = get_number(transformation, "RescaleSlope", 1.0) == 0
    return [find(Code.BAD_VALUE, "RescaleSlope is 0: every pixel would have one value.")] if zero else []


def _macro(groups: tuple[Any, Any], sequence: str) -> Any:
    """The item of a functional group: the frame's own, else the shared one."""
    for group in groups:
        item = get_group(group, sequence) if group is not None else None
        if item is not None:
            return item
    return None


def _traits(groups: tuple[Any, Any], other_dimensions: list[int]) -> dict[str, Trait]:
    traits: dict[str, Trait] = {}
    for sequence, keyword, trait in FRAME_TRAITS:
        item = _macro(groups, sequence)
        if item is not None and (text := get_text(item, keyword)):
            traits[trait] = as_trait(text)
    diffusion = _macro(groups, "MRDiffusionSequence")
    gradient = get_group(diffusion, "DiffusionGradientDirectionSequence") if diffusion is not None else None
    if gradient is not None:
        traits["DiffusionGradientOrientation"] = get_text(gradient, "DiffusionGradientOrientation")
    content = _macro(groups, "FrameContentSequence")
    indices = get_text(content, "DimensionIndexValues").split("\\") if content is not None else []
    if other_dimensions and max(other_dimensions) < len(indices):
        traits["DimensionIndex"] = "\\".join(f"{indices[place]:0>6}" for place in other_dimensions)
    return traits


def _other_dimensions(dataset: Any) -> list[int]:
    """The places in DimensionIndexValues of the dimensions that are not the place in space."""
    pointers = [item.get("DimensionIndexPointer") for item in dataset.get("DimensionIndexSequence") or ()]
    return [index for index, pointer in enumerate(pointers) if pointer not in SPATIAL_DIMENSIONS]


def as_trait(text: str) -> Trait:
    """A finite number where the text is one, rounded so that noise in the last digits does not tell volumes apart."""
    try:
        number = round(float(text), 4)
    except ValueError:
        return text
    return number if math.isfinite(number) else text  # "nan" as a number would not even be like itself
