"""The pixels of a DICOM series, in real-world values, in the order of its instances."""

from __future__ import annotations

from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut

from seriatim.errors import DecoderError, InputError
from seriatim.io.dicom.heads import KnownHeads
from seriatim.io.dicom.inflate import open_inflated
from seriatim.io.dicom.values import get_text, reading
from seriatim.io.dicom.walk import Head
from seriatim.io.dicom_pixels.decode_pool import DecodePool
from seriatim.io.dicom_pixels.encapsulated import Frames
from seriatim.io.dicom_pixels.file import DicomFile, decode_slice
from seriatim.io.dicom_pixels.padding import Range, find_padding, gather_padding
from seriatim.io.dicom_pixels.plain import PlainLayout, read_plain, rescale_in_place
from seriatim.io.dicom_pixels.rescale import Rescale, rescale_of
from seriatim.io.source import check_whole, open_file
from seriatim.io.values import Allocate, OwnMemory, SliceWriter
from seriatim.series.series import Instance, Series, Volume


def read_dicom(series: Series, *, threads: int | None = None, allocate: Allocate = OwnMemory) -> Volume:
    """Decode a DICOM series.

    Compressed slices are decoded in ``threads`` threads (None: as many as there are cores, at most four, and no more
    than OMP_NUM_THREADS); ``allocate`` makes the memory of the volume.

    Raises:
        InputError: a file changed since discovery.
        DecoderError: pixel data is damaged, or its decoder is missing.
    """
    reader = _SeriesReader(series, allocate)
    with reading(), DecodePool(threads) as pool:
        for path, group in groupby(series.instances, key=lambda instance: instance.path):
            with open_file(path) as file:
                reader.read_file(file, list(group), pool)
                _check_whole(file, path)
    return reader.finish()


class _SeriesReader:
    """Brings the slices of a series into one array, file after file."""

    def __init__(self, series: Series, allocate: Allocate) -> None:
        self._series = series
        self._writer = SliceWriter(count=len(series.instances), allocate=allocate)
        self._heads = KnownHeads()
        self._padding: list[Range | None] = []
        self._inverted = False

    def read_file(self, file: BinaryIO, instances: list[Instance], pool: DecodePool) -> None:
        """Read the next slices, all of one file."""
        head = self._heads.walk(file) if len(instances) == 1 else None
        if self._read_known(file, head, instances[0], pool):
            return
        opened = DicomFile(open_inflated(file), instances[0].path)
        self._require_same(opened, instances[0])
        if not self._padding:
            self._inverted = get_text(opened.dataset, "PhotometricInterpretation") == "MONOCHROME1"
        for instance in instances:
            frame = instance.frame or 0
            rescale = rescale_of(opened.dataset, frame)
            padding = find_padding(opened.dataset, rescale)
            self._read_slice(opened, frame, rescale, pool)
            self._padding.append(padding)
            self._heads.learn(head, opened, rescale, padding)

    def finish(self) -> Volume:
        """The volume, when all slices are written."""
        series = self._series
        return Volume(array=self._writer.finish(), affine=series.affine, positions=series.positions, series=series,
                      inverted=self._inverted, padding=gather_padding(self._padding))

    def _read_known(self, file: BinaryIO, head: Head | None, instance: Instance, pool: DecodePool) -> bool:
        """True where the head was known, and the slice could be read, or is on its way, straight into its place."""
        known = self._heads.recall(head, instance.sop_instance_uid)
        if head is None or known is None:
            return False
        index = len(self._padding)
        file.seek(head.pixel_start)
        if known.pixels is None:
            place = self._writer.lend(index, known.layout.shape)
            if place is None or not read_plain(file, known.layout, place) \
                    or not rescale_in_place(place, known.layout, known.rescale):
                return False
        else:
            syntax = head.syntax.decode().rstrip("\0")
            try:
                encoded = Frames(file.read(), syntax=syntax, count=1, closed=True)[0]
            except DecoderError:
                return False
            pool.submit(partial(decode_slice, encoded, known.pixels, syntax, path=instance.path, rescale=known.rescale),
                        partial(self._write_grey, index, layout=known.layout, rescale=known.rescale))
        self._padding.append(known.padding)
        return True

    def _write_grey(self, index: int, stored: NDArray[Any], *, layout: PlainLayout, rescale: Rescale) -> None:
        """Bring decoded pixels that need no more than a rescale to slice ``index``."""
        place = self._writer.lend(index, layout.shape) if stored.dtype == layout.dtype else None
        if place is not None:
            place[...] = stored.view(np.int16)
            if rescale_in_place(place, layout, rescale):
                return
        self._writer.write(index, rescale.apply(stored))

    def _read_slice(self, opened: DicomFile, frame: int, rescale: Rescale, pool: DecodePool) -> None:
        """Bring one frame to the next slice, at once or through the pool."""
        index = len(self._padding)

        def write(stored: NDArray[Any]) -> None:
            self._writer.write(index, _to_real_world(stored, opened.dataset, rescale))

        if opened.mosaic is not None:
            write(opened.read_tile(frame))
        elif opened.is_video:
            write(opened.read_video(frame))
        elif opened.compressed:
            pool.submit(opened.decoding(frame, rescale), write)
        elif not opened.read_in_place(frame, index, rescale, self._writer):
            write(opened.read_stored(frame))

    def _require_same(self, opened: DicomFile, instance: Instance) -> None:
        """Raises InputError where this is no longer the file that was discovered."""
        uid, rows, columns = opened.identify()
        same = uid in ("", instance.sop_instance_uid)
        if not same or (rows, columns) != (self._series.rows, self._series.columns):
            raise InputError(f"{instance.path} changed since it was discovered. Run find_series again.")


def read_picture(path: Path, frame: int) -> NDArray[Any]:
    """The real-world values of one frame of a file, (H,W) or (H,W,3).

    Raises:
        InputError: the file cannot be read or decoded.
    """
    with reading(), open_file(path) as file:
        opened = DicomFile(open_inflated(file), path)
        rescale = rescale_of(opened.dataset, frame)
        if opened.mosaic is not None:
            stored = opened.read_tile(frame)
        else:
            stored = opened.decoding(frame, rescale)() if opened.compressed else opened.read_stored(frame)
        return _to_real_world(stored, opened.dataset, rescale)


def _check_whole(file: BinaryIO, path: Path) -> None:
    """A member of an archive is compared with its checksum."""
    try:
        check_whole(file)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error}. Copy it again.") from error


def _to_real_world(stored: NDArray[Any], dataset: Any, rescale: Rescale) -> NDArray[Any]:
    if get_text(dataset, "PhotometricInterpretation") == "PALETTE COLOR":
        return _apply_palette(stored, dataset)
    if stored.ndim == 3:
        return stored
    if get_text(dataset, "Modality") != "RTDOSE" and dataset.get("ModalityLUTSequence"):
        return np.asarray(apply_modality_lut(stored, dataset))
    return rescale.apply(stored)


def _apply_palette(stored: NDArray[Any], dataset: Any) -> NDArray[Any]:
    """(H,W,3) uint8; of a palette of 16 bits the upper 8, where it does not hold values of 8 bits all the same."""
    colours = apply_color_lut(stored, dataset)[..., :3]
    if colours.dtype.itemsize > 1:
        count, first, _ = dataset.RedPaletteColorLookupTableDescriptor
        palette = apply_color_lut(np.arange(first, first + (count or 1 << 16)), dataset)
        colours = colours >> 8 if palette.max() > np.iinfo(np.uint8).max else colours
    return np.asarray(colours).astype(np.uint8)
