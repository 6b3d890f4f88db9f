"""NIfTI-1 and NIfTI-2 headers (nifti.nimh.nih.gov, nifti1.h, nifti2.h): sizes, numbers, and where the voxels lie.

The sform is used where its code is above 0, else the qform. A form that is no placement (singular, not finite) gives
way to the other with a finding.
"""

from __future__ import annotations

import functools
import itertools
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seriatim.io.refused import RefusedFileError
from seriatim.io.volumes.grid import is_placement
from seriatim.series.findings import Code, Finding, find

HEADER_BYTES = 540
DATATYPES = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8",
             128: "rgb", 2304: "rgba"}
OTHER_DATATYPES = {1: "single bits", 32: "complex numbers", 1536: "128-bit floats", 1792: "complex numbers",
                   2048: "complex numbers"}
MM_PER_UNIT = {1: 1000.0, 3: 0.001}
SECONDS_PER_UNIT = {8: 1.0, 16: 1e-3, 24: 1e-6}
VECTOR_INTENTS = {*range(1004, 1011), 1001}
"""Matrices, displacements, vectors, point sets, triangles, quaternions and parameters: no images."""
CIFTI_INTENTS = range(3000, 3100)
MAX_VOXELS = 1 << 34
MAX_DISAGREEMENT_MM = 1.0
MAX_QUATERN = 1.001
QUATERN_NOISE = 3 * float(np.finfo(np.float32).eps)


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """A NIfTI header: stored size (columns, rows, slices, volumes), numbers, affine, and seconds per volume."""

    order: str
    size: tuple[int, int, int, int]
    datatype: int
    offset: int
    slope: float
    intercept: float
    affine: NDArray[np.float64] | None
    single_file: bool
    intent: int
    volume_step_s: float | None = None
    findings: tuple[Finding, ...] = ()

    @property
    def voxel_bytes(self) -> int:
        code = DATATYPES[self.datatype]
        return {"rgb": 3, "rgba": 4}.get(code) or int(code[1])

    @property
    def total_bytes(self) -> int:
        return self.offset + int(np.prod(self.size, dtype=object)) * self.voxel_bytes


def parse_header(raw: bytes) -> Header:
    """The header in the first ``HEADER_BYTES`` of a file.

    Raises:
        RefusedFileError: it is no NIfTI header, or one with impossible sizes.
    """
    for order in "<>":
        if len(raw) >= 348 and struct.unpack(f"{order}i", raw[:4])[0] == 348:
            if raw[344:347] in (b"n+1", b"ni1"):
                return _parse_first(raw, order)
            raise RefusedFileError(
                Code.UNSUPPORTED, "An Analyze 7.5 header does not tell left from right. Convert the original to NIfTI."
            )
        if len(raw) >= 540 and struct.unpack(f"{order}i", raw[:4])[0] == 540 and raw[4:7] in (b"n+2", b"ni2"):
            return _parse_second(raw, order)
    if len(raw) < 348:
        raise RefusedFileError(Code.TRUNCATED, f"truncated NIfTI header: {len(raw)} of 348 bytes. Copy it again.")
    raise RefusedFileError(Code.UNREADABLE, "not a NIfTI file, in spite of its name")


def _parse_first(raw: bytes, order: str) -> Header:
    unpack = functools.partial(_unpack, raw, order)
    return _make(
        order, dim=unpack("8h", 40), pixdim=unpack("8f", 76), scale=unpack("3f", 108),
        kinds=(unpack("h", 70)[0], unpack("h", 68)[0], raw[123], 352 if raw[344:347] == b"n+1" else 0),
        forms=(unpack("2h", 252), unpack("6f", 256), unpack("12f", 280)),
    )


def _parse_second(raw: bytes, order: str) -> Header:
    unpack = functools.partial(_unpack, raw, order)
    offset, (slope, intercept) = unpack("q", 168)[0], unpack("2d", 176)
    return _make(
        order, dim=unpack("8q", 16), pixdim=unpack("8d", 104), scale=(offset, slope, intercept),
        kinds=(unpack("h", 12)[0], unpack("i", 504)[0], unpack("i", 500)[0], 544 if raw[4:7] == b"n+2" else 0),
        forms=(unpack("2i", 344), unpack("6d", 352), unpack("12d", 400)),
    )


def _unpack(raw: bytes, order: str, layout: str, offset: int) -> tuple[Any, ...]:
    return struct.unpack_from(f"{order}{layout}", raw, offset)


def _make(order: str, *, dim: tuple[int, ...], pixdim: tuple[float, ...], scale: tuple[float, ...],
          kinds: tuple[int, int, int, int], forms: tuple[Any, ...]) -> Header:
    datatype, intent, units, first_voxel = kinds
    if not 1 <= dim[0] <= 7 or any(size < 1 for size in dim[1 : dim[0] + 1]):
        raise RefusedFileError(Code.BAD_VALUE, f"The header says {dim[0]} axes with the sizes {list(dim[1:])}.")
    if intent in CIFTI_INTENTS:
        message = "CIFTI holds values of brain places that are listed, no grid of voxels. Give the NIfTI volume."
        raise RefusedFileError(Code.UNSUPPORTED, message)
    size = (*dim[1 : dim[0] + 1], 1, 1, 1, 1)
    others = int(np.prod(dim[4 : dim[0] + 1], dtype=object)) if dim[0] > 3 else 1
    offset, slope, intercept = scale
    if not (np.isfinite(offset) and offset >= first_voxel and offset == int(offset)):
        message = f"The header says that voxels start at byte {offset:g}; they cannot start before {first_voxel}."
        raise RefusedFileError(Code.BAD_VALUE, message)
    mm_per_unit = MM_PER_UNIT.get(units & 7, 1.0)
    affine, findings = choose_affine(forms, pixdim, mm_per_unit, size[:3])
    if mm_per_unit != 1:
        message = f"xyzt_units says that lengths are in units of {mm_per_unit:g} mm: they are turned to mm."
        findings.append(Finding(code=Code.BAD_VALUE, message=message, action="keep"))
    return Header(order=order, size=(size[0], size[1], size[2], others), datatype=datatype, offset=int(offset),
                  slope=slope, intercept=intercept, affine=affine, single_file=first_voxel > 0, intent=intent,
                  volume_step_s=_volume_step(dim, pixdim, units),
                  findings=(*findings, *_check_numbers(datatype, slope, intercept)))


def _volume_step(dim: tuple[int, ...], pixdim: tuple[float, ...], units: int) -> float | None:
    """Seconds between volumes; None where the header gives no unit of time, or the fourth axis is not the last."""
    step = pixdim[4] * SECONDS_PER_UNIT.get(units & 0x38, 0.0) if dim[0] == 4 else 0.0
    return float(step) if np.isfinite(step) and step > 0 else None


def choose_affine(forms: tuple[Any, ...], pixdim: tuple[float, ...], mm_per_unit: float,
                  size: tuple[int, ...]) -> tuple[NDArray[np.float64] | None, list[Finding]]:
    """The sform where its code is above 0, else the qform, else None; and what is wrong with them."""
    (qcode, scode), quatern, rows = forms
    made: dict[str, NDArray[np.float64]] = {}
    if scode > 0:
        made["sform"] = np.vstack([np.array(rows, dtype=np.float64).reshape(3, 4), [0, 0, 0, 1]])
    if qcode > 0:
        made["qform"] = _from_quatern(quatern, pixdim)
    for form in made.values():
        form[:3] *= mm_per_unit
        _fill_single_slice(form, size[2])
    good = {name: form for name, form in made.items() if is_placement(form)}
    if not made:
        message = "Neither sform nor qform is set: the directions of the axes are unknown."
        return None, [find(Code.MISSING_GEOMETRY, message)]
    if not good:
        message = f"The {' and the '.join(made)} of the header place no voxels: singular, negative or not finite."
        return None, [find(Code.BAD_VALUE, message)]
    notes = []
    if broken := made.keys() - good.keys():
        notes.append(f"The {broken.pop()} of the header places no voxels; the {next(iter(good))} is used.")
    elif len(good) == 2 and (far := _distance(good["sform"], good["qform"], size)) > MAX_DISAGREEMENT_MM:
        notes.append(f"The sform is used; the qform places voxels up to {far:.3g} mm elsewhere.")
    findings = [Finding(code=Code.BAD_VALUE, message=note, action="keep") for note in notes]
    return next(iter(good.values())), findings


def _from_quatern(quatern: tuple[float, ...], pixdim: tuple[float, ...]) -> NDArray[np.float64]:
    """The qform (nifti1.h, method 2), not finite where it is none: no unit quaternion, or a voxel size below 0."""
    b, c, d = (float(value) for value in quatern[:3])
    square = b * b + c * c + d * d
    affine = np.eye(4)
    if not square <= MAX_QUATERN or min(pixdim[1:4]) < 0:
        return affine * np.nan
    if square > 1 - QUATERN_NOISE:  # a half turn: float32 tells no angle that is nearer to it
        a, (b, c, d) = 0.0, (value / np.sqrt(square) for value in (b, c, d))
    else:
        a = float(np.sqrt(1 - square))
    rotation = np.array([
        [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
        [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
        [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
    ])
    handedness = -1.0 if pixdim[0] < 0 else 1.0
    affine[:3, :3] = rotation * np.array([pixdim[1], pixdim[2], pixdim[3] * handedness])
    affine[:3, 3] = quatern[3:]
    return affine


def _fill_single_slice(affine: NDArray[np.float64], slices: int) -> None:
    """A picture has no distance of slices: a step of 0 becomes 1 mm along the normal."""
    normal = np.cross(affine[:3, 0], affine[:3, 1])
    if slices == 1 and not affine[:3, 2].any() and (length := float(np.linalg.norm(normal))) > 0:
        affine[:3, 2] = normal / length


def _distance(first: NDArray[np.float64], second: NDArray[np.float64], size: tuple[int, ...]) -> float:
    """The largest distance (mm) between the places that two affines give one corner."""
    corners = np.array([(*corner, 1) for corner in itertools.product(*((0, count - 1) for count in size[:3]))])
    return float(np.linalg.norm(corners @ (first - second).T, axis=1).max())


def _check_numbers(datatype: int, slope: float, intercept: float) -> Iterator[Finding]:
    if datatype not in DATATYPES:
        kind = OTHER_DATATYPES.get(datatype, "of an unknown type")
        yield find(Code.UNSUPPORTED, f"The voxels are {kind} (NIfTI data type {datatype}), not one number each.")
    if np.isinf(slope) or (np.isfinite(slope) and slope != 0 and not np.isfinite(intercept)):
        yield find(Code.BAD_VALUE, f"scl_slope is {slope:g} and scl_inter {intercept:g}.")

