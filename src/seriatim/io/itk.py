"""MetaImage and NRRD, read by SimpleITK."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seriatim.errors import DecoderError, InputError
from seriatim.io.content import digest_files
from seriatim.io.grid import Grid, series_of_grid
from seriatim.io.refused import find_or_refuse
from seriatim.io.source import exists, open_file, real_file, size_of
from seriatim.io.values import as_whole
from seriatim.series.findings import Code, Finding, find
from seriatim.series.geometry import LPS_TO_RAS
from seriatim.series.series import Format, Series, Volume

BODY_ENDINGS = (".raw", ".zraw", ".raw.gz", ".img")
MAX_VOXELS = 1 << 34


def find_itk(path: Path) -> list[Series]:
    """The volumes of a MetaImage or NRRD file, or its row with the reason.

    Raises:
        OSError: the file cannot be opened.
    """
    format_: Format = "nrrd" if path.suffix.lower() in (".nrrd", ".nhdr") else "metaimage"
    return find_or_refuse(path, format_, lambda path: series_of_grid(read_grid(path)))


def read_grid(path: Path) -> Grid:
    """What a MetaImage or NRRD file holds.

    Raises:
        InputError: SimpleITK cannot read the header.
    """
    with real_file(path) as real:
        reader = _reader(real)
    size = (*reader.GetSize(), 1, 1, 1)
    volumes = int(np.prod(size[3:]))
    bodies = [body for ending in BODY_ENDINGS if exists(body := path.with_suffix(ending))]
    format_: Format = "nrrd" if path.suffix.lower() in (".nrrd", ".nhdr") else "metaimage"
    findings = _check(reader, path, size)
    return Grid(path=path, format=format_, digest=digest_files([path, *bodies]), columns=size[0], rows=size[1],
                slices=size[2], volumes=volumes, affine=_affine(reader), findings=tuple(findings))


def read_itk(series: Series) -> Volume:
    """The pixels of one volume, in the order of its instances.

    Raises:
        InputError: the file changed since discovery.
        DecoderError: the file is truncated or damaged.
    """
    itk = importlib.import_module("SimpleITK")
    with real_file(series.path) as real:
        reader = _reader(real)
        try:
            image = reader.Execute()
        except RuntimeError as error:
            raise DecoderError(f"{series.path} cannot be decoded: {_last_line(error)}. Copy it again.") from error
    array = itk.GetArrayViewFromImage(image)
    colour = reader.GetNumberOfComponents() == 3
    shape = array.shape[-3:] if colour else array.shape[-2:]
    stack = np.asarray(array).reshape(-1, *shape)
    frames = [instance.frame or 0 for instance in series.instances]
    if stack.shape[1:3] != (series.rows, series.columns) or max(frames) >= len(stack):
        raise InputError(f"{series.path} changed since it was discovered. Run find_series again.")
    return Volume(array=as_whole(stack[frames]), affine=series.affine, positions=series.positions, series=series)


def _reader(path: Path) -> Any:
    itk = importlib.import_module("SimpleITK")
    itk.ProcessObject.SetGlobalWarningDisplay(False)
    reader = itk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise InputError(f"SimpleITK cannot read the header: {_last_line(error)}") from error
    return reader


def _affine(reader: Any) -> NDArray[np.float64]:
    dimension = reader.GetDimension()
    direction = np.eye(max(dimension, 3))
    direction[:dimension, :dimension] = np.array(reader.GetDirection()).reshape(dimension, dimension)
    spacing = np.array((*reader.GetSpacing(), 1.0, 1.0)[:3])
    affine = np.eye(4)
    affine[:3, :3] = direction[:3, :3] * spacing
    affine[:3, 3] = (*reader.GetOrigin(), 0.0)[:3]
    return np.asarray(LPS_TO_RAS @ affine)


def _check(reader: Any, path: Path, size: tuple[int, ...]) -> list[Finding]:
    itk = importlib.import_module("SimpleITK")
    components = reader.GetNumberOfComponents()
    kind = itk.GetPixelIDValueAsString(reader.GetPixelID())
    if components not in (1, 3) or (components == 3 and "8-bit unsigned" not in kind) or "complex" in kind:
        return [find(Code.UNSUPPORTED, f"Voxels of {components} values ({kind}) are neither grey nor RGB.")]
    if min(size) < 1:
        return [find(Code.BAD_VALUE, f"The header says {size} voxels.")]
    if int(np.prod(size)) > MAX_VOXELS:
        return [find(Code.TOO_LARGE, f"{size} voxels do not fit memory.")]
    held, needed = _raw_bytes(path), int(np.prod(size)) * components * _bytes_per_value(kind)
    if held is not None and held < needed:
        return [find(Code.TRUNCATED, f"The file holds {held} of {needed} bytes of voxels. Copy it again.", held=held)]
    return []


def _bytes_per_value(kind: str) -> int:
    return next((bits // 8 for bits in (64, 32, 16, 8) if f"{bits}-bit" in kind), 1)


def _raw_bytes(path: Path) -> int | None:
    """The bytes of uncompressed voxels kept in the header's own file; None where they are elsewhere or compressed."""
    with open_file(path) as file:
        head, size = file.read(1 << 16), size_of(file)
    lowered = head.lower()
    if lowered.startswith(b"nrrd"):
        plain = b"encoding: raw" in lowered and b"data file" not in lowered and b"\n\n" in head
        return size - head.index(b"\n\n") - 2 if plain else None
    place = lowered.find(b"elementdatafile")
    line_end = head.find(b"\n", place)
    local = place >= 0 and b"local" in lowered[place:line_end] and b"compresseddata = true" not in lowered
    return size - line_end - 1 if local else None


def _last_line(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[-1][-160:] if lines else type(error).__name__
