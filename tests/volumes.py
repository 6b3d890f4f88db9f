"""Random volumes and settings, for tests that hold two ways of preparing against each other."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from seriatim.series import Instance, Series, Volume
from seriatim.transforms import CTSettings, IntensitySettings, PreprocessingSettings

KINDS = (np.uint8, np.int16, np.int32, np.float32)


def draw_volume(case: int, *, slices: int | None = None) -> Volume:
    """A random volume: kind of number, length, orientation, colour, padding and polarity."""
    rng = np.random.default_rng(case)
    kind, colour = KINDS[case % 4], case % 8 == 4
    shape = (slices or int(rng.integers(1, 30)), 30, 40, *((3,) if colour else ()))
    low, high = (0, 256) if kind is np.uint8 else (-1100, 3000)
    affine = np.diag([*rng.choice([-1.0, 1.0], 2), 1.0, 1.0])
    instances = tuple(Instance(path=Path("x"), sop_instance_uid=str(place), frame=None, position=float(place))
                      for place in range(shape[0]))
    series = Series(study_uid="1", series_uid="2", modality="CT", axis="space", format="dicom", path=Path("x"),
                    instances=instances, rows=30, columns=40, affine=affine, spacing_mm=(1.0, 1.0, 1.0))
    padding = np.tile([float(low), low + 40.0], (shape[0], 1)) if case % 3 == 1 else None
    return Volume(array=rng.integers(low, high, shape).astype(kind), affine=affine, positions=series.positions,
                  series=series, inverted=case % 5 == 2, padding=padding)


def draw_settings(case: int) -> PreprocessingSettings:
    if case % 2:
        return CTSettings(size=24, windows_hu=((40, 80), (600, 2800)), neighbours=case % 3)
    return IntensitySettings(size=24, colour=("grey", "rgb")[case // 2 % 2], neighbours=case % 3)
