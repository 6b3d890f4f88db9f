"""Maps of numbers over slices, attention or Grad-CAM, as a Parametric Map in the frame of reference of the source."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from highdicom import (
    CoordinateSystemNames,
    PixelMeasuresSequence,
    PlaneOrientationSequence,
    PlanePositionSequence,
    VOILUTTransformation,
)
from highdicom.pm import ParametricMap, RealWorldValueMapping
from highdicom.sr import CodedConcept
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from seriatim.errors import InputError
from seriatim.io.results import codes
from seriatim.io.results.objects import describe_object, finish, make_head
from seriatim.io.results.result import SeriesResult, SliceMaps
from seriatim.io.results.source import Source, SourceSlice
from seriatim.io.results.uids import name_object, name_series
from seriatim.io.write import make_uid

PATIENT = CoordinateSystemNames.PATIENT
QUANTITIES = {"attention": codes.ATTENTION, "gradcam": codes.GRADCAM, "anomaly": codes.ANOMALY_SCORE}
SAME_ORIENTATION = 1e-4
PLACE_DIGITS = 4
"""Of mm: slices that are nearer to each other are at one place."""
HIGHEST = 2**16 - 1
"""Stored values go from 0 to here, so a value is at most half a step off: 7.6e-6 of the range of all frames."""


def make_map(result: SeriesResult, source: Source, maps: SliceMaps) -> Dataset:
    """A Parametric Map with one frame for each slice that has a map, and none for others (PS3.3 A.75).

    A map on a coarser grid than its slice covers the same area: its pixels are larger, and the centre of its first one
    lies further in.

    Raises:
        InputError: the slices have no place in a common frame of reference.
    """
    chosen = [source.slices[index] for index in maps.indices]
    orientation = _check_geometry(source, chosen)
    thickness_mm = _thickness(result, source)
    places = [_place(one, maps.values.shape[1:], source) for one in chosen]
    stored, slope, intercept = quantise(maps.values)
    positions = [PlanePositionSequence(PATIENT, place.tolist()) for place, _ in places]
    uid = name_object(result, maps.kind, maps.label, maps.indices, stored.shape, stored.tobytes(), slope, intercept,
                      [place.tolist() for place, _ in places])
    dataset = ParametricMap(
        source_images=[_make_stand_in(source, chosen[0], thickness_mm)], pixel_array=stored,
        series_instance_uid=name_series(result, f"{maps.kind} {maps.label}"), sop_instance_uid=uid,
        contains_recognizable_visual_features=False, real_world_value_mappings=[_explain(maps, slope, intercept)],
        voi_lut_transformations=[VOILUTTransformation(HIGHEST / 2, HIGHEST, voi_lut_function="LINEAR_EXACT")],
        transfer_syntax_uid=ExplicitVRLittleEndian, content_label=maps.kind.upper(),
        content_description=codes.shorten(_describe(maps)),
        pixel_measures=PixelMeasuresSequence(places[0][1], thickness_mm),
        plane_orientation=PlaneOrientationSequence(PATIENT, orientation), plane_positions=positions,
        derivation=QUANTITIES[maps.kind], coding_schemes=[codes.scheme()], **describe_object(result, maps.kind),
    )
    _refer(dataset, source, {_key(place): one for (place, _), one in zip(places, chosen, strict=True)})
    _fix_dimension(dataset, uid)
    dataset.ContentCreatorName, dataset.Laterality = "seriatim^", None
    return finish(dataset, source)


def _check_geometry(source: Source, chosen: Sequence[SourceSlice]) -> list[float]:
    """The orientation that all slices share. Raises InputError where there is none, or no frame of reference."""
    if source.frame_of_reference_uid == "":
        raise InputError("MISSING_GEOMETRY: without one FrameOfReferenceUID a map has no place in the patient.")
    if not all(one.plane.placed for one in chosen):
        raise InputError("MISSING_GEOMETRY: slices without a position have no place for a map.")
    first = np.asarray(chosen[0].plane.orientation)
    turned = max(float(np.abs(np.asarray(one.plane.orientation) - first).max()) for one in chosen)
    spacings = {one.plane.spacing_mm for one in chosen}
    if turned > SAME_ORIENTATION or len(spacings) > 1:
        raise InputError("MIXED_ORIENTATION: slices of several orientations or pixel sizes do not fit one map.")
    places = np.array([one.plane.position for one in chosen]) @ np.cross(first[:3], first[3:])
    if len(np.unique(np.round(places, PLACE_DIGITS))) < len(places):
        raise InputError("DUPLICATE_POSITION: frames over time lie at one place, and a map tells them apart by place.")
    return [float(value) for value in first]


def _place(one: SourceSlice, shape: tuple[int, ...], source: Source) -> tuple[NDArray[np.float64], tuple[float, float]]:
    """ImagePositionPatient and PixelSpacing (rows, columns) of a grid of ``shape`` over a slice (PS3.3 C.7.6.2.1.1)."""
    assert one.plane.spacing_mm is not None
    between_rows, between_columns = one.plane.spacing_mm
    spacing = (between_rows * source.rows / shape[0], between_columns * source.columns / shape[1])
    axes = np.asarray(one.plane.orientation, dtype=np.float64).reshape(2, 3)
    shift = axes[0] * (spacing[1] - between_columns) / 2 + axes[1] * (spacing[0] - between_rows) / 2
    return np.asarray(one.plane.position, dtype=np.float64) + shift, spacing


def _make_stand_in(source: Source, one: SourceSlice, thickness_mm: float | None) -> Dataset:
    """The header of a slice as if it were a single image, which is all that highdicom has to know of its place."""
    head = make_head(source, one.sop_instance_uid)
    head.FrameOfReferenceUID, head.PositionReferenceIndicator = source.frame_of_reference_uid, ""
    head.ImagePositionPatient = [f"{value:.10g}" for value in one.plane.position or ()]
    head.ImageOrientationPatient = [f"{value:.10g}" for value in one.plane.orientation or ()]
    head.PixelSpacing = [f"{value:.10g}" for value in one.plane.spacing_mm or ()]
    head.SliceThickness = thickness_mm
    for keyword, value in source.loss.items():
        setattr(head, keyword, value)
    return head


def quantise(values: NDArray[np.float32]) -> tuple[NDArray[np.uint16], float, float]:
    """Values as 16 bits, slope and intercept: value = slope * stored + intercept (PS3.3 C.7.6.16.2.11.1.2).

    Integers, since readers that know no Float Pixel Data are many. 0 and the largest value, or the smallest below 0,
    are the ends of the range, so an even map of one slice keeps its value.
    """
    low, high = min(0.0, float(values.min())), max(0.0, float(values.max()))
    slope = (high - low or 1.0) / HIGHEST
    return np.round((values.astype(np.float64) - low) / slope).astype("<u2"), slope, low


def _explain(maps: SliceMaps, slope: float, intercept: float) -> RealWorldValueMapping:
    return RealWorldValueMapping(
        lut_label=maps.kind.upper(), lut_explanation=codes.shorten(_describe(maps)), unit=codes.NO_UNITS,
        value_range=(0, HIGHEST), slope=slope, intercept=intercept, quantity_definition=QUANTITIES[maps.kind],
    )


def _describe(maps: SliceMaps) -> str:
    about = codes.shorten(maps.label, 20)
    return {
        "attention": "Attention weight of each slice; sums to 1 over the series",
        "gradcam": f"Grad-CAM {about}; 1 is the strongest of these slices",
        "anomaly": f"Unlike normal ({about}); 0.5 is the threshold",
    }[maps.kind]


def _thickness(result: SeriesResult, source: Source) -> float | None:
    if source.thickness_mm is not None:
        return source.thickness_mm
    return result.series.spacing_mm[2] if result.series.spacing_mm else None


def _refer(dataset: Dataset, source: Source, slices: dict[tuple[float, ...], SourceSlice]) -> None:
    """Let each frame, and the object, refer to the slices they were made of, by frame where one object holds several.

    highdicom puts frames into the order of their places, so a frame is told by its place.
    """
    used: dict[str, SourceSlice] = {}
    for group in dataset.PerFrameFunctionalGroupsSequence:
        one = slices[_key(group.PlanePositionSequence[0].ImagePositionPatient)]
        used[one.sop_instance_uid] = one
        item = _reference(one)
        if one.frame_number is not None:
            item.ReferencedFrameNumber = one.frame_number
        item.PurposeOfReferenceCodeSequence = [codes.SOURCE_FOR_PROCESSING]
        item.SpatialLocationsPreserved = "YES"
        derivation = Dataset()
        derivation.SourceImageSequence = [item]
        derivation.DerivationCodeSequence = [_quantity(dataset)]
        group.DerivationImageSequence = [derivation]
    dataset.SourceImageSequence = [_reference(one) for one in used.values()]
    series = Dataset()
    series.SeriesInstanceUID = source.series_uid
    series.ReferencedInstanceSequence = [_reference(one) for one in used.values()]
    dataset.ReferencedSeriesSequence = [series]


def _quantity(dataset: Dataset) -> CodedConcept:
    shared = dataset.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence[0]
    concept: CodedConcept = shared.QuantityDefinitionSequence[0].ConceptCodeSequence[0]
    return concept


def _reference(one: SourceSlice) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = one.sop_class_uid, one.sop_instance_uid
    return item


def _key(place: Sequence[float] | NDArray[np.float64]) -> tuple[float, ...]:
    """A place as it is known after it was written with 16 characters, and no nearer."""
    return tuple(round(float(value), PLACE_DIGITS) + 0.0 for value in place)


def _fix_dimension(dataset: Dataset, uid: str) -> None:
    """Take the name that highdicom gave the dimensions at random for one that is always the same."""
    own = make_uid("dimension", uid)
    dataset.DimensionOrganizationSequence[0].DimensionOrganizationUID = own
    for item in dataset.DimensionIndexSequence:
        item.DimensionOrganizationUID = own
