"""16-bit grey slices, brought straight into their place: no copy and no wider numbers on the way.

Everything else, and every slice that does not fit into int16, goes the general way (dicom_pixels).
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from seriatim.io.dicom.values import get_integer, get_text
from seriatim.io.dicom_pixels.rescale import Rescale

GREY = ("MONOCHROME1", "MONOCHROME2")


@dataclass(frozen=True, slots=True, kw_only=True)
class PlainLayout:
    """How 16-bit pixels lie in a file: (rows, columns) of each frame, and the stored bits."""

    shape: tuple[int, int]
    bits_stored: int
    signed: bool

    @property
    def frame_bytes(self) -> int:
        return 2 * self.shape[0] * self.shape[1]

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(np.int16 if self.signed else np.uint16)


def find_layout(dataset: Any) -> PlainLayout | None:
    """The layout of plain pixels, None where a header asks for anything more than reading and rescaling them."""
    stored = get_integer(dataset, "BitsStored", 16)
    plain = (
        sys.byteorder == "little" and get_integer(dataset, "SamplesPerPixel", 1) == 1
        and get_integer(dataset, "BitsAllocated", 16) == 16
        and 0 < stored <= 16 and get_integer(dataset, "HighBit", stored - 1) == stored - 1
        and get_text(dataset, "PhotometricInterpretation") in GREY
        and (get_text(dataset, "Modality") == "RTDOSE" or "ModalityLUTSequence" not in dataset)
    )
    if not plain:
        return None
    shape = (get_integer(dataset, "Rows", 0), get_integer(dataset, "Columns", 0))
    return PlainLayout(shape=shape, bits_stored=stored, signed=get_integer(dataset, "PixelRepresentation", 0) == 1)


def read_plain(file: BinaryIO, layout: PlainLayout, place: NDArray[np.int16]) -> bool:
    """Fill a slice with the stored 16 bits at the file's place; False where the file ends before."""
    return file.readinto(place.data.cast("B")) == layout.frame_bytes  # type: ignore[attr-defined,no-any-return]


def rescale_in_place(place: NDArray[np.int16], layout: PlainLayout, rescale: Rescale) -> bool:
    """Turn stored bits into real-world values; False, and nothing changed, where int16 does not provably hold them."""
    if rescale.table or rescale.slope != 1 or not rescale.intercept.is_integer():
        return False
    stored = place.view(layout.dtype)
    low, high = int(stored.min()), int(stored.max())
    lowest, highest = (-(1 << layout.bits_stored - 1), (1 << layout.bits_stored - 1) - 1) if layout.signed \
        else (0, (1 << layout.bits_stored) - 1)
    limits, intercept = np.iinfo(np.int16), int(rescale.intercept)
    if low < lowest or high > highest or low + intercept < limits.min or high + intercept > limits.max:
        return False
    if intercept:
        bits = place.view(np.uint16)
        np.add(bits, np.uint16(intercept % (1 << 16)), out=bits)  # modulo 2^16, so exact where the result fits
    return True
