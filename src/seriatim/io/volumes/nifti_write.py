"""Write a volume as NIfTI-1. The same input gives the same bytes."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seriatim.errors import OutputError
from seriatim.series.geometry import affine_normal, tilt_degrees

MM = 2
ALIGNED = 2
"""NIFTI_XFORM_ALIGNED_ANAT: coordinates in some frame, not those of a scanner (nifti1.h)."""
DESCRIPTION_BYTES = 79
LEAST_TILT = 0.01
"""Degrees: less is rounding."""


def write_nifti(path: Path, array: NDArray[Any], *, affine: NDArray[np.float64], description: str = "") -> None:
    """Write (S,H,W) as one ``.nii.gz``, put in place whole.

    Args:
        path: the file; its folder must exist.
        array: ``array[slice, row, column]``.
        affine: (4,4) from (column, row, slice) to RAS+ mm.
        description: what the header's ``descrip`` says, 79 bytes at most.

    Raises:
        OutputError: the file cannot be written.
    """
    content = encode_nifti(array, affine=affine, description=description)
    partial = path.with_name(path.name + ".partial")
    try:
        partial.write_bytes(content)
        partial.replace(path)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror}. Free space, or give another folder.") from error


def encode_nifti(array: NDArray[Any], *, affine: NDArray[np.float64], description: str = "") -> bytes:
    """The bytes of a ``.nii.gz``, as ``write_nifti`` writes them.

    The sform is the affine. Of tilted slices the qform, which knows no shear, has the step along the normal, as long as
    it is: so SimpleITK reads them from DICOM too, and from NIfTI by the qform.
    """
    import nibabel

    make: Any = nibabel.Nifti1Image  # nibabel is untyped here
    image = make(np.ascontiguousarray(array.transpose(2, 1, 0)), affine)
    image.header.set_xyzt_units(MM)
    image.header.set_sform(affine, ALIGNED)
    image.header.set_qform(_without_shear(affine), ALIGNED)
    image.header["descrip"] = description.encode("ascii", "replace")[:DESCRIPTION_BYTES]
    return gzip.compress(image.to_bytes(), 6, mtime=0)


def _without_shear(affine: NDArray[np.float64]) -> NDArray[np.float64]:
    if tilt_degrees(affine) < LEAST_TILT:
        return affine
    normal, step = affine_normal(affine), affine[:3, 2]
    plain = affine.copy()
    plain[:3, 2] = normal * np.copysign(np.linalg.norm(step), step @ normal)
    return plain
