"""The pixels of a DICOM series, in real-world values, in the order of its instances."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut

from seriatim.errors import DecoderError, InputError
from seriatim.io.codecs import correct_bits, decode_frame, transfer_syntax
from seriatim.io.dicom_extent import expected_bytes, find_extent, is_deflated
from seriatim.io.dicom_mosaic import find_mosaic
from seriatim.io.dicom_rescale import Rescale, rescale_of
from seriatim.io.dicom_values import BadValueError, get_integer, get_number, get_text, reading
from seriatim.io.source import check_whole, open_file
from seriatim.io.values import SliceWriter
from seriatim.series.series import Instance, Series, Volume

NATIVE = {"1.2.840.10008.1.2": "<", "1.2.840.10008.1.2.1": "<", "1.2.840.10008.1.2.1.99": "<",
          "1.2.840.10008.1.2.2": ">"}


def read_dicom(series: Series) -> Volume:
    """Decode a DICOM series.

    Raises:
        InputError: a file changed since discovery.
        DecoderError: pixel data is damaged, or its decoder is missing.
    """
    writer = SliceWriter(count=len(series.instances))
    inverted, padding = False, None
    index = 0
    with reading():
        for path, group in groupby(series.instances, key=lambda instance: instance.path):
            instances = list(group)
            dataset = _open(path, instances[0], series)
            if index == 0:
                inverted = get_text(dataset, "PhotometricInterpretation") == "MONOCHROME1"
                padding = _padding(dataset)
            for pixels in _read_slices(dataset, path, instances):
                writer.write(index, pixels)
                index += 1
    return Volume(array=writer.finish(), affine=series.affine, positions=series.positions, series=series,
                  inverted=inverted, padding=padding)


def _open(path: Path, instance: Instance, series: Series) -> Any:
    """Read a file again and check that it is still the one discovered."""
    try:
        dataset = _read_file(path)
        uid = get_text(dataset, "SOPInstanceUID")
        mosaic = find_mosaic(dataset)
        size = (mosaic.rows, mosaic.columns) if mosaic else (dataset.Rows, dataset.Columns)
    except DecoderError:
        raise
    except (OSError, BadValueError) as error:
        raise InputError(f"{path} cannot be read: {error}. Copy it again.") from error
    except Exception as error:  # pydicom itself raises many kinds for a broken file
        raise InputError(f"{path} is no longer a readable DICOM file. Copy it again.") from error
    if (uid and uid != instance.sop_instance_uid) or size != (series.rows, series.columns):
        raise InputError(f"{path} changed since it was discovered. Run find_series again.")
    if not any(keyword in dataset for keyword in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")):
        raise DecoderError(f"{path} is truncated: it has no whole pixel data. Copy or export it again.")
    return dataset


def _read_file(path: Path) -> Any:
    """The header, and the pixel data as it lies in the file: what follows it is not read."""
    with open_file(path) as file:
        dataset = pydicom.dcmread(file, force=True, stop_before_pixels=True)
        if is_deflated(dataset):
            file.seek(0)
            dataset = pydicom.dcmread(file, force=True)
            check_whole(file)
            return dataset
        extent = find_extent(file, dataset)
        if extent is None or not extent.whole:
            raise DecoderError(f"{path} is truncated: its pixel data is not whole. Copy or export it again.")
        file.seek(extent.start)
        value = file.read(extent.end - extent.start)
        check_whole(file)
    if len(value) < extent.end - extent.start:
        raise DecoderError(f"{path} was cut while it was read. Copy or export it again.")
    dataset.add_new(extent.keyword, "OB" if extent.encapsulated else extent.vr, value)
    return dataset


def _read_slices(dataset: Any, path: Path, instances: list[Instance]) -> Iterator[NDArray[Any]]:
    """The frames of a file; of a mosaic, whose frames are tiles, the tiles of its one picture."""
    mosaic = find_mosaic(dataset)
    if mosaic is None:
        yield from _read_frames(dataset, path, instances)
        return
    picture = next(_read_frames(dataset, path, [replace(instances[0], frame=0)]))
    yield from (mosaic.cut(picture, instance.frame or 0) for instance in instances)


def _read_frames(dataset: Any, path: Path, instances: list[Instance]) -> Iterator[NDArray[Any]]:
    syntax = transfer_syntax(dataset)
    if syntax in NATIVE and "PixelData" in dataset and len(dataset.PixelData) < (needed := expected_bytes(dataset)):
        raise DecoderError(f"{path} is truncated: {len(dataset.PixelData)} of {needed} bytes of pixel data. "
                           "Copy or export it again.")
    for instance in instances:
        frame = instance.frame or 0
        plain = _is_plain(dataset, syntax)
        stored = _view_native(dataset, frame, syntax) if plain else decode_frame(dataset, frame, path=path)
        yield _to_real_world(stored, dataset, rescale_of(dataset, frame))


def _is_plain(dataset: Any, syntax: str) -> bool:
    """True for uncompressed grey pixels of whole bytes, which need no decoder."""
    return (syntax in NATIVE and get_integer(dataset, "SamplesPerPixel", 1) == 1 and "PixelData" in dataset
            and get_integer(dataset, "BitsAllocated", 16) in (8, 16, 32))


def _view_native(dataset: Any, frame: int, syntax: str) -> NDArray[Any]:
    """(H,W) stored values, a view of the file's bytes where nothing needs correction."""
    rows, columns = dataset.Rows, dataset.Columns
    bits = get_integer(dataset, "BitsAllocated", 16)
    order = NATIVE[syntax]
    if bits == 8 and order == ">" and dataset["PixelData"].VR == "OW":  # bytes are swapped in pairs
        return np.asarray(decode_frame(dataset, frame, path=Path("file")))
    stored = np.frombuffer(dataset.PixelData, dtype=f"{order}u{bits // 8}", count=rows * columns,
                           offset=frame * rows * columns * bits // 8)
    return correct_bits(stored.reshape(rows, columns), dataset)


def _to_real_world(stored: NDArray[Any], dataset: Any, rescale: Rescale) -> NDArray[Any]:
    if get_text(dataset, "PhotometricInterpretation") == "PALETTE COLOR":
        colours = apply_color_lut(stored, dataset)
        return np.asarray(colours >> 8 if colours.dtype.itemsize > 1 else colours).astype(np.uint8)[..., :3]
    if stored.ndim == 3:
        return stored
    if get_text(dataset, "Modality") != "RTDOSE" and dataset.get("ModalityLUTSequence"):
        return np.asarray(apply_modality_lut(stored, dataset))
    return rescale.apply(stored)


def _padding(dataset: Any) -> float | None:
    """The pixel padding value in real-world values, None where there is none."""
    try:
        value = get_number(dataset, "PixelPaddingValue")
    except BadValueError:
        return None
    if value is None:
        return None
    rescale = rescale_of(dataset, 0)
    return value * rescale.slope + rescale.intercept
