"""How long and how large reading may get before it is ended: the limits of one call of a worker process."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from seriatim.errors import DecoderError, SeriatimError
from seriatim.io.isolation.machine import machine_bytes
from seriatim.io.source import open_file, size_of
from seriatim.series.findings import Code, find
from seriatim.series.series import Series

Gives = TypeVar("Gives")
SPARE_BYTES = 1 << 30
BYTES_PER_PIXEL = 32
"""Reading holds a pixel in several forms at once: encoded, decoded, as float64 while it is rescaled, finished."""
BYTES_PER_FILE_BYTE = 4
SHARE_OF_MEMORY = 0.8
MAX_FRAME_PIXELS, MAX_PIXELS = 1 << 28, 1 << 33
"""16,384 x 16,384, and 2,048 slices of 2,048 x 2,048."""
MEGAPIXEL = MEGABYTE = 1 << 20
MOST_SECONDS_FOR_SIZE = 600.0
"""A sparse file may claim any size: for what a file claims a call gets no more than this, whatever ``Limits`` say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Reading in a worker process, and what it may take.

    ``isolated``: False reads in the calling process, without limits. ``seconds`` for one series, and
    ``seconds_per_slice`` more for each slice (each megapixel, where slices are larger; each megabyte of a volume file
    or video that is looked at, there at most ten minutes). ``memory_gb``: most memory of the worker in GiB; None: four
    fifths of the machine's, or of the container's. Below that, a series gets what its header promises, many times over.
    """

    isolated: bool = True
    seconds: float = 60.0
    seconds_per_slice: float = 1.0
    memory_gb: float | None = None

    @property
    def most_bytes(self) -> int:
        """The memory that a call may take, whatever the header promises."""
        if self.memory_gb is not None:
            return int(self.memory_gb * (1 << 30))
        return int(machine_bytes() * SHARE_OF_MEMORY)

    def seconds_for(self, arguments: Sequence[object]) -> float:
        """The time that a call may take."""
        for_slices = self.seconds_per_slice * sum(map(_count_slices, arguments))
        for_size = self.seconds_per_slice * sum(map(_file_bytes, arguments)) / MEGABYTE
        return self.seconds + for_slices + min(for_size, MOST_SECONDS_FOR_SIZE)


class IsolatedError(DecoderError):
    """Reading was ended: the worker died (DECODER_CRASH), took too long (TIMEOUT) or wanted too much (TOO_LARGE)."""

    def __init__(self, code: Code, message: str) -> None:
        self.finding = find(code, message)
        super().__init__(str(self.finding))


class StoppedError(Exception):
    """Reading was stopped by who asked for it."""


def run(function: Callable[..., Gives], limits: Limits | None, *arguments: Any) -> Gives:
    """``function(*arguments)``: in a worker process under ``limits``, or in this one where there are none.

    Raises:
        IsolatedError: the worker died, took too long, or wanted too much memory.
        SeriatimError, OSError: what the function raises.
    """
    if limits is None or not limits.isolated or os.name == "nt":  # Windows cannot pass a descriptor to a process
        return function(*arguments)
    from seriatim.io.isolation.isolated import run_isolated

    return run_isolated(function, limits, *arguments)


def memory_bytes(arguments: Sequence[object], *, most: int) -> int:
    """The memory by which a call may let the worker grow.

    Raises:
        MemoryError: the series cannot fit ``most`` in any form.
    """
    if any(count_pixels(argument) > most for argument in arguments if isinstance(argument, Series)):
        raise MemoryError
    return min(SPARE_BYTES + sum(map(_expect_bytes, arguments)), most)


def check_size(series: Series) -> Series:
    """The series, with TOO_LARGE where its header promises more than any series has: nothing is allocated for it."""
    if series.rows * series.columns <= MAX_FRAME_PIXELS and count_pixels(series) <= MAX_PIXELS:
        return series
    size = f"{len(series.instances)} slices of {series.columns} x {series.rows} pixels"
    finding = find(Code.TOO_LARGE, f"The header promises {size}. Export the series in parts.")
    return replace(series, findings=(*series.findings, finding))


def count_pixels(series: Series) -> int:
    """Rows x columns x slices."""
    return series.rows * series.columns * len(series.instances)


def count_unpacked(series: Series) -> int:
    """The bytes of a packed volume file, all its volumes unpacked, which are held to read one; 0 of others."""
    try:
        if series.format == "nifti":
            from seriatim.io.volumes.nifti import is_packed, read_header

            return read_header(series.path).total_bytes if is_packed(series.path) else 0
        if series.format in ("nrrd", "metaimage"):
            from seriatim.io.volumes.itk import read_header as read_itk_header

            stored = read_itk_header(series.path)
            return 0 if stored.encoding == "raw" else stored.values * stored.dtype.itemsize
    except (SeriatimError, OSError):  # gone or damaged since it was found: reading it will say so
        pass
    return 0


def _count_slices(argument: object) -> float:
    if isinstance(argument, Series):
        return len(argument.instances) * max(1.0, argument.rows * argument.columns / MEGAPIXEL)
    return 0.0


def _expect_bytes(argument: object) -> int:
    if not isinstance(argument, Series):
        return BYTES_PER_FILE_BYTE * _file_bytes(argument)
    files = sum(map(_size, {instance.path for instance in argument.instances}))
    whole = max(_promised_bytes(argument), BYTES_PER_PIXEL * count_pixels(argument))
    return whole + BYTES_PER_FILE_BYTE * files


def _promised_bytes(series: Series) -> int:
    """What the header of a volume file promises for all its volumes, which are unpacked to read one."""
    if series.format == "nifti":
        from seriatim.io.volumes.nifti import read_header

        return BYTES_PER_FILE_BYTE * read_header(series.path).total_bytes
    if series.format in ("nrrd", "metaimage"):
        from seriatim.io.volumes.itk import read_header as read_itk_header

        return BYTES_PER_PIXEL * read_itk_header(series.path).values
    return 0


def _file_bytes(argument: object) -> int:
    paths = [argument] if isinstance(argument, Path) else argument if isinstance(argument, list) else []
    return sum(_size(path) for path in paths if isinstance(path, Path))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        pass
    try:
        with open_file(path) as member:
            return size_of(member)
    except OSError:
        return 0
