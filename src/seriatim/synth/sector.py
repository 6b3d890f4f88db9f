"""A beating chamber as a sector scanner shows it: speckle that moves with the tissue, bright walls, log compression.

Speckle is the envelope of a smoothed complex random field (Rayleigh distributed, Burckhardt 1978). It is fixed to the
tissue, so it moves with the wall from frame to frame, as real speckle does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Plane: TypeAlias = NDArray[np.floating[Any]]
TEXTURE = 320
DYNAMIC_RANGE_DB = 48.0
APEX = -0.06
"""Height of the probe above the first row; lengths are in depths of the image (its rows are 1)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What stays the same over a clip. ``centre`` and ``axes`` of the relaxed chamber are (x, y) in image depths."""

    size: int
    half_angle_deg: float
    centre: tuple[float, float]
    axes: tuple[float, float]
    turn_deg: float
    wall: float
    """Thickness of the wall relative to the radius of the chamber."""
    gain: float
    speckle: tuple[Plane, Plane]
    backdrop: Plane


def draw_view(rng: np.random.Generator, size: int) -> View:
    """Draw a patient and how the probe is held."""
    axes = (rng.uniform(0.13, 0.19), rng.uniform(0.16, 0.23))
    return View(
        size=size,
        half_angle_deg=rng.uniform(33, 41),
        centre=(rng.uniform(-0.06, 0.06), rng.uniform(0.48, 0.58)),
        axes=axes,
        turn_deg=rng.uniform(-30, 30),
        wall=rng.uniform(0.35, 0.55),
        gain=rng.uniform(0.8, 1.3),
        speckle=(_draw_texture(rng, 1, 2), _draw_texture(rng, 1, 2)),
        backdrop=(0.35 + 0.65 * _draw_texture(rng, 4, 5)),
    )


def render_frame(view: View, contraction: float, *, drift: tuple[float, float], shift: int) -> Plane:
    """One frame as echo amplitude (H,W) before compression, 0 outside the sector.

    ``contraction`` is 0 to 1; ``drift`` moves the scene (x, y); ``shift`` tells the frame's own speckle from others'.
    """
    x, y = _pixel_positions(view.size)
    u, v = x - view.centre[0] - drift[0], y - view.centre[1] - drift[1]
    cos, sin = np.cos(np.radians(view.turn_deg)), np.sin(np.radians(view.turn_deg))
    along, across = (cos * u + sin * v) / view.axes[0], (cos * v - sin * u) / view.axes[1]
    radius = np.sqrt(along**2 + across**2) + 1e-6
    shrink = 1 - 0.30 * contraction
    stretch = 1 + (1 / shrink - 1) * np.exp(-1.6 * np.maximum(radius - shrink, 0))
    beam = np.hypot(u, v) * np.hypot(x, y - APEX)
    facing = np.abs(u * x + v * (y - APEX)) / (beam + 1e-6)  # a wall across the beam reflects, one along it drops out
    echo = _echo_of(radius * stretch, facing, view, contraction)
    own = _look_up(np.roll(view.speckle[1], 37 * shift), x, y)
    envelope = 0.82 * _look_up(view.speckle[0], u * stretch, v * stretch) + 0.18 * own
    amplitude = echo * envelope * _look_up(view.backdrop, u * stretch, v * stretch) * view.gain
    return np.asarray(amplitude * np.exp(-0.5 * y) * sector_mask(view))


def _echo_of(depth: Plane, facing: Plane, view: View, contraction: float) -> Plane:
    """Mean echo amplitude from the material radius, which is 1 on the inner border of the wall."""
    outside = 1 + view.wall
    thick = 1 + 0.25 * contraction
    wall = np.clip((depth - 1) * 12 + 0.5, 0, 1)
    echo = 0.018 + 0.10 * wall * thick
    echo = echo - 0.03 * np.clip((depth - outside) * 10 + 0.5, 0, 1)
    mirror = 0.15 + 0.85 * facing**2
    inner, outer = np.exp(-(((depth - 1.03) / 0.06) ** 2)), np.exp(-(((depth - outside) / 0.07) ** 2))
    return np.asarray(echo + mirror * (0.5 * inner + 0.9 * outer))


def compress(amplitude: Plane) -> NDArray[np.uint8]:
    """Echo amplitude to grey, 48 dB shown on 256 levels; 0 stays 0."""
    level_db = 20 * np.log10(np.maximum(amplitude, 1e-6)) + DYNAMIC_RANGE_DB - 4
    return np.asarray(np.clip(level_db / DYNAMIC_RANGE_DB * 255, 0, 255).astype(np.uint8))


def sector_mask(view: View) -> Plane:
    """1 inside the field of view, 0 outside (H,W)."""
    x, y = _pixel_positions(view.size)
    distance = np.hypot(x, y - APEX)
    inside = (np.abs(beam_angles_deg(view)) < view.half_angle_deg) & (distance > 0.09) & (distance < 0.97 - APEX)
    return np.asarray(inside, dtype=np.float32)


def beam_angles_deg(view: View) -> Plane:
    """The angle of the beam through every pixel (H,W), 0 straight down."""
    x, y = _pixel_positions(view.size)
    return np.asarray(np.degrees(np.arctan2(x, y - APEX)))


def _pixel_positions(size: int) -> tuple[Plane, Plane]:
    steps = np.arange(size, dtype=np.float32)
    x = (steps - np.float32((size - 1) / 2)) * np.float32(1.12 / size)
    return x[None, :], (steps * np.float32(1 / size))[:, None]


def _draw_texture(rng: np.random.Generator, down: int, across: int) -> Plane:
    """The envelope of complex noise, mean 1, smoothed ``down`` and ``across`` times, each time twice as widely."""
    parts = rng.standard_normal((2, TEXTURE, TEXTURE), dtype=np.float32)
    for axis, times in ((1, down), (2, across)):
        for step in (2**n for n in range(times)):
            parts = np.roll(parts, step, axis) + 2 * parts + np.roll(parts, -step, axis)
    envelope = np.hypot(parts[0], parts[1])
    return np.asarray(envelope / envelope.mean())


def _look_up(texture: Plane, x: Plane, y: Plane) -> Plane:
    """Bilinear sample of a periodic texture whose pixels are 1/160 of an image depth."""
    column, row = np.broadcast_arrays(x * np.float32(160), y * np.float32(160))
    left, top = np.floor(column).astype(int), np.floor(row).astype(int)
    fx, fy = column - left, row - top
    left, top = left % TEXTURE, top % TEXTURE
    right, bottom = (left + 1) % TEXTURE, (top + 1) % TEXTURE
    upper = texture[top, left] * (1 - fx) + texture[top, right] * fx
    lower = texture[bottom, left] * (1 - fx) + texture[bottom, right] * fx
    return np.asarray(upper * (1 - fy) + lower * fy)
