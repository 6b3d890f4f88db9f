"""What one opened picture is: its size as it is shown, its kind of numbers, and why it cannot be read as it is."""

from __future__ import annotations

import re
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from seriatim.io.source import size_of

ORIENTATION_TAG, DESCRIPTION_TAG = 0x0112, 270
TURNING = ("JPEG", "MPO", "PNG", "WEBP")
"""Formats whose orientation is in EXIF and is not applied when they are decoded, as that of TIFF is."""
GREY_16 = ("I;16", "I;16B", "I;16L", "I;16N", "I", "F")
GREY_8 = ("1", "L", "LA", "La")
COLOUR = ("P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr")
LOSSY_FORMATS = ("JPEG", "MPO", "WEBP", "JPEG2000")
DIMENSIONS = re.compile(r'\b(?:channels|slices|frames|images)=(\d+)|\bSize([CZT])="(\d+)"')


def shown_size(image: Image.Image) -> tuple[int, int]:
    """(columns, rows) once the picture is turned as EXIF says."""
    return (image.height, image.width) if _orientation(image) >= 5 else image.size


def kind_of(image: Image.Image) -> str:
    """The numbers of a picture: only pictures of one kind are comparable. Grey and colour of 8 bits are."""
    return image.mode if image.mode in GREY_16 and image.mode in ("I", "F") else (
        "16 bit" if image.mode in GREY_16 else "8 bit")


def longer_than_told(file: BinaryIO) -> bool:
    """Whether a BMP or WebP file is longer than its header says (0 says nothing)."""
    file.seek(0)
    head = file.read(8)
    told = int.from_bytes(head[2:6], "little") if head.startswith(b"BM") else int.from_bytes(head[4:8], "little") + 8
    return 0 < told < size_of(file)


def refuse_picture(image: Image.Image) -> str:
    """Why a picture cannot be read with the values it holds; "" where it can."""
    if image.mode not in (*GREY_8, *GREY_16, *COLOUR):
        return f"a picture of mode {image.mode}, which is neither grey nor colours"
    tiles = getattr(image, "tile", None) or [("", None, 0, "")]
    if ";16" in str(tiles[0][3]) and image.mode not in GREY_16:
        return "colours of 16 bits, of which half would be lost"
    if str(tiles[0][0]).startswith("ppm"):
        return "a PGM or PPM picture in text or with a largest value other than 255 and 65535"
    if image.format in ("PNG", "WEBP") and getattr(image, "is_animated", False):
        return "an animated picture: save it as GIF or video"
    return ""


def refuse_pages(image: Image.Image, count: int) -> str:
    """Why the pages of an ImageJ or OME file are no single sequence; "" where they are."""
    tags = getattr(image, "tag_v2", None)
    text = str(tags.get(DESCRIPTION_TAG, "")) if tags is not None else ""
    if not text.startswith("ImageJ") and "<OME" not in text:
        return ""
    found = [int(plain or ome) for plain, _, ome in DIMENSIONS.findall(text) if int(plain or ome) > 1]
    images = re.search(r"\bimages=(\d+)", text)
    several = len(found) - bool(images and int(images[1]) > 1)
    if several > 1:
        return "The pages count channels, slices or times at once. Save each as a file of its own."
    if images and int(images[1]) != count:
        return f"The file says that it holds {images[1]} pictures, and {count} pages are found."
    return ""


def pixels_of(image: Image.Image) -> NDArray[Any]:
    """Grey values as stored (black and white as 0 and 255), or (H,W,3) without alpha; turned as EXIF says."""
    if _orientation(image) > 1:
        image = ImageOps.exif_transpose(image)
    if image.mode in GREY_16 or image.mode == "L":
        return np.asarray(image)
    return np.asarray(image.convert("L" if image.mode in GREY_8 else "RGB"))


def _orientation(image: Image.Image) -> int:
    value = image.getexif().get(ORIENTATION_TAG, 1) if image.format in TURNING else 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1
