"""Drawn CT of what is no head: knee, chest, abdomen and a bottle of water, in HU. Coarse, but sized and valued as real.

A stand-in where real series of other anatomy are not at hand: a check that takes one of these for a head is bad; that
it refuses them all does not show that it would refuse real ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from seriatim.io.volumes.nifti_write import write_nifti

AIR, FAT, MUSCLE, WATER, ORGAN, LUNG, MARROW, CORTEX = -1000, -100, 55, 0, 60, -850, 150, 1100
SIZE, SLICES, STEP_MM, NOISE_HU = 256, 24, 5.0, 12.0
Part = tuple[float, float, float, float, float]
"""HU, then centre and half axes in mm: (right, down, width, height)."""


def _knee(at: float, _: np.random.Generator) -> list[Part]:
    """``at`` from -1 (thigh) to 1 (shin)."""
    bone = 20 + 18 * np.exp(-((at / 0.35) ** 2))
    parts = [(FAT, 0, 0, 68, 66), (MUSCLE, 0, 4, 58, 54), (CORTEX, 0, -4, bone, 0.8 * bone),
             (MARROW, 0, -4, bone - 4, 0.8 * bone - 4)]  # fmt: skip
    if at > 0.3:
        parts += [(CORTEX, 36, 14, 8, 8), (MARROW, 36, 14, 4, 4)]
    elif -0.6 < at < 0.1:
        parts += [(CORTEX, 0, -46, 20, 9), (MARROW, 0, -46, 16, 6)]
    return parts


def _chest(at: float, random: np.random.Generator) -> list[Part]:
    wide, tall = 65 - 15 * at * at, 82 - 20 * at * at
    parts = [(FAT, 0, 0, 175, 120), (MUSCLE, 0, 0, 158, 104), (LUNG, -75, 0, wide, tall), (LUNG, 75, 0, wide, tall),
             (ORGAN, 15, -18, 48, 42), (CORTEX, 0, 78, 26, 22), (MARROW, 0, 78, 21, 17), (WATER, 0, 100, 9, 8)]
    parts += [(700, 150 * np.cos(angle), 97 * np.sin(angle), 9, 5) for angle in np.arange(0, 6.28, np.pi / 7) + at]
    vessels = random.uniform(-1, 1, (14, 2)) * (110, 60)
    parts += [(ORGAN, right, down, 4, 4) for right, down in vessels if abs(right) > 45]
    return parts


def _abdomen(at: float, random: np.random.Generator) -> list[Part]:
    parts = [(FAT, 0, 0, 170, 115), (MUSCLE, 0, 0, 150, 96), (FAT, 0, 5, 138, 84), (110, -70, -15, 62 - 20 * at, 58),
             (100, 88, -10, 32, 26), (140, -62, 52, 26, 22), (140, 62, 52, 26, 22), (120, 0, 30, 11, 11),
             (CORTEX, 0, 70, 26, 22), (MARROW, 0, 70, 21, 17), (WATER, 0, 92, 9, 8)]
    gut = random.uniform(-1, 1, (9, 2)) * (55, 45)
    for right, down in gut:
        parts += [(40, right, down, 15, 13), (random.choice([LUNG, 20]), right, down - 3, 9, 6)]
    return parts


def _bottle(_at: float, _: np.random.Generator) -> list[Part]:
    return [(120, 0, 0, 104, 104), (WATER, 0, 0, 100, 100)]


KINDS = {"knee": (_knee, 180.0), "chest": (_chest, 400.0), "abdomen": (_abdomen, 400.0),
         "water bottle": (_bottle, 240.0)}  # fmt: skip
"""What draws the parts of a slice, and the width of the picture in mm."""


def draw(kind: str, index: int) -> NDArray[np.int16]:
    """(S,H,W) in HU."""
    paint, width = KINDS[kind]
    random = np.random.default_rng((index, len(kind)))
    scale, shift = random.uniform(0.85, 1.1), random.uniform(-10, 10, 2)
    at_mm = (np.arange(SIZE) - SIZE / 2 + 0.5) * width / SIZE
    right, down = np.meshgrid((at_mm - shift[0]) / scale, (at_mm - shift[1]) / scale)
    volume = np.full((SLICES, SIZE, SIZE), AIR, dtype=np.float32)
    for number, place in enumerate(np.linspace(-1, 1, SLICES)):
        for value, x, y, wide, tall in paint(float(place), random):
            volume[number][((right - x) / wide) ** 2 + ((down - y) / tall) ** 2 <= 1] = value
    volume += random.normal(0, NOISE_HU, volume.shape).astype(np.float32)
    blurred = sum(np.roll(volume, move, axis) for axis in (1, 2) for move in (-1, 0, 1)) / 6
    return np.clip(np.rint(blurred), -1024, 3071).astype(np.int16)


def write(folder: Path, *, count: int) -> Iterator[tuple[str, Path]]:
    """``count`` NIfTI files of each kind; what each shows, and where it is."""
    for kind, (_, width) in KINDS.items():
        for index in range(count):
            path = folder / f"{kind.replace(' ', '_')}_{index}.nii.gz"
            step = width / SIZE
            write_nifti(path, draw(kind, index), affine=np.diag([-step, -step, STEP_MM, 1.0]))
            yield kind, path
