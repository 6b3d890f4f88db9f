"""The only changes that may pass without a finding: each with the reason why no reader could notice."""

from __future__ import annotations

from dataclasses import dataclass

from tools.fuzz.touched import STREAM, VALUES, WHOLE_FRAMES

ONE_FILE = ("us_", "video_", "palette", "mr_enhanced", "nifti", "nrrd", "nhdr", "mha", "mhd", "tiff", "gif", "mp4",
            "avi", "mkv")
"""Cases whose volume is one file: no other slice can contradict its header."""
DECIDES_PIXELS = frozenset({
    VALUES, STREAM, "length", "fragments", "head", "file", "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit",
    "PixelRepresentation", "PhotometricInterpretation", "SamplesPerPixel", "PlanarConfiguration", "NumberOfFrames",
    "RescaleSlope", "RescaleIntercept", "TransferSyntaxUID", "dim", "datatype", "bitpix", "vox_offset", "scl_slope",
    "scl_inter"})
"""Where a mutation touches several places, only these can have changed a pixel."""
PICTURES = ("png", "jpeg", "bmp", "webp")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A change of only these ``parts`` that comes out as only ``what``, in cases whose names start so."""

    parts: frozenset[str]
    what: frozenset[str]
    reason: str
    cases: tuple[str, ...] = ("",)


def why_undetectable(case: str, parts: set[str], what: frozenset[str]) -> str:
    """The reason, or "" where the change must be told. ``parts`` were touched, ``what`` came out different."""
    if what <= {"pixels"}:
        parts = (parts & DECIDES_PIXELS) or parts
    for rule in RULES:
        if parts and parts <= rule.parts and what <= rule.what and case.startswith(rule.cases):
            return rule.reason
    return ""


def _rule(parts: str, what: str, reason: str, cases: tuple[str, ...] = ("",)) -> Rule:
    return Rule(parts=frozenset(parts.split(", ")), what=frozenset(what.split(", ")), reason=reason, cases=cases)


RULES = (
    _rule(VALUES, "pixels", "values of uncompressed pixels: each is as legal as any other"),
    _rule(STREAM, "pixels", "bits of a compressed stream without a checksum, which still decodes whole"),
    _rule(f"{STREAM}, {VALUES}, length", "pixels",
          "deflated DICOM has no checksum: a byte more or less may still inflate to the same length", ("ct_deflated",)),
    _rule("Offset, CenterOfRotation, ElementSpacing, TransformMatrix, space origin, space directions, spacings, space",
          "affine, positions", "a legal place or spacing of a file that says it only once", ONE_FILE),
    _rule("TransformMatrix, space, space directions", "affine, positions, pixels",
          "legal directions of a file that says them only once, which turn the order", ONE_FILE),
    _rule("RedPaletteColorLookupTableData, GreenPaletteColorLookupTableData, BluePaletteColorLookupTableData",
          "pixels", "colours of a palette: each is as legal as any other"),
    _rule("scl_slope, scl_inter, RescaleSlope, RescaleIntercept", "pixels",
          "a legal scale of the only file of a volume", ONE_FILE),
    _rule("RescaleSlope, RescaleIntercept", "pixels", "PET is scaled slice by slice", ("pet",)),
    _rule("RescaleSlope, RescaleIntercept, PerFrameFunctionalGroupsSequence, PixelValueTransformationSequence",
          "pixels",
          "MR is scaled frame by frame", ("mr_enhanced", "mr_concatenation")),
    _rule("BinaryDataByteOrderMSB, endian", "pixels", "a legal byte order of the only file of a volume", ONE_FILE),
    _rule(f"{WHOLE_FRAMES}, length", "pixels", "two whole frames of a clip exchanged: nothing in them tells", ("us_",)),
    _rule("BitsStored, HighBit, PixelRepresentation, PlanarConfiguration", "pixels",
          "a legal layout of the only file of a series", ONE_FILE),
    _rule("PixelMeasuresSequence, PixelSpacing, SharedFunctionalGroupsSequence, PlaneOrientationSequence, "
          "ImageOrientationPatient", "affine, positions", "a legal grid of a file that says it only once",
          ("mr_enhanced",)),
    _rule("SpacingBetweenSlices, PixelSpacing, ImageOrientationPatient, ImagePositionPatient", "affine, positions",
          "a legal grid of a mosaic, a volume of its own", ("mosaic_times",)),
    _rule("PhotometricInterpretation", "shape, polarity", "legal colours of the only file of a clip", ONE_FILE),
    _rule(f"head, {VALUES}", "pixels", "a legal layout of a page", ("tiff",)),
    _rule(f"{STREAM}, length", "shape", "bytes lost in a Matroska file: its readers go on at the next cluster",
          ("mkv",)),
    _rule(f"{VALUES}, length", "pixels", "a TIFF file may hold bytes that nothing points to", ("tiff",)),
    _rule(VALUES, "shape", "a zero where the next page is named ends a TIFF file", ("tiff",)),
    _rule(f"{VALUES}, length", "positions, pixels", "times and pixels of a GIF file, each as legal as any other",
          ("gif",)),
    _rule(f"{STREAM}, length, head", "pixels", "bytes lost in a JPEG scan: its decoders resynchronise and do not tell",
          ("jpeg", "avi", "us_jpeg")),
    _rule(STREAM, "positions", "a legal frame rate of a clip: no checksum protects it", ("avi", "mp4", "mkv")),
    _rule("FrameTime, FrameTimeVector", "positions", "legal times of the only file of a clip",
          ("us_", "video_", "palette")),
    _rule("Modality", "modality", "a legal modality of the only file of a series", ONE_FILE),
    _rule("file", "shape", "the last slice of a series that nowhere says how many it has", ("pet", "ct_big_endian")),
    _rule("file", "lost", "a volume that is a file of its own, of a series that nowhere says how many it has",
          ("mosaic_times",)),
    _rule("file", "shape, pixels", "pictures of a folder carry no identity and no count", PICTURES),
    _rule("datatype", "pixels", "another data type of the same bits", ONE_FILE),
)
