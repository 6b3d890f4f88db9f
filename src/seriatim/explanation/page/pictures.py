"""The slices of a series as pictures in a page: few enough bytes that it can be mailed, whatever the series."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from seriatim.explanation.display import size_shown, turn_slices
from seriatim.explanation.page.windows import Display
from seriatim.io.pictures.encode import encode_jpeg
from seriatim.series import Volume

MOST_SLICES = 400
"""A page of more would be slow to open; of longer series every k-th slice is shown, and all that the page marks."""
MOST_BYTES = 10_700_000
"""Of all pictures and heat together; as text in a page they take a third more, which keeps it below 15 MB."""
RUNGS = (
    (1024, 90), (1024, 82), (768, 82), (640, 80), (640, 75), (640, 70), (512, 70), (512, 65), (512, 60), (384, 65),
    (384, 55), (256, 50),
)  # fmt: skip
"""(pixels along the longer edge, quality of the JPEG), the best first: the first one within MOST_BYTES is taken."""
TRIED, DOUBT = 16, 1.05
"""Slices by which the size of all is estimated, and how far beyond the bound an estimate is still tried out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SlicePictures:
    """F of S slices: ``indices`` of them in order, and for each plate of the display F JPEG files.

    ``size`` are (rows, columns) of the pictures, ``step`` is 1 where every slice is there, else k of every k-th;
    ``pixel_mm`` is the side of a pixel, None where it is not known.
    """

    indices: tuple[int, ...]
    plates: tuple[tuple[bytes, ...], ...]
    size: tuple[int, int]
    step: int
    quality: int
    pixel_mm: float | None


def encode_slices(
    volume: Volume, display: Display, *, keep: Sequence[int] = (), most_bytes: int = MOST_BYTES
) -> SlicePictures:
    """The slices of a volume as JPEG files, as large and good as ``most_bytes`` allow; ``keep`` are always among them.

    Where even the last of the RUNGS is too large, it is taken all the same.
    """
    indices, step = pick_slices(len(volume.array), keep)
    tried = indices[:: max(1, len(indices) // TRIED)]
    for longest, quality in RUNGS:
        last = (longest, quality) == RUNGS[-1]
        estimate = _count(_encode(volume, display, tried, rung=(longest, quality))) * len(indices) / len(tried)
        if estimate > DOUBT * most_bytes and not last:
            continue
        files = list(_encode(volume, display, indices, rung=(longest, quality)))
        if last or _count(files) <= most_bytes:
            break
    size = size_shown(volume, longest=longest)
    known = volume.affine is not None or volume.series.spacing_mm is not None
    return SlicePictures(
        indices=indices, plates=tuple(zip(*files, strict=True)), size=(size.rows, size.columns), step=step,
        quality=quality, pixel_mm=size.pixel_mm if known else None,
    )


def pick_slices(count: int, keep: Sequence[int], *, most: int = MOST_SLICES) -> tuple[tuple[int, ...], int]:
    """Which slices of ``count`` to show, in order, and k: every k-th one, the last one, and those of ``keep``."""
    step = -(-count // most)
    return tuple(sorted({*range(0, count, step), count - 1, *keep})), step


def _encode(
    volume: Volume, display: Display, indices: Sequence[int], *, rung: tuple[int, int]
) -> Iterator[tuple[bytes, ...]]:
    """The files of each slice, one for each plate. One slice at a time: memory does not grow with the series."""
    longest, quality = rung
    for index in indices:
        values = turn_slices(volume.array[index : index + 1].astype(np.float32), volume, longest=longest)[0].numpy()
        yield tuple(
            encode_jpeg(display.encode(values, plate), quality=quality) for plate in range(len(display.plates))
        )


def _count(files: Iterable[tuple[bytes, ...]]) -> int:
    return sum(len(one) for several in files for one in several)
