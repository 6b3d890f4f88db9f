"""Write a volume as NIfTI-1. The same input gives the same bytes."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seriatim.errors import OutputError

MM = 2
ALIGNED = 2
"""NIFTI_XFORM_ALIGNED_ANAT: coordinates in some frame, not those of a scanner (nifti1.h)."""
DESCRIPTION_BYTES = 79


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
    import nibabel

    make: Any = nibabel.Nifti1Image  # nibabel is untyped here
    image = make(np.ascontiguousarray(array.transpose(2, 1, 0)), affine)
    image.header.set_xyzt_units(MM)
    image.header.set_sform(affine, ALIGNED)
    image.header.set_qform(affine, ALIGNED)
    image.header["descrip"] = description.encode("ascii", "replace")[:DESCRIPTION_BYTES]
    partial = path.with_name(path.name + ".partial")
    try:
        partial.write_bytes(gzip.compress(image.to_bytes(), 6, mtime=0))
        partial.replace(path)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror}. Free space, or give another folder.") from error
