"""Decoders in the form that pydicom's decoding asks of a plugin: bytes of a frame in, bytes of its pixels out.

pydicom then restores signs, drops unused bits and turns YBR into RGB, so that all decoders end in the same values.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom.uid import UID

from seriatim.io.dicom_pixels.codestream import read_codestream

JPEG = ("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70")
JPEG_COLOUR = JPEG[:2]
JPEG_LS = ("1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81")
JPEG_2000 = ("1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91", "1.2.840.10008.1.2.4.201",
             "1.2.840.10008.1.2.4.202", "1.2.840.10008.1.2.4.203")
JPEG_XL = ("1.2.840.10008.1.2.4.110", "1.2.840.10008.1.2.4.111", "1.2.840.10008.1.2.4.112")
IMAGECODECS = {**dict.fromkeys(JPEG, "jpeg"), **dict.fromkeys(JPEG_LS, "jpegls"), **dict.fromkeys(JPEG_2000, "jpeg2k"),
               **dict.fromkeys(JPEG_XL, "jpegxl")}
DECODER_DEPENDENCIES: dict[UID, tuple[str, ...]] = {}


def is_available(uid: str) -> bool:  # noqa: ARG001 - pydicom asks this of a module of plugins
    """True: a decoder is only made of what ``has_imagecodecs`` found."""
    return True


def has_imagecodecs(syntax: str) -> bool:
    """True where imagecodecs is installed and knows the transfer syntax."""
    return syntax in IMAGECODECS and importlib.util.find_spec("imagecodecs") is not None


def decode_imagecodecs(src: bytes, runner: Any) -> bytes:
    """The samples as they were coded, whatever colours they are: no colour is converted, but JPEG 2000's own."""
    return _decode(src, runner, IMAGECODECS[str(runner.transfer_syntax)])


def decode_grey(src: bytes, pixels: Mapping[str, Any], codec: str) -> NDArray[Any] | None:
    """The samples of an unsigned grey frame, which are its pixels; None where pydicom may have something to restore."""
    stream = read_codestream(src)
    unsigned_grey = pixels["samples_per_pixel"] == 1 and pixels["pixel_representation"] == 0
    allocated = pixels["bits_allocated"]
    if not unsigned_grey or stream is None or stream.precision > pixels["bits_stored"] or allocated not in (8, 16) \
            or (stream.precision > 8) != (allocated == 16):
        return None
    array = np.asarray(getattr(importlib.import_module("imagecodecs"), f"{codec}_decode")(src))
    return array if array.dtype == f"u{allocated // 8}" else None


def decode_jpegxl(src: bytes, runner: Any) -> bytes:
    """JPEG XL, whose transfer syntaxes pydicom does not know: the runner is told another one."""
    return _decode(src, runner, "jpegxl")


def _decode(src: bytes, runner: Any, codec: str) -> bytes:
    colour = runner.samples_per_pixel == 3
    options: dict[str, str] = {}
    if codec == "jpeg" and colour:
        lossy = runner.transfer_syntax in JPEG_COLOUR
        codec, options = ("jpeg", {"colorspace": "RGB", "outcolorspace": "RGB"}) if lossy else ("ljpeg", {})
    array = np.asarray(getattr(importlib.import_module("imagecodecs"), f"{codec}_decode")(src, **options))
    size = (runner.rows, runner.columns)
    planar = colour and array.shape == (3, *size)
    if array.shape != ((*size, 3) if colour else size) and not planar:
        raise ValueError(f"{array.shape} pixels were decoded, the header says {size}")
    if array.dtype.kind not in "iu":
        raise ValueError(f"pixels of the type {array.dtype} were decoded")
    stream = read_codestream(src)
    if stream is not None and stream.precision > array.dtype.itemsize * 8:
        raise ValueError(f"{array.dtype} pixels were decoded, the code stream has {stream.precision} bits")
    runner.set_option("bits_allocated", array.dtype.itemsize * 8)
    if colour:
        runner.set_option("planar_configuration", int(planar))
        _name_colours(src, codec, runner)
    return np.ascontiguousarray(array).tobytes()


def decode_pillow_colour(src: bytes, runner: Any) -> bytes:
    """Lossy JPEG in colour by Pillow, which converts to RGB where an Adobe marker tells the coded colours."""
    if runner.samples_per_pixel != 3:
        raise NotImplementedError("for colour only")
    image = Image.open(BytesIO(src), formats=("JPEG",))
    if "adobe_transform" in image.info:
        runner.set_option("photometric_interpretation", "RGB")
    else:
        image.draft("YCbCr", image.size)  # that is: as coded
    runner.set_option("bits_allocated", 8)
    runner.set_option("planar_configuration", 0)
    return image.tobytes()


def _name_colours(src: bytes, codec: str, runner: Any) -> None:
    """Tell pydicom the colours of the decoded samples where the code stream knows better than the header."""
    if codec in ("jpeg2k", "jpegxl"):
        if codec == "jpegxl" or runner.photometric_interpretation in ("YBR_ICT", "YBR_RCT"):
            runner.set_option("photometric_interpretation", "RGB")
        return
    stream = read_codestream(src)
    if stream is not None and stream.adobe is not None:
        runner.set_option("photometric_interpretation", "YBR_FULL" if stream.adobe else "RGB")
