"""Synthetic head CT series in HU, about half of them with a bleed on known slices."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from seriatim.io.write import CtSlices, Identity, make_uid, write_ct_series
from seriatim.synth.anatomy import Head, draw_head_shape, paint_head
from seriatim.synth.bleeds import SUBTYPES, draw_bleed
from seriatim.synth.grid import Field, Grid
from seriatim.synth.truth import Row, is_positive, make_generator, patient_of, split_of

KIND = "head-ct"
SAMPLES_PER_SLICE = 2
MIN_SLICES, MAX_SLICES = 2, 8
MIN_AREA_MM2 = 100.0
SECOND_SUBTYPE_CHANCE = 0.2
"""A second subtype lies on the slices of the first, so that the bleeding slices of a series stay contiguous."""
DRAWS = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadCt:
    """One series in anatomical order: HU (S,H,W), its grid, and per subtype which slices (S,) bleed."""

    values_hu: NDArray[np.int16]
    grid: Grid
    bleeds: dict[str, NDArray[np.bool_]]

    @property
    def bleeding(self) -> NDArray[np.bool_]:
        """(S,) True where any bleed is."""
        none = np.zeros(len(self.values_hu), dtype=bool)
        return np.asarray(np.any([none, *self.bleeds.values()], axis=0))


def make_head_ct(seed: int, index: int, *, size: int = 128, healthy: bool = False) -> HeadCt:
    """Make series ``index`` of a seed: ``size`` x ``size`` pixels, slices from the base to the vertex.

    ``healthy``: the same head in the same scan before it bled; what differs is the bleed.
    """
    patient = patient_of(index)
    shape = draw_head_shape(make_generator(seed, KIND, "head", patient))
    grid = _draw_grid(make_generator(seed, KIND, "pose", index), size)
    head = paint_head(grid, shape, make_generator(seed, KIND, "folds", patient))
    rng = make_generator(seed, KIND, "bleed", index)
    bleeds: dict[str, NDArray[np.bool_]] = {}
    for subtype in () if healthy else draw_subtypes(seed, patient):
        allowed = next(iter(bleeds.values()), np.ones(grid.shape[0] // SAMPLES_PER_SLICE, dtype=bool))
        truth = _add_bleed(subtype, grid, head, rng, allowed=allowed)
        if truth.any():
            bleeds[subtype] = truth
    values = _average_samples(head.values_hu)
    values = _add_scanner(values, grid, make_generator(seed, KIND, "noise", index))
    return HeadCt(values_hu=np.rint(values).astype(np.int16), grid=grid, bleeds=bleeds)


def draw_subtypes(seed: int, patient: int) -> list[str]:
    """The subtypes of bleed that a patient has: none, one, and sometimes two."""
    if not is_positive(seed, KIND, patient):
        return []
    block, place = divmod(patient // 2, len(SUBTYPES))
    first = SUBTYPES[make_generator(seed, KIND, "subtypes", block).permutation(len(SUBTYPES))[place]]
    rng = make_generator(seed, KIND, "second subtype", patient)
    others = [name for name in SUBTYPES if name != first]
    return [first, str(rng.choice(others))] if rng.random() < SECOND_SUBTYPE_CHANCE else [first]


def write_head_ct(folder: Path, index: int, *, seed: int, size: int = 128) -> tuple[Row, list[Row]]:
    """Write series ``index`` below ``folder``; returns its row of labels.csv and its rows of slices.csv."""
    series = make_head_ct(seed, index, size=size)
    patient = patient_of(index)
    identity = Identity(
        patient=f"SYN-{patient + 1:04d}",
        study_uid=make_uid("seriatim", KIND, seed, "study", index),
        series_uid=make_uid("seriatim", KIND, seed, "series", index),
        description="synthetic head CT",
    )
    path = f"series/{index:04d}"
    slices = _name_slices(series, seed, index)
    write_ct_series(folder / path, slices, identity=identity)
    label: Row = {
        "path": path, "patient": identity.patient, "study_uid": identity.study_uid, "series_uid": identity.series_uid,
        "bleed": bool(series.bleeds), **{name: name in series.bleeds for name in SUBTYPES}, "split": split_of(patient),
    }
    return label, _slice_rows(series, slices, identity)


def _draw_grid(rng: np.random.Generator, size: int) -> Grid:
    """Draw the scan: field of view, slice spacing and count, and how the head lies in the scanner."""
    spacing = rng.uniform(220, 250) / size
    step = rng.uniform(4.6, 5.6)
    lowest, highest = rng.uniform(-60, -48), rng.uniform(84, 92)
    count = int(np.clip(round((highest - lowest) / step), 20, 32))
    centre = np.array([*rng.uniform(-8, 8, size=2), rng.uniform(-400, 400)])
    fine = step / SAMPLES_PER_SLICE
    corner = -(size - 1) / 2 * spacing
    return Grid(
        shape=(count * SAMPLES_PER_SLICE, size, size),
        origin_mm=np.array([corner, corner, centre[2] + lowest]).round(4),
        spacing_mm=np.array([spacing, spacing, fine]).round(4),
        rotation=_rotation(*np.radians([rng.normal(0, 4), rng.normal(0, 3), rng.normal(0, 5)])),
        centre_mm=centre,
    )


def _rotation(pitch: float, roll: float, yaw: float) -> NDArray[np.float64]:
    """Rotation about the left-right, then the front-back, then the long axis; angles in radians."""
    (cp, cr, cy), (sp, sr, sy) = np.cos([pitch, roll, yaw]), np.sin([pitch, roll, yaw])
    about_x = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    about_y = np.array([[cr, 0, sr], [0, 1, 0], [-sr, 0, cr]])
    about_z = np.array([[cy, -sy, 0], [sy, cy, 0], [0, 0, 1]])
    return np.asarray(about_z @ about_y @ about_x)


def _add_bleed(
    subtype: str, grid: Grid, head: Head, rng: np.random.Generator, *, allowed: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Paint one bleed into the head, on 2 to 8 contiguous slices among those allowed (S,); returns which (S,)."""
    pixel_mm2 = float(grid.spacing_mm[0] * grid.spacing_mm[1])
    longest = int(rng.integers(4, MAX_SLICES + 1))
    best, truth = np.zeros(grid.shape, dtype=np.float32), np.zeros_like(allowed)
    for _ in range(DRAWS):
        coverage = draw_bleed(subtype, grid, head, rng)
        area_mm2 = (_average_samples(coverage) > 0.4).sum(axis=(1, 2)) * pixel_mm2
        run = _longest_run((area_mm2 >= MIN_AREA_MM2) & allowed, area_mm2, longest)
        best, truth = (coverage, run) if run.sum() > truth.sum() else (best, truth)
        if truth.sum() >= MIN_SLICES:
            break
    best *= np.repeat(truth, SAMPLES_PER_SLICE)[:, None, None]  # a sliver outside the run would make the truth unclear
    blood = best * np.maximum(np.float32(rng.uniform(65, 75)) - head.brain_hu, 0)  # a calcification stays in sight
    head.brain_hu[...] += blood
    head.values_hu[...] += blood * grid.soft(head.depth_mm)  # what bone takes of a voxel at the edge stays bone
    return truth


def _longest_run(present: NDArray[np.bool_], area_mm2: NDArray[np.float64], longest: int) -> NDArray[np.bool_]:
    """The longest contiguous run of slices, at most ``longest`` of it, those of the largest area."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], present, [False]]).astype(np.int8)))
    run = np.zeros_like(present)
    if not len(edges):
        return run
    start, stop = max(zip(edges[::2], edges[1::2], strict=True), key=lambda pair: pair[1] - pair[0])
    if stop - start > longest:
        start += int(np.argmax(np.convolve(area_mm2[start:stop], np.ones(longest), mode="valid")))
        stop = start + longest
    run[start:stop] = True
    return run


def _average_samples(values: Field) -> Field:
    """The mean over the samples of each slice: the partial volume effect of a thick slice."""
    return np.asarray(values.reshape(-1, SAMPLES_PER_SLICE, *values.shape[1:]).mean(axis=1))


def _add_scanner(values: Field, grid: Grid, rng: np.random.Generator) -> Field:
    """Add what the scanner adds: the head rest, and correlated noise that is stronger inside the skull."""
    x, y = (grid.axis(axis).astype(np.float32) - np.float32(grid.centre_mm[axis]) for axis in (0, 1))
    rest_mm = y[:, None] - np.float32(rng.uniform(112, 118)) + x[None, :] ** 2 / np.float32(240)
    shell = np.clip(1 - np.abs(rest_mm) / 2, 0, 1) * (np.abs(x) < 85)
    values = np.maximum(values, np.where(shell > 0, -1000 + 850 * shell, -1024)[None])
    noise = rng.standard_normal(values.shape, dtype=np.float32)
    for axis in (1, 2):
        noise = noise + np.float32(0.6) * (np.roll(noise, 1, axis) + np.roll(noise, -1, axis))
    noise *= np.float32(rng.uniform(2.0, 3.5) / (1 + 2 * 0.6**2))
    inside = np.where(values > -900, np.float32(1), np.float32(0.4))
    return np.asarray(np.maximum(values + noise * inside, -1024), dtype=np.float32)


def _name_slices(series: HeadCt, seed: int, index: int) -> CtSlices:
    """Give the slices positions, and file names and instance numbers that say nothing about their order."""
    grid, count = series.grid, len(series.values_hu)
    rng = make_generator(seed, KIND, "names", index)
    step = grid.spacing_mm[2] * SAMPLES_PER_SLICE
    heights = grid.origin_mm[2] + (SAMPLES_PER_SLICE - 1) / 2 * grid.spacing_mm[2] + np.arange(count) * step
    return CtSlices(
        values_hu=series.values_hu,
        positions_mm=np.column_stack([np.tile(grid.origin_mm[:2], (count, 1)), heights.round(4)]),
        spacing_mm=(float(grid.spacing_mm[1]), float(grid.spacing_mm[0])),
        thickness_mm=float(step),
        names=[f"IM{number:04d}.dcm" for number in rng.permutation(count) + 1],
        numbers=[int(number) for number in rng.permutation(count) + 1],
        sop_instance_uids=[make_uid("seriatim", KIND, seed, "slice", index, number) for number in range(count)],
    )


def _slice_rows(series: HeadCt, slices: CtSlices, identity: Identity) -> list[Row]:
    none = np.zeros(len(series.values_hu), dtype=bool)
    columns = {"bleed": series.bleeding, **{name: series.bleeds.get(name, none) for name in SUBTYPES}}
    return [
        {
            "series_uid": identity.series_uid, "sop_instance_uid": uid, "index": number,
            "position_mm": f"{slices.positions_mm[number, 2]:.4f}",
            **{name: bool(values[number]) for name, values in columns.items()},
        }
        for number, uid in enumerate(slices.sop_instance_uids)
    ]
