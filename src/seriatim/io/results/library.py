"""The image library of the report: which images were read, what they are and where they lie (TID 1600 to 1604)."""

from __future__ import annotations

from highdicom.sr import (
    CodeContentItem,
    CodedConcept,
    ContainerContentItem,
    ContentSequence,
    ImageContentItem,
    NumContentItem,
    RelationshipTypeValues,
    UIDRefContentItem,
)
from pydicom.sr.codedict import codes as known

from seriatim.io.results import codes
from seriatim.io.results.source import Source, SourceSlice

CONTEXT = RelationshipTypeValues.HAS_ACQ_CONTEXT
PIXELS = codes.standard("{pixels}", "UCUM", "Pixels")
MILLIMETRE = codes.standard("mm", "UCUM", "millimeter")
POSITION = (known.DCM.ImagePositionPatientX, known.DCM.ImagePositionPatientY, known.DCM.ImagePositionPatientZ)


def make_library(source: Source) -> ContainerContentItem:
    """One group for the series, one entry for each object."""
    group = _container(known.DCM.ImageLibraryGroup)
    group.ContentSequence = ContentSequence(_describe_group(source))
    for uid, one in source.instances.items():
        entry = ImageContentItem(
            name=codes.SOURCE, referenced_sop_class_uid=one.sop_class_uid, referenced_sop_instance_uid=uid,
            relationship_type=RelationshipTypeValues.CONTAINS,
        )
        if place := _describe_place(one):
            entry.ContentSequence = ContentSequence(place)
        group.ContentSequence.append(entry)
    library = _container(known.DCM.ImageLibrary)
    library.ContentSequence = ContentSequence([group])
    return library


def _describe_group(source: Source) -> list[CodeContentItem | NumContentItem | UIDRefContentItem]:
    items: list[CodeContentItem | NumContentItem | UIDRefContentItem] = [
        CodeContentItem(name=known.DCM.Modality, value=codes.modality(source.modality), relationship_type=CONTEXT)
    ]
    if source.frame_of_reference_uid:
        items.append(UIDRefContentItem(name=known.DCM.FrameOfReferenceUID, value=source.frame_of_reference_uid,
                                       relationship_type=CONTEXT))
    items += [_number(known.DCM.PixelDataRows, source.rows, PIXELS),
              _number(known.DCM.PixelDataColumns, source.columns, PIXELS)]
    spacing = source.slices[0].plane.spacing_mm
    if spacing is not None:
        items += [_number(known.DCM.HorizontalPixelSpacing, spacing[1], MILLIMETRE),
                  _number(known.DCM.VerticalPixelSpacing, spacing[0], MILLIMETRE)]
    return items


def _describe_place(one: SourceSlice) -> list[NumContentItem]:
    """Where a single image lies; frames lie where their own object says."""
    if one.frame_number is not None or not one.plane.placed:
        return []
    assert one.plane.position is not None
    return [_number(name, value, MILLIMETRE) for name, value in zip(POSITION, one.plane.position, strict=True)]


def _number(name: CodedConcept, value: float, unit: CodedConcept) -> NumContentItem:
    return NumContentItem(name=name, value=value, unit=unit, relationship_type=CONTEXT)


def _container(name: CodedConcept) -> ContainerContentItem:
    return ContainerContentItem(name=name, relationship_type=RelationshipTypeValues.CONTAINS)
