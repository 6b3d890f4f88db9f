"""Synthetic but valid data with known truth, for demonstrations and tests."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from seriatim.errors import ConfigError
from seriatim.synth.head_ct import write_head_ct
from seriatim.synth.truth import Row, prepare_folder, write_table

WRITERS: Mapping[str, Callable[..., tuple[Row, list[Row]]]] = {"head-ct": write_head_ct}
KINDS = tuple(WRITERS)
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What was written: counts of series, patients, series with the finding, and slices with it."""

    series: int
    patients: int
    positive: int
    slices: int
    positive_slices: int


def synthesize(kind: str, folder: Path, *, count: int, seed: int = 0, size: int = 128, force: bool = False) -> Summary:
    """Write ``count`` series of a kind with their truth: ``labels.csv`` (per series) and ``slices.csv`` (per slice).

    The same seed gives the same bytes, and series ``i`` is the same for every ``count``.

    Raises:
        ConfigError: ``kind`` is not one of ``KINDS``, or a number is out of range.
        OutputError: ``folder`` is not empty and ``force`` is off.
    """
    if kind not in WRITERS:
        raise ConfigError(f"{kind!r} is not a kind of synthetic data. Legal kinds: {', '.join(KINDS)}.")
    if not 1 <= count <= 9999 or seed < 0:
        raise ConfigError(f"count {count} must be 1 to 9999 and seed {seed} must not be negative.")
    if not 32 <= size <= 512 or size % 2:
        raise ConfigError(f"size {size} must be an even number of pixels from 32 to 512, for example 128.")
    prepare_folder(folder, force=force)
    write = partial(WRITERS[kind], folder, seed=seed, size=size)
    labels, slices = [], []
    for index in range(count):
        label, rows = write(index)
        labels.append(label)
        slices.extend(rows)
    write_table(folder / "labels.csv", labels)
    write_table(folder / "slices.csv", slices)
    return _summarize(labels, slices)


def _summarize(labels: list[Row], slices: list[Row]) -> Summary:
    return Summary(
        series=len(labels),
        patients=len({label["patient"] for label in labels}),
        positive=sum(bool(label.get("bleed", label.get("arrhythmia"))) for label in labels),
        slices=len(slices),
        positive_slices=sum(bool(row.get("bleed", row.get("abnormal"))) for row in slices),
    )
