"""Series, volumes and inventories: what a study is. No files are opened here and no torch is imported."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from seriatim.series.findings import Code, Finding

Axis = Literal["space", "time"]
SequenceKind = Literal["volumes", "frames"]
"""What a 4D series becomes: a sequence of slices for each time, or a sequence of times for each slice."""
Format = Literal["dicom", "nifti", "metaimage", "nrrd", "stack", "video"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """One slice or frame.

    ``path`` is the file that holds it, ``frame`` its 0-based index in a multi-frame file (None for a single-frame
    file), ``position`` mm along the slice normal, or seconds where the axis is time.
    """

    path: Path
    sop_instance_uid: str
    frame: int | None
    position: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """An ordered sequence of slices or frames: the unit of scoring.

    ``affine`` is float64 (4,4) from index (column, row, slice) to world in RAS+ mm, None where the axis is time or the
    files hold no geometry. ``spacing_mm`` is (column, row, slice), from positions, never from SliceThickness.
    ``volume`` names what tells this volume from others of the same SeriesInstanceUID ("" where it is the only one).
    ``body_parts`` are the regions its files say they show (head, chest, ...), empty where they tell none that is known.
    ``path`` is the folder or file the series was found in. A series with a refusing finding is kept in the inventory
    as a row with its reason, and is not ``usable``; a file that cannot be read at all is such a row without slices
    (``rows`` and ``columns`` 0).
    """

    study_uid: str
    series_uid: str
    modality: str
    axis: Axis
    format: Format
    path: Path
    instances: tuple[Instance, ...]
    rows: int
    columns: int
    affine: NDArray[np.float64] | None = None
    spacing_mm: tuple[float, float, float] | None = None
    volume: str = ""
    body_parts: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()

    def __post_init__(self) -> None:
        if not self.usable:
            return
        if not self.instances:
            raise ValueError(f"Series {self.series_uid} has no slices.")
        if not (np.diff(self.positions) > 0).all():
            raise ValueError(f"Series {self.series_uid}: slice positions must strictly ascend.")
        if self.affine is not None and not (self.affine.shape == (4, 4) and np.isfinite(self.affine).all()):
            raise ValueError(f"Series {self.series_uid}: the affine must be a finite (4, 4) matrix.")

    @property
    def reason(self) -> str:
        """Why the series is not usable: its first refusing finding; "" when it is usable."""
        return next((str(finding) for finding in self.findings if finding.action == "refuse"), "")

    @property
    def usable(self) -> bool:
        return not any(finding.action == "refuse" for finding in self.findings)

    @property
    def files(self) -> set[Path]:
        """The files of its slices, and the folder or file it was found in."""
        return {self.path, *(instance.path for instance in self.instances)}

    @property
    def positions(self) -> NDArray[np.float64]:
        """(S,) mm along the slice normal, or seconds."""
        return np.array([instance.position for instance in self.instances], dtype=np.float64)

    @property
    def duration_s(self) -> float:
        """How long a clip lasts, its last frame included; 0 for slices, and for frames whose times are not known."""
        positions = self.positions
        untimed = self.format == "stack" or any(one.code is Code.MISSING_GEOMETRY for one in self.findings)
        if self.axis != "time" or untimed or len(positions) < 2:
            return 0.0
        return float((positions[-1] - positions[0]) * len(positions) / (len(positions) - 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """A file that is part of no series, and why."""

    path: Path
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """Everything found below a path: each file is in exactly one series or among the skipped."""

    root: Path
    series: Sequence[Series]
    skipped: Sequence[Skipped] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    """The pixels of a series in real-world values (HU for CT), in the order of its instances.

    ``array`` is (S,H,W), or (S,H,W,3) for colour: integer where every value is whole, float32 otherwise.
    ``affine`` is float64 (4,4) from (column, row, slice) to RAS+ mm, or None where the files hold no geometry.
    ``positions`` is (S,), mm along the slice normal or seconds. ``inverted`` is True for MONOCHROME1, whose stored
    polarity is kept here and turned for display and for the network. ``padding`` is (S,2): the lowest and highest value
    (real-world, like the array) of pixels outside the image in each slice, NaN for a slice without such, None where no
    file names any. They are left in the array; ``find_padding`` tells where.
    """

    array: NDArray[np.generic]
    affine: NDArray[np.float64] | None
    positions: NDArray[np.float64]
    series: Series
    inverted: bool = False
    padding: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        if self.array.ndim not in (3, 4) or (self.array.ndim == 4 and self.array.shape[3] != 3):
            raise ValueError(f"A volume is (S,H,W) or (S,H,W,3), not {self.array.shape}.")
        if len(self.positions) != len(self.array):
            raise ValueError(f"{len(self.array)} slices but {len(self.positions)} positions.")
        if self.padding is not None and self.padding.shape != (len(self.array), 2):
            raise ValueError(f"{len(self.array)} slices but padding of the shape {self.padding.shape}.")

    def find_padding(self, part: slice = slice(None)) -> NDArray[np.bool_] | None:
        """(S,H,W), True where a pixel of these slices is outside the image; None where the files name no padding."""
        if self.padding is None or self.array.ndim != 3:
            return None
        array = self.array[part]
        low, high = self.padding[part].astype(np.result_type(array.dtype, np.float32)).T[:, :, None, None]
        return np.asarray((array >= low) & (array <= high))
