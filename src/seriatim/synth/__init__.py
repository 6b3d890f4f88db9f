"""Synthetic but valid data with known truth, for demonstrations and tests."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from seriatim.errors import ConfigError
from seriatim.synth import head_ct, ultrasound
from seriatim.synth.truth import Row, prepare_folder, write_table


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind of synthetic data: what writes a series, and which columns of its tables say that it has a finding."""

    write: Callable[..., tuple[Row, list[Row]]]
    label_column: str
    slice_column: str


KINDS: Mapping[str, Kind] = {
    head_ct.KIND: Kind(write=head_ct.write_head_ct, label_column="bleed", slice_column="bleed"),
    ultrasound.KIND: Kind(write=ultrasound.write_clip, label_column="arrhythmia", slice_column="abnormal"),
}


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
    if kind not in KINDS:
        raise ConfigError(f"{kind!r} is not a kind of synthetic data. Legal kinds: {', '.join(KINDS)}.")
    if not 1 <= count <= 9999 or seed < 0:
        raise ConfigError(f"count {count} must be 1 to 9999 and seed {seed} must not be negative.")
    if not 32 <= size <= 512 or size % 2:
        raise ConfigError(f"size {size} must be an even number of pixels from 32 to 512, for example 128.")
    prepare_folder(folder, force=force)
    write = partial(KINDS[kind].write, folder, seed=seed, size=size)
    labels, slices = [], []
    for index in range(count):
        label, rows = write(index)
        labels.append(label)
        slices.extend(rows)
    write_table(folder / "labels.csv", labels)
    write_table(folder / "slices.csv", slices)
    return _summarize(KINDS[kind], labels, slices)


def _summarize(kind: Kind, labels: list[Row], slices: list[Row]) -> Summary:
    return Summary(
        series=len(labels),
        patients=len({label["patient"] for label in labels}),
        positive=sum(bool(label[kind.label_column]) for label in labels),
        slices=len(slices),
        positive_slices=sum(bool(row[kind.slice_column]) for row in slices),
    )
