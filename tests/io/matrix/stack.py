"""Stacks of slices with known values and places, to be written plainly or spoilt."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import config
from pydicom.dataset import Dataset

from .case import Case, Draw, TrueSlice, TrueVolume, order
from .encode import BIG, EXPLICIT, encode

config.settings.writing_validation_mode = config.IGNORE
config.settings.reading_validation_mode = config.IGNORE
CT, MR, PT = (f"1.2.840.10008.5.1.4.1.1.{kind}" for kind in ("2", "4", "128"))
CLASSES = {"CT": CT, "MR": MR, "PT": PT}
PLANES: dict[str, tuple[float, ...]] = {
    "axial": (1, 0, 0, 0, 1, 0), "coronal": (1, 0, 0, 0, 0, -1), "sagittal": (0, 1, 0, 0, 0, -1),
}
_serial = count(1)


@dataclass
class One:
    """A slice: its header, its stored values, and what else is told to the encoder."""

    header: Dataset
    stored: NDArray[Any]
    origin: NDArray[np.float64]
    axes: NDArray[np.float64]
    spacing: tuple[float, float]
    slope: float = 1.0
    intercept: float = 0.0
    encoding: dict[str, Any] = field(default_factory=dict)

    def truth(self) -> TrueSlice:
        return TrueSlice(pixels=self.stored.astype(np.float64) * self.slope + self.intercept, origin=self.origin,
                         per_column=self.axes[0] * self.spacing[1], per_row=self.axes[1] * self.spacing[0])

    def content(self) -> bytes:
        stored = self.stored
        if self.encoding.get("syntax") == BIG:
            stored = stored.astype(stored.dtype.newbyteorder(">"))
        options = dict(self.encoding)
        pixels = options.pop("pixels", stored.tobytes())
        return encode(self.header, pixels, **options)


def write_number(value: float) -> str:
    """A decimal string of at most 16 characters (PS3.5 6.2)."""
    return f"{value:.9g}" if abs(value) > 1e-12 else "0"


def rotation(random: Draw) -> NDArray[np.float64]:
    matrix, _ = np.linalg.qr(random.normal(size=(3, 3)))
    return np.asarray(matrix if np.linalg.det(matrix) > 0 else -matrix)


def any_axes(random: Draw, variant: int) -> tuple[float, ...]:
    """Axial first, then the other planes, then double oblique."""
    names = list(PLANES)
    return PLANES[names[variant]] if variant < len(names) else tuple(rotation(random)[:2].ravel())


def make(random: Draw, number: int = 6, *, size: tuple[int, int] = (8, 7), axes: Iterable[float] = PLANES["axial"],
         places: Iterable[float] | None = None, step: float = 2.5, tilt: float = 0.0,
         spacing: tuple[float, float] = (0.7, 0.9), origin: Iterable[float] = (-31.5, -42.25, 17.0),
         modality: str = "CT", dtype: str = "<u2", slope: float = 1.0, intercept: float | None = None,
         series: str = "1.2.826.7.1", start: int = 1, **values: Any) -> list[One]:
    """A stack along its normal, ``tilt`` degrees sheared towards its rows. ``values`` are attributes of all slices."""
    rows = np.asarray(tuple(axes), dtype=float).reshape(2, 3)
    normal = np.cross(*rows) + np.tan(np.radians(tilt)) * rows[1]
    places = np.arange(number) * step if places is None else np.asarray(tuple(places), dtype=float)
    info = np.iinfo(dtype)
    low, high = (max(info.min, -1000), min(info.max, 3000))
    intercept = (-1024.0 if modality == "CT" else 0.0) if intercept is None else intercept
    made = []
    for index, place in enumerate(places):
        where = np.asarray(tuple(origin)) + place * normal
        stored = random.integers(low, high, size, endpoint=True).astype(dtype)
        one = One(Dataset(), stored, where, rows, spacing, slope, intercept)
        _fill(one, modality=modality, series=series, number=start + index)
        for keyword, value in values.items():
            setattr(one.header, keyword, value)
        made.append(one)
    return made


def _fill(one: One, *, modality: str, series: str, number: int) -> None:
    header, bits = one.header, one.stored.dtype.itemsize * 8
    header.SOPClassUID, header.SOPInstanceUID = CLASSES[modality], f"1.2.826.8.{next(_serial)}"
    header.StudyInstanceUID, header.SeriesInstanceUID, header.FrameOfReferenceUID = "1.2.826.6", series, "1.2.826.5"
    header.Modality, header.PatientID, header.PatientName = modality, "Q1", "Q^Q"
    header.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"] if modality == "CT" else ["ORIGINAL", "PRIMARY", "M", "ND"]
    header.InstanceNumber = str(number)
    place(one)
    header.PixelSpacing = [write_number(value) for value in one.spacing]
    header.SliceThickness = "2.5"
    header.Rows, header.Columns = one.stored.shape
    header.SamplesPerPixel, header.PhotometricInterpretation = 1, "MONOCHROME2"
    header.BitsAllocated = header.BitsStored = bits
    header.HighBit, header.PixelRepresentation = bits - 1, int(one.stored.dtype.kind == "i")
    header.RescaleSlope, header.RescaleIntercept = write_number(one.slope), write_number(one.intercept)


def place(one: One) -> None:
    """Write the slice's true place into its header."""
    one.header.ImagePositionPatient = [write_number(value) for value in one.origin]
    one.header.ImageOrientationPatient = [write_number(value) for value in one.axes.ravel()]


def set_rescale(one: One, slope: float, intercept: float) -> None:
    one.slope, one.intercept = slope, intercept
    one.header.RescaleSlope, one.header.RescaleIntercept = write_number(slope), write_number(intercept)


def volume(stack: Iterable[One]) -> TrueVolume:
    return TrueVolume(slices=order([one.truth() for one in stack]))


def files_of(stack: Iterable[One], random: Draw | None = None, pattern: str = "IM{:04}.dcm") -> dict[str, bytes]:
    """A file per slice; with ``random`` the names say nothing about the order."""
    contents = [one.content() for one in stack]
    numbers = list(range(len(contents)))
    if random is not None:
        random.shuffle(numbers)
    return {pattern.format(number): content for number, content in zip(numbers, contents, strict=True)}


def clean_case(stacks: Iterable[list[One]], random: Draw, **options: Any) -> Case:
    """A case whose stacks must all load, in one folder with shuffled names."""
    stacks = list(stacks)
    every = [one for stack in stacks for one in stack]
    return Case(files=files_of(every, random), required=tuple(volume(stack) for stack in stacks), **options)


def change(stack: Iterable[One], edit: Callable[[One], None]) -> list[One]:
    """Each slice edited."""
    stack = list(stack)
    for one in stack:
        edit(one)
    return stack


def with_header(stack: list[One], keyword: str, values: Iterable[Any]) -> list[One]:
    """One value of an attribute per slice."""
    for one, value in zip(stack, values, strict=True):
        setattr(one.header, keyword, value)
    return stack


__all__ = ["BIG", "EXPLICIT", "PLANES", "One", "any_axes", "change", "clean_case", "files_of", "make", "place",
           "rotation", "set_rescale", "volume", "with_header", "write_number"]
