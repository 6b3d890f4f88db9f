"""Pictures to hold an export against: those the run learnt from and was tuned on, and made-up ones."""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from seriatim.errors import ConfigError, SeriatimError
from seriatim.io import find_series, read_volume
from seriatim.io.tables.manifest import read_table
from seriatim.series import Series
from seriatim.trained import AnomalyModel, Model

logger = logging.getLogger(__name__)
SEED = 0
MOST_CALIBRATION_SERIES, CALIBRATION_SLICES = 64, 256
MOST_VALIDATION_SERIES = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Pictured:
    """A series of the run's manifest, prepared as (S,C,H,W), with its row."""

    series: Series
    slices: Tensor
    row: Mapping[str, str]


def gather_calibration(model: Model | AnomalyModel) -> tuple[Tensor, int]:
    """Slices (N,C,H,W) of the run's training series, spread evenly over up to 64 of them, and of how many they are.

    (0,C,H,W) and 0 where none can be read.
    """
    rows = _draw(_rows(model.path, "train"), MOST_CALIBRATION_SERIES)
    each = -(-CALIBRATION_SLICES // max(len(rows), 1))
    kept = [spread(one.slices, each) for one in _read_all(model, rows)]
    preprocessing = model.experiment.preprocessing
    none = torch.zeros(0, preprocessing.channels, *preprocessing.size)
    return torch.cat([none, *kept])[:CALIBRATION_SLICES], len(kept)


def read_validation(model: Model | AnomalyModel) -> Iterator[Pictured]:
    """Up to 100 series of the run's validation split, one after another; none where they cannot be read."""
    return _read_all(model, _draw(_rows(model.path, "val"), MOST_VALIDATION_SERIES))


def make_pictures(count: int, shape: tuple[int, int, int]) -> Tensor:
    """(N,C,H,W) in [0,1]: smooth shapes with fine noise, cut off at black and white, as windowed slices are."""
    generator = torch.Generator().manual_seed(SEED)
    channels, rows, columns = shape
    coarse = torch.rand(count, channels, 6, 6, generator=generator) * 1.8 - 0.5
    smooth = functional.interpolate(coarse, (rows, columns), mode="bicubic", align_corners=False)
    return (smooth + 0.03 * torch.randn(smooth.shape, generator=generator)).clamp(0, 1)


def _rows(run: Path, split: str) -> list[dict[str, str]]:
    try:
        return [row for row in read_table(run / "manifest.csv") if row["split"] == split and row["status"] == "used"]
    except (ConfigError, KeyError):
        return []


def _draw(rows: list[dict[str, str]], most: int) -> list[dict[str, str]]:
    """At most so many rows, the same ones each time."""
    return rows if len(rows) <= most else random.Random(SEED).sample(rows, most)  # noqa: S311 - not for secrets


def spread(slices: Tensor, count: int) -> Tensor:
    """At most ``count`` of the slices (N,C,H,W), evenly from the first to the last."""
    return slices[torch.linspace(0, len(slices) - 1, min(count, len(slices))).round().long()]


def _read_all(model: Model | AnomalyModel, rows: list[dict[str, str]]) -> Iterator[Pictured]:
    data = model.experiment.data
    for row in rows:
        try:
            found = find_series(row["path"], data.findings, sequence=data.sequence, limits=model.limits).series
            series = next(
                one for one in found if one.series_uid == row["series_uid"] and one.volume == row.get("volume", "")
            )
            yield Pictured(series=series, slices=model.prepare(read_volume(series, limits=model.limits)), row=row)
        except (SeriatimError, StopIteration) as error:
            logger.info("a series of the manifest is left out of the export's checks: %s", type(error).__name__)
