"""NIfTI-1 and NIfTI-2, one file or header and image pairs, plain or gzipped (nifti.nimh.nih.gov, nifti1.h)."""

from __future__ import annotations

import functools
import gzip
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seriatim.errors import DecoderError, InputError
from seriatim.io.content import digest_files
from seriatim.io.grid import Grid
from seriatim.io.source import open_file, read_bytes
from seriatim.io.values import as_whole
from seriatim.series.findings import Code, Finding, find
from seriatim.series.series import Series, Volume

DATATYPES = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8",
             128: "rgb", 2304: "rgba"}
MM_PER_UNIT = {1: 1000.0, 3: 0.001}
GZIP = b"\x1f\x8b"
VECTOR_INTENTS = range(1000, 1012)
MAX_VOXELS = 1 << 34
BROKEN = (OSError, EOFError, zlib.error, gzip.BadGzipFile)


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """A NIfTI header: stored size (columns, rows, slices, volumes), numbers, and the affine as written."""

    order: str
    size: tuple[int, int, int, int]
    datatype: int
    offset: int
    slope: float
    intercept: float
    affine: NDArray[np.float64] | None
    single_file: bool
    intent: int

    @property
    def voxel_bytes(self) -> int:
        code = DATATYPES[self.datatype]
        return {"rgb": 3, "rgba": 4}.get(code) or int(code[1])

    @property
    def total_bytes(self) -> int:
        return self.offset + int(np.prod(self.size)) * self.voxel_bytes


def read_grid(path: Path) -> Grid:
    """What a NIfTI file holds.

    Raises:
        InputError: it is no NIfTI file, or its header is damaged.
    """
    header = read_header(path)
    findings = _check(path, header)
    columns, rows, slices, volumes = header.size
    return Grid(path=path, format="nifti", digest=digest_files([path]), columns=columns, rows=rows, slices=slices,
                volumes=volumes, affine=header.affine, findings=tuple(findings))


def read_nifti(series: Series) -> Volume:
    """The pixels of one volume, in the order of its instances.

    Raises:
        InputError: the file changed since discovery.
        DecoderError: the file is truncated or damaged.
    """
    header = read_header(series.path)
    columns, rows, slices, volumes = header.size
    frames = [instance.frame or 0 for instance in series.instances]
    if (rows, columns) != (series.rows, series.columns) or max(frames) >= slices * volumes:
        raise InputError(f"{series.path} changed since it was discovered. Run find_series again.")
    volume = frames[0] // slices
    count = columns * rows * slices * header.voxel_bytes
    raw = _read_bytes(body_of(series.path, header), header.offset + volume * count, count, cached=volumes > 1)
    stored = _shape(raw, header)[[frame % slices for frame in frames]]
    return Volume(array=_to_real_world(stored, header), affine=series.affine, positions=series.positions, series=series)


def read_header(path: Path) -> Header:
    """Parse the header. Raises InputError where it is none."""
    try:
        with _open(path) as file:
            raw = file.read(540)
    except BROKEN as error:
        raise InputError(f"{path.name} cannot be read: {error}") from error
    for order in "<>":
        if len(raw) >= 348 and struct.unpack(f"{order}i", raw[:4])[0] == 348 and raw[344:347] in (b"n+1", b"ni1"):
            return _parse_first(raw, order)
        if len(raw) >= 540 and struct.unpack(f"{order}i", raw[:4])[0] == 540 and raw[4:7] in (b"n+2", b"ni2"):
            return _parse_second(raw, order)
    whole = len(raw) >= 348
    raise InputError("not a NIfTI file (an Analyze header has no orientation)" if whole else "truncated NIfTI header")


def body_of(path: Path, header: Header) -> Path:
    """The file that holds the voxels: the file itself, or the .img beside a .hdr."""
    if header.single_file:
        return path
    stem = path.name.removesuffix(".gz").removesuffix(".hdr")
    return next((body for ending in (".img", ".img.gz") if (body := path.with_name(stem + ending)).exists()), path)


def _parse_first(raw: bytes, order: str) -> Header:
    unpack = functools.partial(_unpack, raw, order)
    quatern = (*unpack("6f", 256),)
    codes = unpack("2h", 252)
    return _make(
        order, dim=unpack("8h", 40), pixdim=unpack("8f", 76), scale=unpack("3f", 108),
        kinds=(unpack("h", 70)[0], unpack("h", 68)[0], raw[123], raw[344:347] == b"n+1"),
        forms=(codes, quatern, unpack("12f", 280)),
    )


def _parse_second(raw: bytes, order: str) -> Header:
    unpack = functools.partial(_unpack, raw, order)
    offset, (slope, intercept) = unpack("q", 168)[0], unpack("2d", 176)
    return _make(
        order, dim=unpack("8q", 16), pixdim=unpack("8d", 104), scale=(offset, slope, intercept),
        kinds=(unpack("h", 12)[0], unpack("i", 504)[0], unpack("i", 500)[0], raw[4:7] == b"n+2"),
        forms=(unpack("2i", 344), unpack("6d", 352), unpack("12d", 400)),
    )


def _unpack(raw: bytes, order: str, layout: str, offset: int) -> tuple[Any, ...]:
    return struct.unpack_from(f"{order}{layout}", raw, offset)


def _make(order: str, *, dim: tuple[int, ...], pixdim: tuple[float, ...], scale: tuple[float, ...],
          kinds: tuple[int, int, int, bool], forms: tuple[Any, ...]) -> Header:
    datatype, intent, units, single_file = kinds
    if not 1 <= dim[0] <= 7 or any(size < 1 for size in dim[1 : dim[0] + 1]):
        raise InputError(f"NIfTI header with the sizes {list(dim[1:])}")
    size = (*dim[1 : dim[0] + 1], 1, 1, 1, 1)
    others = int(np.prod(dim[4 : dim[0] + 1])) if dim[0] > 3 else 1
    offset, slope, intercept = scale
    if not np.isfinite(offset) or offset < 0:
        raise InputError(f"NIfTI header with the voxel offset {offset}")
    affine = _affine(forms, pixdim)
    if affine is not None:
        affine[:3] *= MM_PER_UNIT.get(units & 7, 1.0)
    return Header(order=order, size=(size[0], size[1], size[2], others), datatype=datatype, offset=int(offset),
                  slope=slope, intercept=intercept, affine=affine, single_file=single_file, intent=intent)


def _affine(forms: tuple[Any, ...], pixdim: tuple[float, ...]) -> NDArray[np.float64] | None:
    """The sform where it is set, else the qform, else None."""
    (qform, sform), quatern, rows = forms
    affine = np.eye(4)
    if sform > 0:
        affine[:3] = np.array(rows, dtype=np.float64).reshape(3, 4)
        return affine
    if qform <= 0:
        return None
    b, c, d = (float(value) for value in quatern[:3])
    a = np.sqrt(max(0.0, 1.0 - (b * b + c * c + d * d)))
    rotation = np.array([
        [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
        [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
        [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
    ])
    handedness = -1.0 if pixdim[0] < 0 else 1.0
    affine[:3, :3] = rotation * np.array([pixdim[1], pixdim[2], pixdim[3] * handedness])
    affine[:3, 3] = quatern[3:]
    return affine


def _check(path: Path, header: Header) -> list[Finding]:
    if header.datatype not in DATATYPES:
        message = f"NIfTI data type {header.datatype} (complex or unknown) is no image of one value."
        return [find(Code.UNSUPPORTED, message)]
    if int(np.prod(header.size)) > MAX_VOXELS:
        return [find(Code.TOO_LARGE, f"{header.size} voxels do not fit memory.")]
    findings = []
    if header.affine is None:
        message = "Neither sform nor qform is set: the directions of the axes are unknown."
        findings.append(find(Code.MISSING_GEOMETRY, message))
    if header.intent in VECTOR_INTENTS and header.size[3] > 1:
        findings.append(find(Code.UNSUPPORTED, "The file holds vectors or parameters, not an image."))
    held = _held_bytes(body_of(path, header), header.total_bytes)
    if held < header.total_bytes:
        message = f"The file holds {held} of {header.total_bytes} bytes. Copy it again."
        findings.append(find(Code.TRUNCATED, message, held=held))
    return findings


def _held_bytes(body: Path, needed: int) -> int:
    """The bytes a file holds when unpacked; a whole gzip file tells them in its last four bytes."""
    with open_file(body) as file:
        zipped = file.read(2) == GZIP
        if not zipped:
            return body.stat().st_size
        file.seek(-4, 2)
        if int.from_bytes(file.read(4), "little") == needed % (1 << 32):
            return needed
    held = 0
    try:
        with gzip.open(body) as stream:
            while part := stream.read(1 << 22):
                held += len(part)
    except BROKEN:
        return min(held, needed - 1)
    return held


def _open(path: Path) -> Any:
    with open_file(path) as file:
        zipped = file.read(2) == GZIP
    return gzip.open(path) if zipped else path.open("rb")


def _read_bytes(body: Path, offset: int, count: int, *, cached: bool) -> bytes:
    try:
        with _open(body) as file:
            if cached and isinstance(file, gzip.GzipFile):
                stat = body.stat()
                raw = _unzip(body, stat.st_mtime_ns, stat.st_size)[offset : offset + count]
            else:
                file.seek(offset)
                raw = file.read(count)
    except BROKEN as error:
        raise DecoderError(f"{body} is truncated or damaged: {error}. Copy it again.") from error
    if len(raw) < count:
        raise DecoderError(f"{body} is truncated: {len(raw)} of {count} bytes of a volume. Copy it again.")
    return bytes(raw)


@functools.lru_cache(maxsize=1)
def _unzip(body: Path, modified_ns: int, size: int) -> bytes:  # noqa: ARG001 - the time and size are the cache key
    """The whole content of a gzipped file with several volumes, which are read one after the other."""
    return gzip.decompress(read_bytes(body))


def _shape(raw: bytes, header: Header) -> NDArray[Any]:
    columns, rows, slices, _ = header.size
    code = DATATYPES[header.datatype]
    if code.startswith("rgb"):
        return np.frombuffer(raw, dtype=np.uint8).reshape(slices, rows, columns, len(code))[..., :3]
    return np.frombuffer(raw, dtype=f"{header.order}{code}").reshape(slices, rows, columns)


def _to_real_world(stored: NDArray[Any], header: Header) -> NDArray[Any]:
    """``stored * slope + intercept``; a slope of 0 or not finite means stored values (nifti1.h)."""
    slope, intercept = header.slope, header.intercept
    plain = stored.ndim == 4 or not np.isfinite(slope) or slope == 0 or (slope == 1 and intercept == 0)
    if not plain:
        stored = stored * np.float64(slope) + np.float64(intercept if np.isfinite(intercept) else 0.0)
    native = np.ascontiguousarray(stored, dtype=stored.dtype.newbyteorder("="))
    return as_whole(native)
