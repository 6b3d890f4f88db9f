"""A head for CT: skin, skull with its base, brain with sulci and ventricles, and the harmless bright things in it.

Values in HU are those of textbooks (Hounsfield units of normal tissue at 120 kV). Calcifications and dense venous
sinuses occur in bleeding and healthy heads alike, so that neither the brightest voxel nor a bright blob alone decides.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from seriatim.synth.grid import Ellipsoid, Field, Grid, Point, paint, smooth_noise

AIR_HU, FAT_HU, MUSCLE_HU, BONE_HU, CSF_HU = -1000.0, -80.0, 45.0, 1000.0, 8.0
WHITE_HU, GREY_HU, BLOOD_HU = 28.0, 38.0, 65.0
SULCUS_MM, CORTEX_MM = 16.0, 4.5


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadShape:
    """What makes one patient's head: skull half axes (left-right, front-back, up) and thicknesses in mm, and more."""

    half_axes_mm: Point
    skull_mm: float
    scalp_mm: float
    ventricles: float
    """Size of the ventricles relative to the average."""
    atrophy: float
    """Width of the sulci relative to the average."""
    sinus_hu: float
    calcifications: tuple[Ellipsoid, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """A painted head: HU and the fields (Z,Y,X) that a bleed needs to find its place."""

    values_hu: Field
    brain_hu: Field
    """What the cranial cavity is filled with, before the skull's edge is blended over it."""
    depth_mm: Field
    """Radial depth below the inner table of the skull; negative outside the cranial cavity."""
    ventricles: Field
    """Coverage by the ventricles, 0 to 1."""
    sulci: Field
    """Coverage by sulci and fissures, 0 to 1."""


def draw_head_shape(rng: np.random.Generator) -> HeadShape:
    """Draw one patient. Bleeding and healthy patients are drawn alike."""
    width, length, height = rng.uniform(67, 76), rng.uniform(86, 97), rng.uniform(78, 88)
    candidates: list[tuple[float, Point]] = [(0.7, (rng.normal(0, 1), 24 + rng.normal(0, 2), 3 + rng.normal(0, 2)))]
    candidates += [(0.5, (side * rng.uniform(18, 23), rng.uniform(30, 37), rng.uniform(6, 12))) for side in (-1, 1)]
    candidates += [(0.15, (side * rng.uniform(18, 22), rng.uniform(-2, 6), rng.uniform(-3, 4))) for side in (-1, 1)]
    calcifications = tuple(
        Ellipsoid(centre=centre, axes=(rng.uniform(1.5, 3.2), rng.uniform(1.5, 3.2), rng.uniform(2, 3.5)))
        for chance, centre in candidates
        if rng.random() < chance
    )
    return HeadShape(
        half_axes_mm=(width, length, height),
        skull_mm=rng.uniform(3.8, 6),
        scalp_mm=rng.uniform(4, 8),
        ventricles=rng.uniform(0.85, 1.45),
        atrophy=rng.uniform(0.5, 1.3),
        sinus_hu=rng.uniform(46, 58),
        calcifications=calcifications,
    )


def paint_head(grid: Grid, shape: HeadShape, rng: np.random.Generator) -> Head:
    """Paint a head on a grid; ``rng`` draws its folds and irregularities."""
    outer_mm = _outer_depth(grid, shape) + np.float32(1.2) * smooth_noise(grid, rng, wave_mm=70)
    y = grid.coordinates[1]
    thicker = np.float32(1) + np.float32(0.25) * (y / np.float32(shape.half_axes_mm[1])) ** 2
    thickness = np.float32(shape.skull_mm) * thicker + smooth_noise(grid, rng, wave_mm=45)
    depth_mm = outer_mm - np.maximum(thickness, np.float32(3))
    values = np.full(grid.shape, AIR_HU, dtype=np.float32)
    _paint_outside(values, grid, shape, outer_mm)
    _paint_skull(values, grid, rng, outer_mm=outer_mm, thickness_mm=thickness)
    brain, sulci = _brain_tissue(grid, shape, rng, depth_mm)
    ventricles = _coverage_of(_ventricles(shape.ventricles), grid)
    paint(brain, ventricles, CSF_HU)
    _paint_dense_normals(brain, grid, shape, depth_mm)
    brain += np.float32(5) * np.exp(-np.maximum(depth_mm, 0) / np.float32(7))  # what beam hardening leaves at the bone
    paint(values, grid.soft(depth_mm), brain)
    return Head(values_hu=values, brain_hu=brain, depth_mm=depth_mm, ventricles=ventricles, sulci=sulci)


def _outer_depth(grid: Grid, shape: HeadShape) -> Field:
    """Radial depth below the outer table: an egg whose floor rises forwards."""
    x, y, z = grid.coordinates
    width, length, height = (np.float32(axis) for axis in shape.half_axes_mm)
    v = y / length
    floor = np.float32(64) * (1 + np.float32(0.38) * np.clip(v, -1, 1))
    radius = _egg_radius(x / width, v, z / np.where(z > 0, height, floor))
    return np.asarray(np.sqrt(x * x + y * y + z * z) * (1 / radius - 1), dtype=np.float32)


def _egg_radius(u: Field, v: Field, w: Field) -> Field:
    """Distance from the middle of an egg, 1 on its surface: wider behind (v > 0), boxy in the axial plane."""
    u = u / (1 + np.float32(0.10) * np.clip(v, -1, 1))
    u2, v2 = u * u, v * v
    squared = u2 + v2 + w * w - np.float32(0.3) * np.minimum(u2 * v2, 1)
    return np.asarray(np.sqrt(np.maximum(squared, 1e-6)), dtype=np.float32)


def _paint_outside(values: Field, grid: Grid, shape: HeadShape, outer_mm: Field) -> None:
    """Skin, fat and the soft tissue of the face and neck."""
    x, y, z = grid.coordinates
    above = np.maximum(z, 0)
    width, length, height = (np.float32(axis + shape.scalp_mm) for axis in shape.half_axes_mm)
    taper = 1 + np.minimum(z + 20, 0) / np.float32(260)
    radius = _egg_radius(x / (width * taper), y / (length * taper), above / height)
    skin_mm = np.sqrt(x * x + y * y + above * above) * (1 / radius - 1)
    paint(values, grid.soft(skin_mm), MUSCLE_HU)
    fat = grid.soft(np.minimum(skin_mm - np.float32(2), -outer_mm))
    fat *= np.float32(0.7) * np.clip((z + 45) / 30, 0, 1)  # muscle takes its place towards the neck
    paint(values, fat, FAT_HU)


def _paint_skull(
    values: Field, grid: Grid, rng: np.random.Generator, *, outer_mm: Field, thickness_mm: Field
) -> None:
    """The vault with its diploe, and below it the base: petrous bone, clivus, orbits and air cells."""
    middle = np.clip(1 - np.abs(2 * outer_mm / np.maximum(thickness_mm, 3) - 1), 0, 1)
    paint(values, grid.soft(outer_mm), BONE_HU - np.float32(450) * middle)
    for part, value in _base_parts():
        box, coverage = part.coverage(grid)
        paint(values[box], coverage, value)
    cells = smooth_noise(grid, rng, wave_mm=7)
    air_cells = [Ellipsoid(centre=(0, -55, -46), axes=(13, 24, 12))]
    air_cells += [Ellipsoid(centre=(side * 55, 24, -50), axes=(9, 13, 13)) for side in (-1, 1)]
    for part in air_cells:
        box, coverage = part.coverage(grid)
        paint(values[box], coverage * np.clip(cells[box] + np.float32(0.6), 0, 1), -850)


def _base_parts() -> list[tuple[Ellipsoid, float]]:
    parts: list[tuple[Ellipsoid, float]] = [
        (Ellipsoid(centre=(0, -4, -48), axes=(13, 16, 9)), 600),
        (Ellipsoid(centre=(0, -28, -50), axes=(12, 11, 9)), -900),
    ]
    for side in (-1, 1):
        parts += [
            (Ellipsoid(centre=(side * 38, 8, -44), axes=(27, 9, 10), turn_deg=side * 32), 1100),
            (Ellipsoid(centre=(side * 32, -62, -42), axes=(19, 26, 18)), FAT_HU),
            (Ellipsoid(centre=(side * 33, -76, -42), axes=(12.5, 12.5, 12.5)), 30),
            (Ellipsoid(centre=(side * 33, -77, -42), axes=(10.5, 10.5, 10.5)), 10),
            (Ellipsoid(centre=(side * 52, -42, -44), axes=(4, 22, 16), turn_deg=side * 14), 800),
        ]
    return parts


def _brain_tissue(grid: Grid, shape: HeadShape, rng: np.random.Generator, depth_mm: Field) -> tuple[Field, Field]:
    """White matter, cortex folded around sulci, deep grey nuclei and cisterns; returns HU and the CSF coverage."""
    x, y, z = grid.coordinates
    folds = np.abs(smooth_noise(grid, rng, wave_mm=30)) * np.float32(9)  # mm from the middle of the nearest sulcus
    above = z > -18 + np.float32(0.25) * np.abs(x)
    reach = np.clip(1 - depth_mm / np.float32(SULCUS_MM), 0, 1)
    half_width = np.float32(1.9 * shape.atrophy) * reach
    sulci = np.where(above, np.clip((half_width - folds) / 2 + np.float32(0.5), 0, 1) * np.minimum(reach * 3, 1), 0)
    sulci = np.maximum(sulci, np.clip(1 - depth_mm / np.float32(1 + shape.atrophy), 0, 1))
    fissure = np.where(above & (np.abs(y) > 34), np.clip(np.float32(1.6) - np.abs(x), 0, 1), 0)
    sulci = np.maximum(sulci, np.float32(0.8) * fissure).astype(np.float32)
    sulci = np.maximum(sulci, _coverage_of(_cisterns(shape.atrophy), grid) * np.float32(0.85))
    cortex_mm = np.minimum(depth_mm, np.where(reach > 0, folds + (1 - reach) * 6, 99))
    grey = np.clip(np.float32(CORTEX_MM + 0.8) - cortex_mm, 0, 1.5) / np.float32(1.5)
    grey = np.maximum(grey, _coverage_of(_nuclei(), grid))
    grey = np.maximum(grey, np.where(z < -18, np.float32(0.5), 0))
    tissue = np.float32(WHITE_HU) + np.float32(GREY_HU - WHITE_HU) * grey + smooth_noise(grid, rng, wave_mm=25)
    paint(tissue, sulci, CSF_HU)
    return tissue, sulci


def _paint_dense_normals(brain: Field, grid: Grid, shape: HeadShape, depth_mm: Field) -> None:
    """The falx, the tentorium, the venous sinuses at their level, and calcifications: bright, and harmless."""
    x, y, z = grid.coordinates
    falx = np.clip(np.float32(1.2) - np.abs(x), 0, 1) * (z > -5) * (np.abs(y) > 30)
    paint(brain, np.float32(0.8) * falx, 48)
    tent_mm = np.float32(1.5) - np.abs(z + 8 + np.float32(0.55) * np.abs(x))
    paint(brain, np.clip(tent_mm, 0, 1) * np.clip((y - 12) / 40, 0, np.float32(0.7)), 44)
    back = shape.half_axes_mm[1] - 1.3 * shape.skull_mm
    sinuses = [
        Ellipsoid(centre=(2, back - 4, -12), axes=(9, 6, 6)),
        Ellipsoid(centre=(0, back - 3, 22), axes=(4, 5, 30)),
        *(Ellipsoid(centre=(side * 34, back - 18, -20), axes=(26, 5, 5), turn_deg=side * -42) for side in (-1, 1)),
    ]
    for sinus in sinuses:
        box, coverage = sinus.coverage(grid)
        paint(brain[box], coverage * (depth_mm[box] > 0), shape.sinus_hu)
    for spot in shape.calcifications:
        box, coverage = spot.coverage(grid)
        paint(brain[box], coverage, 180)


def _ventricles(size: float) -> list[Ellipsoid]:
    """The ventricular system, ``size`` times the average in cross section."""
    parts = [
        Ellipsoid(centre=(0, 2, 2), axes=(2.2 * size, 13, 9)),
        Ellipsoid(centre=(0, 40, -36), axes=(6 * size, 5 * size, 8)),
    ]
    for side in (-1, 1):
        parts += [
            Ellipsoid(centre=(side * 9, -24, 13), axes=(4.5 * size, 15, 9), turn_deg=side * 16),
            Ellipsoid(centre=(side * 13, 4, 21), axes=(5.5 * size, 26, 7.5), turn_deg=side * -12),
            Ellipsoid(centre=(side * 22, 34, 10), axes=(6 * size, 16, 10), turn_deg=side * -14),
        ]
    return parts


def _cisterns(atrophy: float) -> list[Ellipsoid]:
    size = 0.75 + 0.35 * atrophy
    parts = [
        Ellipsoid(centre=(0, -8, -26), axes=(11 * size, 9, 5)),
        Ellipsoid(centre=(0, 30, -10), axes=(8 * size, 4, 5)),
    ]
    for side in (-1, 1):
        parts += [
            Ellipsoid(centre=(side * 46, -14, -2), axes=(13, 2.6 * size, 12), turn_deg=side * -24),
            Ellipsoid(centre=(side * 37, -2, 4), axes=(2.4 * size, 15, 9), turn_deg=side * 8),
        ]
    return parts


def _nuclei() -> list[Ellipsoid]:
    parts = []
    for side in (-1, 1):
        parts += [
            Ellipsoid(centre=(side * 25, -6, 5), axes=(6, 16, 10), turn_deg=side * 14),
            Ellipsoid(centre=(side * 11, 12, 5), axes=(8, 13, 9), turn_deg=side * -20),
            Ellipsoid(centre=(side * 13, -22, 10), axes=(5, 8, 9), turn_deg=side * 16),
        ]
    return parts


def _coverage_of(parts: list[Ellipsoid], grid: Grid) -> Field:
    total = np.zeros(grid.shape, dtype=np.float32)
    for part in parts:
        box, coverage = part.coverage(grid)
        np.maximum(total[box], coverage, out=total[box])
    return total
