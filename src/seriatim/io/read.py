"""read_volume: the pixels of a series. read: all usable series below a path."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from seriatim.errors import InputError, SeriatimError
from seriatim.io.discover import find_series
from seriatim.io.even_parts import split_even
from seriatim.io.isolation.limits import Limits, run
from seriatim.io.values import Allocate, OwnMemory
from seriatim.series.findings import Action, Code
from seriatim.series.series import Series, Volume


def read_volume(series: Series, *, limits: Limits | None = None) -> Volume:
    """Read the pixels of a usable series in real-world values, in slice order.

    Args:
        series: one that ``find_series`` found.
        limits: read in a worker process under these limits (``Limits()``), so that a decoder that crashes, hangs or
            eats memory ends as an error; None reads in this process. The pixels are the same.

    Returns:
        ``array`` (S,H,W), or (S,H,W,3) RGB, in-plane pixels as stored; ``affine`` index (column, row, slice) -> RAS+
        mm; ``positions`` (S,) mm along the slice normal, or seconds.

    Raises:
        InputError: the series was refused by discovery, or its files changed since.
        DecoderError: pixel data is damaged or truncated, or its decoder is not installed; or, with limits, the decoder
            died (DECODER_CRASH), took too long (TIMEOUT) or wanted too much memory (TOO_LARGE).
    """
    if not series.usable:
        raise InputError(f"Series {series.series_uid} is not usable. {series.reason}")
    return run(read_here, limits, series)


def read_here(series: Series, allocate: Allocate = OwnMemory, threads: int | None = None) -> Volume:
    """Read a usable series in this process. Raises as ``read_volume`` does.

    ``allocate`` makes the memory of the pixels; ``threads`` decode (None: see ``DecodePool``).
    """
    try:
        return _reader_of(series, allocate, threads)(series)
    except (SeriatimError, MemoryError):
        raise
    except Exception as error:
        raise InputError(f"{series.path} cannot be read ({type(error).__name__}). Copy or export it again.") from error


def _reader_of(series: Series, allocate: Allocate = OwnMemory,
               threads: int | None = None) -> Callable[[Series], Volume]:
    """The reader of a format, imported when it is needed."""
    if series.axis == "time" and series.format in ("nifti", "metaimage", "nrrd"):
        return _read_over_time
    if series.format == "dicom":
        from seriatim.io.dicom_pixels.read import read_dicom

        return partial(read_dicom, allocate=allocate, threads=threads)
    if series.format == "nifti":
        from seriatim.io.volumes.nifti import read_nifti

        return read_nifti
    if series.format in ("metaimage", "nrrd"):
        from seriatim.io.volumes.itk import read_itk

        return read_itk
    if series.format == "stack" or series.path.suffix.lower() == ".gif":
        from seriatim.io.pictures.pictures import read_pictures

        return partial(read_pictures, allocate=allocate)
    from seriatim.io.pictures.video import read_clip

    return read_clip


def _read_over_time(series: Series) -> Volume:
    """One slice of each volume of a volume file."""
    slices = [replace(series, axis="space", instances=(instance,)) for instance in series.instances]
    arrays = [_reader_of(one)(one).array for one in slices]
    array = np.concatenate([part.astype(np.float32) if part.dtype == np.float64 else part for part in arrays])
    return Volume(array=array.astype(np.float32) if array.dtype == np.float64 else array, affine=None,
                  positions=series.positions, series=series)


def read(path: Path | str, actions: Mapping[Code, Action] | None = None) -> list[Volume]:
    """Read every usable series below a folder, or in a file; every affine that is returned is exact.

    An unevenly spaced series comes as its evenly spaced parts. For the whole sequence use ``find_series`` and
    ``read_volume``, whose positions are true and whose affine holds the mean step. Everything is read at once, in this
    process; ``find_series`` and ``read_volume`` can use a worker process with limits.

    Args:
        path: a folder, searched to the bottom, a file, or a ZIP archive or a folder in one.
        actions: what to do about findings, where not the default: ``{Code.GAP: "keep"}``.

    Returns:
        The volumes ordered by path and UID: ``array`` (S,H,W), or (S,H,W,3) RGB, ``affine`` index (column, row, slice)
        -> RAS+ mm, None without geometry.

    Raises:
        InputError: none is usable; the message names the reasons.
        DecoderError: pixel data is damaged or truncated, or its decoder is not installed.
    """
    inventory = find_series(path, actions)
    usable = [series for series in inventory.series if series.usable]
    if not usable:
        reasons = [series.reason for series in inventory.series] or [skipped.reason for skipped in inventory.skipped]
        shown = "; ".join(dict.fromkeys(reasons)) or "no file was found"
        raise InputError(f"No usable series in {path}: {shown}")
    return [part for series in usable for part in split_even(read_volume(series))]
