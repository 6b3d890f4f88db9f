"""One DICOM file of a series, open to read its frames: straight into place, as they lie, or through a decoder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property, partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.pixels import get_decoder
from pydicom.uid import UID

from seriatim.errors import DecoderError, InputError
from seriatim.io.dicom.extent import Extent, find_extent
from seriatim.io.dicom.mosaic import Mosaic, NoMosaicGeometryError, find_mosaic
from seriatim.io.dicom.values import BadValueError, get_integer, get_text
from seriatim.io.dicom_pixels.codecs import (
    ITK_SYNTAXES,
    correct_bits,
    decode_frame,
    decode_with_itk,
    describe_pixels,
    transfer_syntax,
)
from seriatim.io.dicom_pixels.encapsulated import Frames, join_fragments
from seriatim.io.dicom_pixels.plain import find_layout, read_plain, rescale_in_place
from seriatim.io.dicom_pixels.rescale import Rescale
from seriatim.io.dicom_pixels.video import VIDEO_SYNTAXES, VideoFrames
from seriatim.io.values import SliceWriter

LITTLE_ENDIAN = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1")
NATIVE = {"1.2.840.10008.1.2": "<", "1.2.840.10008.1.2.1": "<", "1.2.840.10008.1.2.1.99": "<",
          "1.2.840.10008.1.2.2": ">"}
AGAIN = "Copy or export it again."


class DicomFile:
    """The header of an open file, and its frames as they are asked for.

    Raises:
        InputError: it is not, or no longer, a readable DICOM file.
        DecoderError: its pixel data is not whole, or cannot be decoded.
    """

    def __init__(self, file: BinaryIO, path: Path) -> None:
        self._file, self._path = file, path
        self.dataset = self._read_header()
        self._syntax = transfer_syntax(self.dataset)
        self._extent = self._find_pixels()
        self.mosaic = self._find_mosaic()
        integers = self._extent.keyword == "PixelData"
        plain = integers and self.mosaic is None and not self.is_video
        self.layout = find_layout(self.dataset) if plain else None

    def identify(self) -> tuple[str, int, int]:
        """SOP Instance UID, rows and columns, to know the file again."""
        try:
            image = self.mosaic
            rows, columns = (image.rows, image.columns) if image else (self.dataset.Rows, self.dataset.Columns)
        except Exception as error:  # pydicom itself raises many kinds for a broken file
            raise InputError(f"{self._path} is no longer a readable DICOM file. Copy it again.") from error
        return get_text(self.dataset, "SOPInstanceUID"), rows, columns

    @property
    def single_frame(self) -> bool:
        return self.mosaic is None and get_integer(self.dataset, "NumberOfFrames", 1) <= 1

    @property
    def is_video(self) -> bool:
        return self._syntax in VIDEO_SYNTAXES

    @property
    def compressed(self) -> bool:
        return self._extent.encapsulated

    def read_in_place(self, frame: int, index: int, rescale: Rescale, writer: SliceWriter) -> bool:
        """True where the frame, in real-world values, was read straight into slice ``index`` of the volume."""
        if self.layout is None or self._syntax not in LITTLE_ENDIAN:
            return False
        place = writer.lend(index, self.layout.shape)
        if place is None:
            return False
        self._file.seek(self._extent.start + frame * self.layout.frame_bytes)
        if not read_plain(self._file, self.layout, place):
            raise DecoderError(f"{self._path} was cut while it was read. {AGAIN}")
        return rescale_in_place(place, self.layout, rescale)

    def decoding(self, frame: int, rescale: Rescale) -> Callable[[], NDArray[Any]]:
        """What gives the stored pixels of a compressed frame, (H,W) or (H,W,3), in any thread."""
        single = len(self._frames) == 1
        return partial(decode_slice, self._frames[frame], self.pixels, self._syntax, path=self._path,
                       rescale=rescale if single else None)

    def read_stored(self, frame: int) -> NDArray[Any]:
        """The stored pixels of an uncompressed frame: (H,W), or (H,W,3) as RGB."""
        dataset = self._whole
        bits = get_integer(dataset, "BitsAllocated", 16)
        grey = get_integer(dataset, "SamplesPerPixel", 1) == 1 and "PixelData" in dataset and bits in (8, 16, 32)
        order = NATIVE.get(self._syntax)
        swapped = bits == 8 and order == ">" and grey and dataset["PixelData"].VR == "OW"  # bytes, swapped in pairs
        if order is None or not grey or swapped:
            return self._decode_native(frame)
        rows, columns = dataset.Rows, dataset.Columns
        stored = np.frombuffer(dataset.PixelData, dtype=f"{order}u{bits // 8}", count=rows * columns,
                               offset=frame * rows * columns * bits // 8)
        return correct_bits(stored.reshape(rows, columns), dataset)

    def read_tile(self, index: int) -> NDArray[Any]:
        """The stored pixels of one slice of a mosaic."""
        assert self.mosaic is not None
        return self.mosaic.cut(self._picture, index)

    def read_video(self, frame: int) -> NDArray[Any]:
        """(H,W,3) RGB one frame of a video."""
        try:
            return self._video[frame]
        except DecoderError as error:
            raise DecoderError(f"{self._path.name}: {error} {AGAIN}") from error

    @cached_property
    def _video(self) -> VideoFrames:
        count = max(get_integer(self.dataset, "NumberOfFrames", 1), 1)
        size = (get_integer(self.dataset, "Rows", 0), get_integer(self.dataset, "Columns", 0))
        return VideoFrames(join_fragments(self._whole.PixelData), count=count, size=size)

    @cached_property
    def _picture(self) -> NDArray[Any]:
        return self.decoding(0, Rescale())() if self.compressed else self.read_stored(0)

    def _find_mosaic(self) -> Mosaic | None:
        try:
            return find_mosaic(self.dataset)
        except (BadValueError, NoMosaicGeometryError) as error:
            raise InputError(f"{self._path} cannot be read: {error}. Copy it again.") from error

    def _read_header(self) -> Any:
        self._file.seek(0)
        try:
            return pydicom.dcmread(self._file, force=True, stop_before_pixels=True)
        except OSError as error:
            raise InputError(f"{self._path} cannot be read: {error}. Copy it again.") from error
        except Exception as error:  # pydicom itself raises many kinds for a broken file
            raise InputError(f"{self._path} is no longer a readable DICOM file. Copy it again.") from error

    def _find_pixels(self) -> Extent:
        extent = find_extent(self._file, self.dataset)
        if extent is None or not extent.whole:
            raise DecoderError(f"{self._path} is truncated: its pixel data is not whole. {AGAIN}")
        return extent

    def _decode_native(self, frame: int) -> NDArray[Any]:
        """Colour, bits and floating point pixels by pydicom."""
        try:
            self._whole.file_meta.TransferSyntaxUID = UID(self._syntax)
            array, _ = get_decoder(UID(self._syntax)).as_array(self._whole, index=frame)
        except MemoryError:
            raise
        except Exception as error:
            raise DecoderError(f"{self._path.name} cannot be decoded ({type(error).__name__}). {AGAIN}") from error
        return np.asarray(array)

    @cached_property
    def pixels(self) -> dict[str, Any]:
        """What a decoder must know of the header."""
        return describe_pixels(self.dataset)

    @cached_property
    def _frames(self) -> Frames:
        """The compressed frames."""
        count = max(get_integer(self.dataset, "NumberOfFrames", 1), 1)
        try:
            return Frames(self._whole.PixelData, syntax=self._syntax, count=count)
        except DecoderError as error:
            raise DecoderError(f"{self._path.name}: {error}. {AGAIN}") from error

    @cached_property
    def _whole(self) -> Any:
        """The header with the pixel data as it lies in the file; what follows it is not read."""
        self._file.seek(self._extent.start)
        value = self._file.read(self._extent.end - self._extent.start)
        if len(value) < self._extent.end - self._extent.start:
            raise DecoderError(f"{self._path} was cut while it was read. {AGAIN}")
        self.dataset.add_new(self._extent.keyword, "OB" if self._extent.encapsulated else self._extent.vr, value)
        return self.dataset


def decode_slice(
    encoded: bytes, pixels: Mapping[str, Any], syntax: str, *, path: Path, rescale: Rescale | None
) -> NDArray[Any]:
    """Decode a frame; SimpleITK is tried last where ``rescale`` is given, that is where the file has no other frame.

    Raises:
        DecoderError: no decoder is installed, or none could decode it.
    """
    try:
        return decode_frame(encoded, pixels, syntax)
    except DecoderError as error:
        if rescale is not None and syntax in ITK_SYNTAXES and pixels["samples_per_pixel"] == 1:
            try:
                return decode_with_itk(path, slope=rescale.slope, intercept=rescale.intercept)
            except Exception:  # noqa: BLE001, S110 - its message tells less than the one of the decoders before
                pass
        raise DecoderError(f"{path.name}: {error} {AGAIN}") from error
