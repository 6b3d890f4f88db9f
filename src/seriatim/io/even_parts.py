"""An unevenly spaced volume as its evenly spaced parts: one affine is true for each part, for the whole none is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from seriatim.series.geometry import spacing_of
from seriatim.series.series import Series, Volume
from seriatim.series.spacing import find_runs, is_even


def split_even(volume: Volume) -> list[Volume]:
    """The volume itself where its slices are even (or have no place in space), else its evenly spaced parts.

    Every slice is in exactly one part. A part's affine is exact; ``series.volume`` says which part it is.
    """
    if volume.affine is None or is_even(volume.positions):
        return [volume]
    ranges = _ranges(volume.positions)
    return [_part(volume, *ends, name=f"part {index + 1} of {len(ranges)}") for index, ends in enumerate(ranges)]


def _ranges(positions: np.ndarray) -> list[tuple[int, int]]:
    """Half-open ranges of slices: the longest even runs first, then what lies between them."""
    steps = np.diff(positions)
    free = np.ones(len(positions), dtype=bool)
    taken = []
    for start, stop in sorted(find_runs(steps), key=lambda run: run[0] - run[1]):
        first, last = start, stop + 1
        while first < last and not free[first]:
            first += 1
        while last > first and not free[last - 1]:
            last -= 1
        if last > first and free[first:last].all():
            free[first:last] = False
            taken.append((first, last))
    return sorted(taken)


def _part(volume: Volume, start: int, stop: int, *, name: str) -> Volume:
    series, affine = volume.series, np.array(volume.affine)
    normal_step = float(volume.positions[stop - 1] - volume.positions[start]) / max(stop - start - 1, 1)
    whole_step = float(volume.positions[-1] - volume.positions[0]) / (len(volume.positions) - 1)
    direction = affine[:3, 2] / whole_step  # mm in the world per mm along the normal, shear kept
    affine[:3, 3] += direction * float(volume.positions[start] - volume.positions[0])
    affine[:3, 2] = direction * (normal_step if stop - start > 1 else 1.0)
    kept = tuple(finding for finding in series.findings if finding.code != "UNEVEN_SPACING")
    label = f"{series.volume}, {name}" if series.volume else name
    part: Series = replace(series, instances=series.instances[start:stop], affine=affine, spacing_mm=spacing_of(affine),
                           volume=label, findings=kept)
    return replace(volume, array=volume.array[start:stop], affine=affine, positions=volume.positions[start:stop],
                   series=part, padding=None if volume.padding is None else volume.padding[start:stop])
