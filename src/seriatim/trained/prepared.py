"""A series between reading and the network: on the network's grid, and measured."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from seriatim.series import Volume
from seriatim.trained.intensity import measure_intensity
from seriatim.trained.stored import StoredSeries
from seriatim.transforms import PreprocessingSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedSeries:
    """What ``prepare`` of its preprocessing gives, and the ``measure_intensity`` of it.

    It acts as the slices (S,C,H,W) in [0,1] that the network sees: ``series[a:b]`` makes some of them, a small part of
    the memory of all.
    """

    preprocessing: PreprocessingSettings
    prepared: Tensor
    intensity: tuple[float, ...]

    def __len__(self) -> int:
        return len(self.prepared) // self.preprocessing.planes

    def __getitem__(self, part: slice) -> Tensor:
        return self.preprocessing.finish(self.prepared, part)


def prepare_series(
    volume: Volume, preprocessing: PreprocessingSettings, *, card: str = ""
) -> PreparedSeries | StoredSeries:
    """Bring a volume on the grid of a preprocessing, or let a CUDA ``card`` do so when slices are asked for.

    Raises InputError as ``prepare`` does.
    """
    if card:
        return StoredSeries(volume, preprocessing, device=card)
    prepared = preprocessing.prepare(volume)
    return PreparedSeries(preprocessing=preprocessing, prepared=prepared, intensity=measure_intensity(prepared))
