"""The volume files of ITK, MetaImage and NRRD. Read here and not by ITK, which fills what is missing in silence."""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seriatim.io.archive.archive import stamp_of
from seriatim.io.content import digest_files
from seriatim.io.refused import find_or_refuse
from seriatim.io.source import open_file
from seriatim.io.values import as_whole
from seriatim.io.volumes.grid import Grid, series_of_grid, stored_place
from seriatim.io.volumes.metaimage import read_meta_header
from seriatim.io.volumes.nrrd import read_nrrd_header
from seriatim.io.volumes.stored import Stored, check_stored, count_held, read_stored
from seriatim.series.findings import Code, Finding, find
from seriatim.series.series import Format, Series, Volume

NRRD_START = b"NRRD000"


def find_itk(path: Path) -> list[Series]:
    """The volumes of a MetaImage or NRRD file, or its row with the reason.

    Raises:
        OSError: the file cannot be opened.
    """
    return find_or_refuse(path, _format_of(path), lambda path: series_of_grid(read_grid(path)))


def read_grid(path: Path) -> Grid:
    """What a MetaImage or NRRD file holds.

    Raises:
        RefusedFileError: the header is damaged, or says what is not read.
    """
    stored = read_header(path)
    columns, rows, slices, volumes = stored.size
    return Grid(path=path, format=_format_of(path), digest=digest_files(dict.fromkeys([path, stored.body])),
                columns=columns, rows=rows, slices=slices, volumes=volumes, affine=stored.affine,
                findings=(*stored.findings, *_check_length(stored)))


def read_itk(series: Series) -> Volume:
    """The pixels of one volume, in the order of its instances.

    Raises:
        InputError: the file changed since discovery.
        DecoderError: the file is truncated or damaged.
    """
    stored = read_header(series.path)
    volume, order = stored_place(series, stored.size)
    array = _read_volume(series.path, stored, volume)[order]
    native = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("="))
    return Volume(array=as_whole(native), affine=series.affine, positions=series.positions, series=series)


def read_header(path: Path) -> Stored:
    """What the header says, checked. Raises RefusedFileError where it is damaged or says what is not read."""
    stored = read_nrrd_header(path) if _format_of(path) == "nrrd" else read_meta_header(path)
    check_stored(stored)
    return stored


def _format_of(path: Path) -> Format:
    with open_file(path) as file:
        return "nrrd" if file.read(len(NRRD_START)) == NRRD_START else "metaimage"


def _check_length(stored: Stored) -> list[Finding]:
    held, needed = count_held(stored), stored.values * stored.dtype.itemsize
    if held < needed:
        return [find(Code.TRUNCATED, f"The file holds {held} of {needed} bytes of voxels. Copy it again.", held=held)]
    if held > needed and stored.start >= 0:
        message = "The file holds more voxels than its header says. Check its sizes."
        return [replace(find(Code.BAD_VALUE, message), action="keep")]
    return []


def _read_volume(path: Path, stored: Stored, volume: int) -> NDArray[Any]:
    """One volume (slices, rows, columns[, 3]); of a plain file with one volume after the other only its bytes."""
    volumes = stored.size[3]
    last = (*([] if stored.colour_axis is None else [stored.colour_axis]), *stored.space_axes)
    plain = stored.encoding == "raw" and last == tuple(range(len(last)))
    array: NDArray[Any]
    if volumes == 1:
        array = stored.arrange(read_stored(stored))[0]
    elif plain:
        count = stored.values // volumes
        one = replace(stored, sizes=stored.sizes[: len(last)])
        array = one.arrange(read_stored(stored, first=volume * count, count=count))[0]
    else:
        array = _read_all(path, *stamp_of(stored.body))[volume]
    return array


@functools.lru_cache(maxsize=1)
def _read_all(path: Path, modified_ns: int, size: int) -> NDArray[Any]:  # noqa: ARG001 - the cache key
    """All volumes of a file that can only be unpacked whole; they are read one after the other."""
    stored = read_header(path)
    return stored.arrange(read_stored(stored))
