"""Siemens mosaics: the slices of one volume as tiles of one picture, placed by the CSA header.

The tiles stand row by row in a square of ceil(sqrt(count)) tiles a side. ImagePositionPatient is that of the corner of
the whole picture, as if it were one slice about the same centre; slices follow each other along the SliceNormalVector
of the CSA header. Source: nibabel's documentation, "Siemens mosaic format".
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seriatim.io.dicom.plane import Plane
from seriatim.io.dicom.values import BadValueError, get_integer, get_number, get_text
from seriatim.series.findings import Code, find

MAX_CSA_BYTES = 1 << 20
MIN_COSINE = 0.999
BLOCKS = (0x10, 0x11, 0x12)
"""Where a private creator may stand among the attributes that are read."""
MOSAIC_TAGS = tuple(
    tag for block in BLOCKS for tag in (0x00190000 + block, 0x00190000 + (block << 8) + 0x0A,
                                        0x00290000 + block, 0x00290000 + (block << 8) + 0x10)
)
"""The private attributes that this module needs, with their creators."""


class NoMosaicGeometryError(Exception):
    """What tells where the slices of a mosaic lie is missing; the message says what."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mosaic:
    """``count`` tiles of ``rows`` x ``columns`` pixels, ``side`` of them in a row."""

    count: int
    side: int
    rows: int
    columns: int

    def cut(self, picture: NDArray[Any], index: int) -> NDArray[Any]:
        """(rows, columns) the tile of slice ``index``."""
        row, column = divmod(index, self.side)
        return picture[row * self.rows : (row + 1) * self.rows, column * self.columns : (column + 1) * self.columns]


def find_mosaic(dataset: Any) -> Mosaic | None:
    """How the picture is cut; None where it is no mosaic.

    Raises:
        NoMosaicGeometryError: it is a mosaic, and how many slices it holds is not known.
    """
    count = _private_integer(dataset)
    if count is None and not is_called_mosaic(dataset):
        return None
    if count is None:
        numbers = _csa(dataset).get("NumberOfImagesInMosaic", [])
        count = int(numbers[0]) if numbers else 0
    if count == 1 and not is_called_mosaic(dataset):
        return None
    side = math.ceil(math.sqrt(max(count, 0)))
    rows, columns = get_integer(dataset, "Rows", 0), get_integer(dataset, "Columns", 0)
    if side < 1 or rows % side or columns % side or not rows or not columns:
        raise NoMosaicGeometryError("NumberOfImagesInMosaic is missing or does not fit the picture")
    return Mosaic(count=count, side=side, rows=rows // side, columns=columns // side)


def is_called_mosaic(dataset: Any) -> bool:
    """True where ImageType says mosaic: Siemens's word, or the ``VFRAME`` grids of United Imaging."""
    words = get_text(dataset, "ImageType").upper().replace("_", "\\").split("\\")
    return "MOSAIC" in words or "VFRAME" in words


def place_mosaic(plane: Plane, dataset: Any) -> list[Plane] | None:
    """One plane per tile, ``Plane.frame`` its number; None where the file is no mosaic.

    A mosaic whose slices cannot be placed is one plane with the finding UNSUPPORTED, never one slice.
    """
    try:
        mosaic = find_mosaic(dataset)
        return None if mosaic is None else _place(plane, dataset, mosaic)
    except (NoMosaicGeometryError, BadValueError) as error:
        message = (f"A mosaic holds many slices in one picture, and where they lie is not known: {error}. Export it "
                   "again, unpacked or with its private attributes.")
        return [replace(plane, frame=0, findings=(*plane.findings, find(Code.UNSUPPORTED, message)))]


def _place(plane: Plane, dataset: Any, mosaic: Mosaic) -> list[Plane]:
    if plane.position is None or plane.orientation is None or plane.spacing_mm is None:
        raise NoMosaicGeometryError("position, orientation or pixel spacing is missing")
    between = get_number(dataset, "SpacingBetweenSlices") or 0.0
    if between <= 0 and mosaic.count > 1:
        raise NoMosaicGeometryError("SpacingBetweenSlices is missing")
    normal = _normal(dataset, plane.orientation)
    axes = np.asarray(plane.orientation).reshape(2, 3)
    between_rows, between_columns = plane.spacing_mm
    first = np.asarray(plane.position) + (plane.columns - mosaic.columns) / 2 * between_columns * axes[0]
    first = first + (plane.rows - mosaic.rows) / 2 * between_rows * axes[1]
    return [
        replace(plane, frame=index, rows=mosaic.rows, columns=mosaic.columns,
                position=tuple(float(part) for part in first + index * between * normal))
        for index in range(mosaic.count)
    ]


def _normal(dataset: Any, orientation: tuple[float, ...]) -> NDArray[np.float64]:
    """The unit vector from slice to slice: normal to the slices, in the direction the CSA header says."""
    axes = np.asarray(orientation).reshape(2, 3)
    normal = np.cross(axes[0], axes[1])
    normal /= np.linalg.norm(normal)
    stated = np.asarray(_csa(dataset).get("SliceNormalVector", []), dtype=np.float64)
    if stated.shape != (3,) or not np.isfinite(stated).all() or not stated.any():
        raise NoMosaicGeometryError("SliceNormalVector (CSA header) is missing")
    cosine = float(stated @ normal / np.linalg.norm(stated))
    if abs(cosine) < MIN_COSINE:
        raise NoMosaicGeometryError("SliceNormalVector is not normal to the slices")
    return np.asarray(normal * np.sign(cosine))


def _csa(dataset: Any) -> dict[str, list[Any]]:
    """The values of the CSA image header; empty where there is none or it is damaged."""
    value = _private(dataset, 0x0029, "SIEMENS CSA HEADER", 0x10)
    if not isinstance(value, bytes) or len(value) > MAX_CSA_BYTES:
        return {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # nibabel calls its DICOM readers experimental
        from nibabel.nicom import csareader

    try:
        tags = csareader.read(value)["tags"]  # type: ignore[no-untyped-call]
        return {name: list(tag["items"]) for name, tag in tags.items()}
    except Exception:  # noqa: BLE001 - a damaged header: nibabel raises many kinds
        return {}


def _private_integer(dataset: Any) -> int | None:
    value = _private(dataset, 0x0019, "SIEMENS MR HEADER", 0x0A)
    if isinstance(value, bytes) and len(value) == 2:  # without its type: implicit, or copied by other software
        return int.from_bytes(value, "little")
    return int(value) if isinstance(value, int) else None


def _private(dataset: Any, group: int, creator: str, element: int) -> Any:
    for block in BLOCKS:
        tag = (group << 16) + (block << 8) + element
        if tag in dataset and get_text(dataset, (group << 16) + block) == creator:
            return dataset[tag].value
    return None
