"""Heads of single-frame files that say what a head read in full has said: most files of a series are alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

from pydicom.datadict import tag_for_keyword

from seriatim.io.dicom.extent import UNDEFINED
from seriatim.io.dicom.mosaic import MOSAIC_TAGS
from seriatim.io.dicom.walk import Head, HeadTooShortError, HeadWalker
from seriatim.io.dicom_pixels.file import DicomFile
from seriatim.io.dicom_pixels.padding import Range
from seriatim.io.dicom_pixels.plain import PlainLayout
from seriatim.io.dicom_pixels.rescale import Rescale

KEYWORDS = (
    "ImageType", "Modality", "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "NumberOfFrames",
    "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelPaddingValue",
    "PixelPaddingRangeLimit", "RescaleSlope", "RescaleIntercept", "ModalityLUTSequence", "DoseGridScaling",
    "RealWorldValueMappingSequence", "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence",
)
"""All that the pixels of a slice depend on; mosaics are told by ImageType and a private number."""
WANTED = frozenset([*(tag for keyword in KEYWORDS if (tag := tag_for_keyword(keyword)) is not None),
                    *(tag for tag in MOSAIC_TAGS if tag >> 16 == 0x0019)])
MEDIA_STORAGE_UID, INSTANCE_UID, PIXEL_DATA = 0x00020003, 0x00080018, 0x7FE00010
FIRST_BYTES, MOST_BYTES = 1 << 13, 1 << 18


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What a head said: how the pixels lie, what they mean, and which are padding; ``pixels`` is for decoders."""

    layout: PlainLayout
    pixels: Mapping[str, Any] | None
    rescale: Rescale
    padding: Range | None


class KnownHeads:
    """The heads met while one series is read."""

    def __init__(self) -> None:
        self._walker = HeadWalker(WANTED, frozenset({MEDIA_STORAGE_UID, INSTANCE_UID}))
        self._known: dict[tuple[bytes, bytes], Known] = {}
        self._bytes = FIRST_BYTES

    def walk(self, file: BinaryIO) -> Head | None:
        """The head of a file from its start, None where only pydicom can read it."""
        size = self._bytes
        while size <= MOST_BYTES:
            file.seek(0)
            try:
                head = self._walker.walk(file.read(size))
            except HeadTooShortError:
                size *= 4
                continue
            if head is not None:
                self._bytes = max(FIRST_BYTES // 4, head.pixel_start + 64)
            return head
        return None

    def recall(self, head: Head | None, uid: str) -> Known | None:
        """What a head with the same words said, where this is the head of instance ``uid`` and its pixels are whole."""
        known = None if head is None else self._known.get((head.syntax, head.fixed))
        if head is None or known is None or _uid_of(head) != uid:
            return None
        length = UNDEFINED if known.pixels else known.layout.frame_bytes
        return known if (head.pixel_tag, head.pixel_length) == (PIXEL_DATA, length) else None

    def learn(self, head: Head | None, opened: DicomFile, rescale: Rescale, padding: Range | None) -> None:
        """Remember what the head of a file said that was read in full, where its pixels are plain."""
        if head is not None and opened.layout is not None and opened.single_frame:
            pixels = opened.pixels if opened.compressed else None
            known = Known(layout=opened.layout, pixels=pixels, rescale=rescale, padding=padding)
            self._known[head.syntax, head.fixed] = known


def _uid_of(head: Head) -> Any:
    return head.own.get(INSTANCE_UID, (b"", b""))[1].decode("ascii", "replace").strip(" \0")
