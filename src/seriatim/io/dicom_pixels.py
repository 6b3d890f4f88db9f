"""The pixels of a DICOM series, in real-world values, in the order of its instances."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut

from seriatim.errors import InputError
from seriatim.io.decode_pool import DecodePool
from seriatim.io.dicom_file import DicomFile
from seriatim.io.dicom_padding import find_padding, gather_padding
from seriatim.io.dicom_rescale import Rescale, rescale_of
from seriatim.io.dicom_values import get_text, reading
from seriatim.io.source import open_file
from seriatim.io.values import Allocate, SliceWriter
from seriatim.series.series import Instance, Series, Volume


def read_dicom(series: Series, *, threads: int | None = None, allocate: Allocate = np.empty) -> Volume:
    """Decode a DICOM series.

    Compressed slices are decoded in ``threads`` threads (None: as many as there are cores, at most four, and no more
    than OMP_NUM_THREADS); ``allocate`` makes the array of the volume.

    Raises:
        InputError: a file changed since discovery.
        DecoderError: pixel data is damaged, or its decoder is missing.
    """
    writer = SliceWriter(count=len(series.instances), allocate=allocate)
    padding: list[tuple[float, float] | None] = []
    inverted = False
    with reading(), DecodePool(threads) as pool:
        for path, group in groupby(series.instances, key=lambda instance: instance.path):
            instances = list(group)
            with open_file(path) as file:
                opened = DicomFile(file, path)
                _require_same(opened, instances[0], series)
                if not padding:
                    inverted = get_text(opened.dataset, "PhotometricInterpretation") == "MONOCHROME1"
                for instance in instances:
                    padding.append(_read_slice(opened, instance.frame or 0, len(padding), writer=writer, pool=pool))
                opened.finish()
    return Volume(array=writer.finish(), affine=series.affine, positions=series.positions, series=series,
                  inverted=inverted, padding=gather_padding(padding))


def _read_slice(opened: DicomFile, frame: int, index: int, *, writer: SliceWriter,
                pool: DecodePool) -> tuple[float, float] | None:
    """Bring one frame to slice ``index``, at once or through the pool; the range of its padding."""
    dataset = opened.dataset
    rescale = rescale_of(dataset, frame)

    def write(stored: NDArray[Any]) -> None:
        writer.write(index, _to_real_world(stored, dataset, rescale))

    if opened.mosaic is not None:
        write(opened.read_tile(frame))
    elif opened.is_video:
        write(opened.read_video(frame))
    elif opened.compressed:
        pool.submit(opened.decoding(frame, rescale), write)
    elif not opened.read_in_place(frame, index, rescale, writer):
        write(opened.read_stored(frame))
    return find_padding(dataset, rescale)


def read_picture(path: Path, frame: int) -> NDArray[Any]:
    """The real-world values of one frame of a file, (H,W) or (H,W,3).

    Raises:
        InputError: the file cannot be read or decoded.
    """
    with reading(), open_file(path) as file:
        opened = DicomFile(file, path)
        rescale = rescale_of(opened.dataset, frame)
        if opened.mosaic is not None:
            stored = opened.read_tile(frame)
        else:
            stored = opened.decoding(frame, rescale)() if opened.compressed else opened.read_stored(frame)
        return _to_real_world(stored, opened.dataset, rescale)


def _require_same(opened: DicomFile, instance: Instance, series: Series) -> None:
    """Raises InputError where this is no longer the file that was discovered."""
    uid, rows, columns = opened.identify()
    if (uid and uid != instance.sop_instance_uid) or (rows, columns) != (series.rows, series.columns):
        raise InputError(f"{instance.path} changed since it was discovered. Run find_series again.")


def _to_real_world(stored: NDArray[Any], dataset: Any, rescale: Rescale) -> NDArray[Any]:
    if get_text(dataset, "PhotometricInterpretation") == "PALETTE COLOR":
        return _apply_palette(stored, dataset)
    if stored.ndim == 3:
        return stored
    if get_text(dataset, "Modality") != "RTDOSE" and dataset.get("ModalityLUTSequence"):
        return np.asarray(apply_modality_lut(stored, dataset))
    return rescale.apply(stored)


def _apply_palette(stored: NDArray[Any], dataset: Any) -> NDArray[Any]:
    """(H,W,3) uint8; of a palette of 16 bits the upper 8."""
    colours = apply_color_lut(stored, dataset)[..., :3]
    return np.asarray(colours >> 8 if colours.dtype.itemsize > 1 else colours).astype(np.uint8)
