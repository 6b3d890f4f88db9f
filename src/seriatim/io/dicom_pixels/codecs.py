"""Decoding of compressed DICOM frames: decoders in a fixed order, each result checked, the next tried where one fails.

imagecodecs first (it lets other threads run while it decodes), then the decoders that pydicom knows, then the GDCM
inside SimpleITK for single grey slices. RLE is decoded by pydicom's alone.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.pixels import get_decoder
from pydicom.pixels.decoders.base import Decoder
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGLosslessSV1

from seriatim.errors import DecoderError, SeriatimError
from seriatim.io.dicom.values import get_integer, get_text
from seriatim.io.dicom_pixels import decoder_plugins
from seriatim.io.dicom_pixels.codestream import read_codestream
from seriatim.io.dicom_pixels.encapsulated import encapsulate_one
from seriatim.io.dicom_pixels.rle import RLE, count_excess
from seriatim.io.dicom_pixels.video import VIDEO_SYNTAXES, check_video_decoder
from seriatim.io.source import real_file
from seriatim.series.findings import Code, Finding, find

Pixels = NDArray[Any]
Decode = Callable[[bytes, Mapping[str, Any]], Pixels]

PYDICOM_ORDER = ("pylibjpeg", "pyjpegls", "gdcm", "pillow", "pydicom")
ITK_SYNTAXES = ("1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70")
GREY_FIRST = "decode_imagecodecs"
INSTALL = 'Install one: pip install "seriatim[codecs]".'


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
        return check_video_decoder(name)
    if syntax in ITK_SYNTAXES or _is_native(syntax) or find_decoders(syntax):
        return None
    if syntax not in decoder_plugins.IMAGECODECS:
        return find(Code.UNSUPPORTED, f"The transfer syntax {name} is not known. Export the series uncompressed.")
    return find(Code.DECODER_MISSING, f"No decoder for {name} is installed. {INSTALL}")


def describe_pixels(dataset: Any) -> dict[str, Any]:
    """What a decoder must know of the header, under the names of pydicom's decoding options."""
    samples, allocated = get_integer(dataset, "SamplesPerPixel", 1), get_integer(dataset, "BitsAllocated", 16)
    photometric = get_text(dataset, "PhotometricInterpretation") or ("RGB" if samples == 3 else "MONOCHROME2")
    if samples == 3 and transfer_syntax(dataset) in decoder_plugins.JPEG_XL:
        photometric = "RGB"  # also where it says XYB, which its decoder turns into RGB
    return {
        "rows": get_integer(dataset, "Rows", 0), "columns": get_integer(dataset, "Columns", 0),
        "samples_per_pixel": samples, "photometric_interpretation": photometric, "bits_allocated": allocated,
        "bits_stored": get_integer(dataset, "BitsStored", allocated), "number_of_frames": 1,
        "pixel_representation": get_integer(dataset, "PixelRepresentation", 0),
        "planar_configuration": get_integer(dataset, "PlanarConfiguration", 0), "pixel_keyword": "PixelData",
    }


def decode_frame(encoded: bytes, pixels: Mapping[str, Any], syntax: str) -> Pixels:
    """The stored pixels of one compressed frame: (H,W), or (H,W,3) as RGB.

    ``pixels`` is what ``describe_pixels`` tells of the header.

    Raises:
        DecoderError: no decoder for the transfer syntax is installed, or none could decode the frame.
    """
    name = UID(syntax).name
    _check_codestream(encoded, pixels)
    _check_rle(encoded, pixels, syntax)
    problems: list[str] = []
    for label, decode in _known_decoders(syntax).items():
        try:
            array = decode(encoded, pixels)
            _check_pixels(array, pixels)
        except (MemoryError, KeyboardInterrupt, SystemExit, GeneratorExit):
            raise
        except BaseException as error:  # noqa: BLE001 - decoders raise anything (a panic in Rust is no Exception)
            problems.append(f"{label}: {error if isinstance(error, SeriatimError) else type(error).__name__}")
        else:
            return array
    if not problems:
        raise DecoderError(f"it is compressed as {name}, and no decoder for it is installed. {INSTALL}")
    known = syntax not in decoder_plugins.IMAGECODECS or decoder_plugins.has_imagecodecs(syntax)
    hint = "" if known else f" Or another decoder may manage. {INSTALL}"
    raise DecoderError(f"it cannot be decoded ({name}): {'; '.join(problems)[:200]}.{hint}")


def decode_with_itk(path: Path, *, slope: float, intercept: float) -> Pixels:
    """A single grey slice by GDCM, which returns rescaled values: the stored ones are computed back."""
    itk = importlib.import_module("SimpleITK")
    with real_file(path) as real:
        array = itk.GetArrayFromImage(itk.ReadImage(str(real)))[0].astype(np.float64)
    return np.asarray(np.rint((array - intercept) / slope).astype(np.int32))


def find_decoders(syntax: str) -> Mapping[str, Decode]:
    """The installed decoders of a compressed transfer syntax, in the order in which they are tried."""
    decoders = {}
    for label, function, syntaxes in (("imagecodecs", GREY_FIRST, decoder_plugins.IMAGECODECS),
                                      ("pillow", "decode_pillow_colour", decoder_plugins.JPEG_COLOUR)):
        if syntax in syntaxes and (label == "pillow" or decoder_plugins.has_imagecodecs(syntax)):
            decoders[label] = _make_decoder(syntax, function)
    try:
        known = get_decoder(UID(syntax))
    except NotImplementedError:
        return decoders
    available = [label for label in PYDICOM_ORDER if label in known.available_plugins]
    return decoders | {f"pydicom with {label}": functools.partial(_run, known, label) for label in available}


_known_decoders = functools.cache(find_decoders)


def _make_decoder(syntax: str, function: str) -> Decode:
    """A decoder of our own: pydicom's, which everybody shares, stay as they are."""
    if syntax in decoder_plugins.JPEG_XL:
        syntax, function = str(JPEGLosslessSV1), "decode_jpegxl"
    decoder = Decoder(UID(syntax))
    decoder.add_plugin("seriatim", (decoder_plugins.__name__, function))
    run = functools.partial(_run, decoder, "seriatim")
    return functools.partial(_run_grey, run, decoder_plugins.IMAGECODECS[syntax]) if function == GREY_FIRST else run


def _run_grey(run: Decode, codec: str, encoded: bytes, pixels: Mapping[str, Any]) -> Pixels:
    """Plain grey frames without pydicom, which copies them and checks what was checked before."""
    array = decoder_plugins.decode_grey(encoded, pixels, codec)
    return run(encoded, pixels) if array is None else array


def _run(decoder: Decoder, label: str, encoded: bytes, pixels: Mapping[str, Any]) -> Pixels:
    value = encapsulate_one(encoded)
    array, _ = decoder.as_array(value, index=0, decoding_plugin=label, **pixels)
    return _extend_sign(np.asarray(array), pixels)


def _check_codestream(encoded: bytes, pixels: Mapping[str, Any]) -> None:
    """Refuse a frame of another size before a decoder allocates for it."""
    stream = read_codestream(encoded)
    if stream is None:
        return
    size = (pixels["rows"], pixels["columns"], pixels["samples_per_pixel"])
    if (stream.rows or size[0], stream.columns, stream.components) != size:
        coded = (stream.rows, stream.columns, stream.components)
        raise DecoderError(f"a frame has {coded} rows, columns and samples per pixel, the header says {size}.")
    if stream.precision > pixels["bits_allocated"]:
        raise DecoderError(f"a frame is coded with {stream.precision} bits, the header has room for "
                           f"{pixels['bits_allocated']}.")


def _check_rle(encoded: bytes, pixels: Mapping[str, Any], syntax: str) -> None:
    """Refuse an RLE frame that holds more than the header speaks of: rows or columns were lost there, or fewer bits."""
    if syntax != RLE:
        return
    size = pixels["rows"] * pixels["columns"]
    if excess := count_excess(encoded, size):
        raise DecoderError(f"a segment of an RLE frame holds {excess} bytes more than the {size} of "
                           f"{pixels['columns']} x {pixels['rows']} pixels")


def _extend_sign(array: Pixels, pixels: Mapping[str, Any]) -> Pixels:
    """Signed pixels that were coded unsigned in more than the stored bits: the highest stored bit is the sign."""
    stored, signed = pixels["bits_stored"], pixels["pixel_representation"] == 1
    if not signed or array.ndim == 3 or stored >= array.dtype.itemsize * 8:
        return array
    half = 1 << stored - 1
    low, high = int(array.min()), int(array.max())
    return np.where(array >= half, array - 2 * half, array) if low >= 0 and half <= high < 2 * half else array


def _check_pixels(array: Pixels, pixels: Mapping[str, Any]) -> None:
    size = (pixels["rows"], pixels["columns"])
    expected = size if pixels["samples_per_pixel"] == 1 else (*size, pixels["samples_per_pixel"])
    if array.shape != expected or array.dtype.kind not in "iu":
        raise DecoderError(f"{array.dtype} pixels of the shape {array.shape} were decoded, expected {expected}")


def _is_native(syntax: str) -> bool:
    try:
        return not get_decoder(UID(syntax)).is_encapsulated
    except NotImplementedError:
        return False


def correct_bits(array: Pixels, dataset: Any) -> Pixels:
    """Drop bits outside the stored ones (overlays, sign padding) and extend the sign, PS3.5 section 8.1.1."""
    bits = array.dtype.itemsize * 8
    stored = get_integer(dataset, "BitsStored", bits)
    high = get_integer(dataset, "HighBit", stored - 1)
    signed = get_integer(dataset, "PixelRepresentation", 0) == 1
    if array.dtype.kind not in "iu" or not 0 < stored <= bits:
        return array
    if not stored <= high + 1 <= bits:  # cannot be
        high = stored - 1
    array = array.view(f"{array.dtype.byteorder}{'i' if signed else 'u'}{array.dtype.itemsize}")
    if stored == bits:
        return array
    if (below := high + 1 - stored) and (array & ((1 << below) - 1)).any():
        raise DecoderError(f"HighBit is {high} with {stored} bits stored, but there are values below them")
    up = bits - 1 - high
    return np.asarray((array << up) >> (bits - stored))
