"""Decoding of DICOM pixel data: pydicom's decoders first, then imagecodecs, then the GDCM inside SimpleITK."""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.encaps import get_frame
from pydicom.pixels import get_decoder
from pydicom.pixels.processing import convert_color_space
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from seriatim.errors import DecoderError
from seriatim.io.dicom_values import get_integer, get_text
from seriatim.io.source import real_file
from seriatim.series.findings import Code, Finding, find

Pixels = NDArray[Any]

IMAGECODECS = {
    "1.2.840.10008.1.2.4.50": "jpeg", "1.2.840.10008.1.2.4.51": "jpeg", "1.2.840.10008.1.2.4.57": "jpeg",
    "1.2.840.10008.1.2.4.70": "jpeg", "1.2.840.10008.1.2.4.80": "jpegls", "1.2.840.10008.1.2.4.81": "jpegls",
    "1.2.840.10008.1.2.4.90": "jpeg2k", "1.2.840.10008.1.2.4.91": "jpeg2k", "1.2.840.10008.1.2.4.110": "jpegxl",
    "1.2.840.10008.1.2.4.111": "jpegxl", "1.2.840.10008.1.2.4.112": "jpegxl", "1.2.840.10008.1.2.4.201": "jpeg2k",
    "1.2.840.10008.1.2.4.202": "jpeg2k", "1.2.840.10008.1.2.4.203": "jpeg2k",
}
ITK_SYNTAXES = ("1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70")
NO_IMAGECODECS = "imagecodecs is not installed"
INSTALL = 'Install one: pip install "seriatim[codecs]".'
VIDEO_SYNTAXES = ("1.2.840.10008.1.2.4.100", "1.2.840.10008.1.2.4.101", "1.2.840.10008.1.2.4.102",
                  "1.2.840.10008.1.2.4.103", "1.2.840.10008.1.2.4.104", "1.2.840.10008.1.2.4.105",
                  "1.2.840.10008.1.2.4.106", "1.2.840.10008.1.2.4.107", "1.2.840.10008.1.2.4.108")


def transfer_syntax(dataset: Any) -> str:
    """The transfer syntax UID, told from the encoding of the header where the file does not say."""
    syntax = get_text(dataset.file_meta, "TransferSyntaxUID") if hasattr(dataset, "file_meta") else ""
    if syntax:
        return syntax
    implicit, little = dataset.original_encoding
    if not little:
        return str(ExplicitVRBigEndian)
    return str(ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian)


@functools.cache
def check_decoder(syntax: str) -> Finding | None:
    """DECODER_MISSING or UNSUPPORTED where no installed decoder knows the transfer syntax; None where one does."""
    name = UID(syntax).name
    if syntax in VIDEO_SYNTAXES:
        return find(Code.UNSUPPORTED, f"Video inside DICOM ({name}) is not read. Export it as a video file.")
    known = syntax in ITK_SYNTAXES or (syntax in IMAGECODECS and importlib.util.find_spec("imagecodecs") is not None)
    with contextlib.suppress(NotImplementedError):
        known = known or get_decoder(UID(syntax)).is_available
    if known:
        return None
    if syntax not in IMAGECODECS:
        return find(Code.UNSUPPORTED, f"The transfer syntax {name} is not known. Export the series uncompressed.")
    return find(Code.DECODER_MISSING, f"No decoder for {name} is installed. {INSTALL}")


def decode_frame(dataset: Any, frame: int, *, path: Path) -> Pixels:
    """The stored pixels of one frame: (H,W), or (H,W,3) as RGB.

    Raises:
        DecoderError: no decoder is installed for the transfer syntax, or the data is damaged.
    """
    syntax = transfer_syntax(dataset)
    name = UID(syntax).name
    problems: list[str] = []
    for decode in (_decode_pydicom, _decode_imagecodecs, _decode_itk):
        try:
            return decode(dataset, frame, syntax, path)
        except _NoDecoderError as error:
            problems.append(str(error))
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001 - decoders raise anything on damaged data; the next one may manage
            problems.append(f"{decode.__name__.removeprefix('_decode_')}: {error}")
    if not any(": " in problem for problem in problems):
        raise DecoderError(f"{path.name} is compressed as {name}, and no decoder for it is installed. {INSTALL}")
    hint = f" Or another decoder may manage. {INSTALL}" if NO_IMAGECODECS in problems else ""
    problem = next(problem for problem in problems if ": " in problem)
    raise DecoderError(f"{path.name} cannot be decoded ({name}): {problem[:200]}. Copy or export it again.{hint}")


class _NoDecoderError(Exception):
    """The decoder does not know the transfer syntax, or is not installed."""


def _decode_pydicom(dataset: Any, frame: int, syntax: str, _: Path) -> Pixels:
    try:
        decoder = get_decoder(UID(syntax))
    except NotImplementedError as error:
        raise _NoDecoderError("pydicom knows no decoder") from error
    if not decoder.is_available:
        raise _NoDecoderError("pydicom has no decoder")
    dataset.file_meta.TransferSyntaxUID = UID(syntax)
    array, _ = decoder.as_array(dataset, index=frame)
    return np.asarray(array)


def _decode_imagecodecs(dataset: Any, frame: int, syntax: str, _: Path) -> Pixels:
    if syntax not in IMAGECODECS:
        raise _NoDecoderError("imagecodecs does not know the syntax")
    try:
        imagecodecs = importlib.import_module("imagecodecs")
    except ImportError as error:
        raise _NoDecoderError(NO_IMAGECODECS) from error
    codec = IMAGECODECS[syntax]
    frames = max(get_integer(dataset, "NumberOfFrames", 1), 1)
    encoded = get_frame(dataset.PixelData, frame, number_of_frames=frames)
    options = {"colorspace": "RGB", "outcolorspace": "RGB"} if codec == "jpeg" and _samples(dataset) == 3 else {}
    array = np.asarray(getattr(imagecodecs, f"{codec}_decode")(encoded, **options))
    return _finish(array, dataset, converted=codec == "jpeg2k")


def _decode_itk(dataset: Any, _: int, syntax: str, path: Path) -> Pixels:
    """GDCM returns rescaled values: the stored ones are computed back, for single-frame grey files only."""
    if _samples(dataset) != 1 or get_integer(dataset, "NumberOfFrames", 1) > 1 or syntax in VIDEO_SYNTAXES:
        raise _NoDecoderError("SimpleITK is used for single grey slices only")
    itk = importlib.import_module("SimpleITK")
    with real_file(path) as real:
        array = itk.GetArrayFromImage(itk.ReadImage(str(real)))[0].astype(np.float64)
    slope, intercept = float(dataset.get("RescaleSlope") or 1), float(dataset.get("RescaleIntercept") or 0)
    return np.asarray(np.rint((array - intercept) / slope).astype(np.int32))


def _finish(array: Pixels, dataset: Any, *, converted: bool) -> Pixels:
    """Check the shape, restore the sign, and turn YBR into RGB."""
    rows, columns = get_integer(dataset, "Rows", 0), get_integer(dataset, "Columns", 0)
    if array.shape[:2] != (rows, columns):
        raise DecoderError(f"decoded {array.shape[1]} x {array.shape[0]} pixels, the header says {columns} x {rows}")
    photometric = get_text(dataset, "PhotometricInterpretation")
    if array.ndim == 3 and photometric.startswith("YBR_FULL") and not converted:
        return np.asarray(convert_color_space(array, photometric, "RGB"))
    return correct_bits(array, dataset)


def correct_bits(array: Pixels, dataset: Any) -> Pixels:
    """Drop bits outside the stored ones (overlays, sign padding) and extend the sign, PS3.5 section 8.1.1."""
    bits = array.dtype.itemsize * 8
    stored = get_integer(dataset, "BitsStored", bits)
    high = get_integer(dataset, "HighBit", stored - 1)
    signed = get_integer(dataset, "PixelRepresentation", 0) == 1
    if array.dtype.kind not in "iu" or not 0 < stored <= high + 1 <= bits:
        return array
    array = array.view(f"{array.dtype.byteorder}{'i' if signed else 'u'}{array.dtype.itemsize}")
    if stored == bits:
        return array
    up = bits - 1 - high
    return np.asarray((array << up) >> (bits - stored))


def _samples(dataset: Any) -> int:
    return get_integer(dataset, "SamplesPerPixel", 1)
