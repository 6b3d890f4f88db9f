"""NIfTI-1 and NIfTI-2, one file or header and image pairs, plain or gzipped (nifti.nimh.nih.gov, nifti1.h)."""

from __future__ import annotations

import functools
import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seriatim.errors import DecoderError
from seriatim.io.archive.archive import stamp_of
from seriatim.io.content import digest_files
from seriatim.io.refused import RefusedFileError, find_or_refuse
from seriatim.io.source import check_whole, exists, open_file, read_bytes, size_of
from seriatim.io.values import as_whole
from seriatim.io.volumes.grid import Grid, series_of_grid, stored_place
from seriatim.io.volumes.gzipped import GZIP, GzipError, unpack
from seriatim.io.volumes.nifti_header import DATATYPES, HEADER_BYTES, MAX_VOXELS, VECTOR_INTENTS, Header, parse_header
from seriatim.series.findings import Code, Finding, find
from seriatim.series.series import Series, Volume

BROKEN = (OSError, EOFError, zlib.error, gzip.BadGzipFile)


def find_nifti(path: Path) -> list[Series]:
    """The volumes of a NIfTI file, or its row with the reason.

    Raises:
        OSError: the file cannot be opened.
    """
    return find_or_refuse(path, "nifti", lambda path: series_of_grid(read_grid(path)))


def read_grid(path: Path) -> Grid:
    """What a NIfTI file holds.

    Raises:
        RefusedFileError: it is no NIfTI file, its header is damaged, or the file of its voxels is missing.
    """
    header = read_header(path)
    body = body_of(path, header)
    findings = [*header.findings, *_check(body, header)]
    columns, rows, slices, volumes = header.size
    digest = digest_files(dict.fromkeys([path, body]))
    return Grid(path=path, format="nifti", digest=digest, columns=columns, rows=rows, slices=slices,
                volumes=volumes, affine=header.affine, findings=tuple(findings))


def read_nifti(series: Series) -> Volume:
    """The pixels of one volume, in the order of its instances.

    Raises:
        InputError: the file changed since discovery.
        DecoderError: the file is truncated or damaged.
    """
    header = read_header(series.path)
    volume, order = stored_place(series, header.size)
    try:
        stored = _read_voxels(body_of(series.path, header), header, volume)
    except OSError as error:
        raise DecoderError(f"{series.path} cannot be read: {error}. Copy it again.") from error
    if order != list(range(len(stored))):
        stored = stored[order]
    return Volume(array=_to_real_world(stored, header), affine=series.affine, positions=series.positions, series=series)


def read_header(path: Path) -> Header:
    """Parse the header. Raises RefusedFileError where it is none."""
    try:
        with _open(path) as file:
            return parse_header(file.read(HEADER_BYTES))
    except BROKEN as error:
        raise RefusedFileError(Code.TRUNCATED, f"{path.name} cannot be unpacked: {error}. Copy it again.") from error


def is_packed(path: Path) -> bool:
    """Whether the voxels are gzipped. Raises as ``body_of``, and OSError where the file cannot be opened."""
    with open_file(body_of(path, read_header(path))) as file:
        return file.read(2) == GZIP


def body_of(path: Path, header: Header) -> Path:
    """The file that holds the voxels: the file itself, or the .img beside a .hdr.

    Raises:
        RefusedFileError: there is no such file.
    """
    if header.single_file:
        return path
    stem = path.name[: path.name.lower().rindex(".hdr")] if ".hdr" in path.name.lower() else path.name.split(".")[0]
    for ending in (".img", ".img.gz", ".IMG", ".IMG.GZ"):
        if exists(body := path.with_name(stem + ending)):
            return body
    raise RefusedFileError(Code.TRUNCATED, f"{path.name} is the header of {stem}.img, which is missing. Put it beside.")


def _check(body: Path, header: Header) -> list[Finding]:
    if any(finding.action == "refuse" and finding.code != Code.MISSING_GEOMETRY for finding in header.findings):
        return []
    if int(np.prod(header.size, dtype=object)) > MAX_VOXELS:
        return [find(Code.TOO_LARGE, f"{header.size} voxels do not fit memory.")]
    findings = []
    if header.intent in VECTOR_INTENTS and header.size[3] > 1:
        findings.append(find(Code.UNSUPPORTED, "The file holds vectors or parameters, not an image."))
    held = _held_bytes(body, header.total_bytes)
    if held < header.total_bytes:
        message = f"The file holds {held} of {header.total_bytes} bytes. Copy it again."
        findings.append(find(Code.TRUNCATED, message, held=held))
    elif held > 2 * header.total_bytes:
        message = f"The file holds more than twice the {header.total_bytes} bytes of its header. Check its sizes."
        findings.append(find(Code.BAD_VALUE, message, held=held))
    elif held > header.total_bytes:
        message = f"The file holds {held - header.total_bytes} bytes more than its header says. Check its sizes."
        findings.append(replace(find(Code.BAD_VALUE, message, held=held), action="keep"))
    return findings


def _held_bytes(body: Path, needed: int) -> int:
    """The bytes a file holds when unpacked; a whole gzip file tells them in its last four bytes."""
    with open_file(body) as file:
        zipped = file.read(2) == GZIP
        if not zipped:
            return size_of(file)
        file.seek(-4, 2)
        if int.from_bytes(file.read(4), "little") == needed % (1 << 32):
            return needed
    held = 0
    try:
        with _open(body) as stream:
            while held <= 2 * needed and (part := stream.read(1 << 22)):
                held += len(part)
    except BROKEN:
        return min(held, needed - 1)
    return held


@contextmanager
def _open(path: Path) -> Iterator[Any]:
    with open_file(path) as file:
        zipped = file.read(2) == GZIP
        file.seek(0)
        yield gzip.GzipFile(fileobj=file) if zipped else file


def _read_voxels(body: Path, header: Header, volume: int) -> NDArray[Any]:
    """(S,H,W) or (S,H,W,3) stored values of one volume, which nobody else holds."""
    columns, rows, slices, volumes = header.size
    count = columns * rows * slices * header.voxel_bytes
    start = header.offset + volume * count
    with open_file(body) as file:
        zipped = file.read(2) == GZIP
        if not zipped:
            raw = np.empty(count, np.uint8)
            file.seek(start)
            held = file.readinto(raw.data)
            check_whole(file)
            if held < count:
                raise DecoderError(f"{body} is truncated: {held} of {count} bytes of a volume. Copy it again.")
            return _shape(raw, header)
    if volumes == 1:
        return _shape(_unzip(body, header.total_bytes)[start:], header)
    content = _unzip_once(body, header.total_bytes, *stamp_of(body))
    return _shape(content[start : start + count].copy(), header)


def _unzip(body: Path, size: int) -> NDArray[np.uint8]:
    try:
        return unpack(read_bytes(body), size)
    except GzipError as error:
        raise DecoderError(f"{body} is truncated or damaged: {error}. Copy it again.") from error


@functools.lru_cache(maxsize=1)
def _unzip_once(body: Path, size: int, modified_ns: int, packed: int) -> NDArray[np.uint8]:  # noqa: ARG001 - the key
    """The whole content of a gzipped file with several volumes, which are read one after the other."""
    return _unzip(body, size)


def _shape(raw: NDArray[np.uint8], header: Header) -> NDArray[Any]:
    columns, rows, slices, _ = header.size
    code = DATATYPES[header.datatype]
    if code.startswith("rgb"):
        return raw.reshape(slices, rows, columns, len(code))[..., :3]
    return raw.view(f"{header.order}{code}").reshape(slices, rows, columns)


def _to_real_world(stored: NDArray[Any], header: Header) -> NDArray[Any]:
    """``stored * slope + intercept``; a slope of 0 or NaN means stored values (nifti1.h)."""
    slope, intercept = header.slope, header.intercept
    plain = stored.ndim == 4 or not np.isfinite(slope) or slope == 0 or (slope == 1 and intercept == 0)
    if not plain:
        stored = stored * np.float64(slope) + np.float64(intercept)
    native = np.ascontiguousarray(stored, dtype=stored.dtype.newbyteorder("="))
    return as_whole(native)
