"""The five kinds of intracranial bleed of a head CT, as soft coverage fields (Z,Y,X) on a painted head.

Shapes follow how radiology tells them apart: an epidural is a lens on the skull, a subdural a crescent, an
intraparenchymal a lobed ball in the brain, an intraventricular fills ventricles, a subarachnoid fills sulci.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from seriatim.synth.anatomy import Head
from seriatim.synth.grid import Field, Grid, smooth_noise

BRAIN_MM = 3.0
"""An intraparenchymal bleed keeps this far from the skull: the cortex and its coverings stay between."""


def draw_bleed(subtype: str, grid: Grid, head: Head, rng: np.random.Generator) -> Field:
    """Draw the place and size of one bleed of a subtype and return how much of each voxel it covers, 0 to 1."""
    return _SHAPES[subtype](grid, head, rng) * (head.depth_mm > -0.5 * grid.edge_mm)


def _epidural(grid: Grid, head: Head, rng: np.random.Generator) -> Field:
    direction = _sideways(rng)
    thickness, radius = rng.uniform(14, 25), rng.uniform(32, 48)
    surface = _inner_table(grid, head, direction)
    centre = direction * (surface + radius - thickness)
    x, y, z = (coordinate - np.float32(middle) for coordinate, middle in zip(grid.coordinates, centre, strict=True))
    lens_mm = np.float32(radius) - np.sqrt(x * x + y * y + z * z)
    return grid.soft(np.minimum(lens_mm, head.depth_mm))


def _subdural(grid: Grid, head: Head, rng: np.random.Generator) -> Field:
    x, y, z = grid.coordinates
    side, heading, level = rng.choice((-1, 1)), rng.uniform(-35, 35), rng.uniform(5, 45)
    half_angle, half_height = rng.uniform(55, 85), rng.uniform(10, 22)
    angle = np.degrees(np.arctan2(y, x * np.float32(side))) - np.float32(heading)
    taper = 1 - (angle / np.float32(half_angle)) ** 2 - ((z - np.float32(level)) / np.float32(half_height)) ** 2
    thickness_mm = np.float32(rng.uniform(10, 16)) * np.sqrt(np.clip(taper, 0, 1))
    one_side = grid.soft(x * np.float32(side) - 2)
    return grid.soft(np.minimum(thickness_mm - head.depth_mm, thickness_mm - 1)) * one_side


def _intraparenchymal(grid: Grid, head: Head, rng: np.random.Generator) -> Field:
    side = rng.choice((-1, 1))
    centre = np.array([side * rng.uniform(16, 38), rng.uniform(-48, 50), rng.uniform(-2, 42)])
    axes = rng.uniform(12, 22, size=3)
    lobes = smooth_noise(grid, rng, wave_mm=22)
    scaled = [
        (coordinate - np.float32(middle)) / np.float32(axis)
        for coordinate, middle, axis in zip(grid.coordinates, centre, axes, strict=True)
    ]
    radius = np.sqrt(sum(part * part for part in scaled)) + np.float32(0.12) * lobes
    ball_mm = (1 - radius) * np.float32(axes.min())
    return grid.soft(np.minimum(ball_mm, head.depth_mm - np.float32(BRAIN_MM)))


def _intraventricular(grid: Grid, head: Head, rng: np.random.Generator) -> Field:
    x, y, _ = grid.coordinates
    sides = rng.choice(("left", "right", "both"))
    cut = {"left": 4 + x, "right": 4 - x, "both": np.full_like(x, 9)}[str(sides)]
    fluid_level_mm = np.float32(rng.uniform(-40, -5)) - y
    return head.ventricles * grid.soft(np.minimum(cut, -fluid_level_mm))


def _subarachnoid(grid: Grid, head: Head, rng: np.random.Generator) -> Field:
    direction = _sideways(rng)
    reach_mm = rng.uniform(54, 70)
    surface = _inner_table(grid, head, direction) - 8
    centre = direction * surface
    x, y, z = (coordinate - np.float32(middle) for coordinate, middle in zip(grid.coordinates, centre, strict=True))
    near_mm = np.float32(reach_mm) - np.sqrt(x * x + y * y + (2 * z) ** 2)
    return np.asarray(np.minimum(1, head.sulci * np.float32(2)) * grid.soft(near_mm / 4))


def _sideways(rng: np.random.Generator) -> NDArray[np.float64]:
    """A direction from the middle of the head to the convexity of one side."""
    angle, rise = np.radians(rng.uniform(-50, 50)), np.radians(rng.uniform(0, 40))
    side = rng.choice((-1, 1))
    return np.array([side * np.cos(angle) * np.cos(rise), np.sin(angle) * np.cos(rise), np.sin(rise)])


def _inner_table(grid: Grid, head: Head, direction: NDArray[np.float64]) -> float:
    """Distance in mm from the head's origin to the inner table of the skull along a direction."""
    x, y, z = grid.coordinates
    a, b, c = direction.astype(np.float32)
    along, total = a * x + b * y + c * z, x * x + y * y + z * z
    narrow = (along > 0) & (along**2 > np.float32(0.995) * total) & (head.depth_mm > 0)
    return float(np.sqrt(total[narrow].max())) if narrow.any() else 60.0


_SHAPES: Mapping[str, Callable[[Grid, Head, np.random.Generator], Field]] = {
    "epidural": _epidural,
    "subdural": _subdural,
    "intraparenchymal": _intraparenchymal,
    "intraventricular": _intraventricular,
    "subarachnoid": _subarachnoid,
}
SUBTYPES = tuple(_SHAPES)
