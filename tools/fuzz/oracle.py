"""The judge: what came out of a damaged folder against what its whole files hold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tools.fuzz.both_ways import compare_pixels, compare_planes
from tools.fuzz.undetectable import why_undetectable

from seriatim.errors import SeriatimError
from seriatim.io.discover import find_series
from seriatim.io.isolation.limits import Limits
from seriatim.io.read import read_volume
from seriatim.series.series import Series, Volume

IN_SILENCE = "changed in silence"
TOLERATED_PIXELS, TOLERATED_STEP = 0.3, 0.1
"""In-plane shift, and distance from a regular grid, below which docs/findings.md promises no finding."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What one reading of a folder gave: ``told`` counts findings, refusals and reasons of files left out."""

    volumes: list[Volume] = field(default_factory=list)
    told: Counter[str] = field(default_factory=Counter)

    @property
    def codes(self) -> set[str]:
        """The codes of the findings of volumes that are read."""
        return {code for volume in self.volumes for code in _own_codes(volume.series)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """``name`` right, refused, noted, told elsewhere, undetectable or FAIL; ``detail`` why."""

    name: str
    detail: str = ""


def read_outcome(folder: Path, limits: Limits | None = None) -> Outcome:
    """Read all that is usable; errors of this package are refusals, all others are the caller's.

    Raises:
        DisagreeError: the quick and the slow ways of reading DICOM differ (only without limits, as these are the same).
    """
    if limits is None:
        compare_planes(folder)
    inventory = find_series(folder, limits=limits)
    volumes = []
    told = Counter(skipped.reason for skipped in inventory.skipped)
    for series in inventory.series:
        told.update(finding.code.value for finding in series.findings)
        if not series.usable:
            told["a series is refused"] += 1
            continue
        try:
            volumes.append(read_volume(series, limits=limits))
        except SeriatimError:
            told["pixels are refused"] += 1
    if limits is None:
        compare_pixels(volumes)
    return Outcome(volumes=volumes, told=told)


def judge(truth: Outcome, outcome: Outcome, case: str, parts: set[str]) -> Verdict:
    """Compare with the reading of the whole files; ``parts`` are what the mutation touched."""
    lost = list(truth.volumes)
    changed: list[Volume] = []
    for volume in outcome.volumes:
        same = next((one for one in (*lost, *truth.volumes) if not differences(one, volume)), None)
        if same is None:
            changed.append(volume)
        else:  # a copy of a whole file is a series as right as the first
            lost = [one for one in lost if one is not same]
    told = bool(outcome.told - truth.told)
    if not changed:
        return _judge_lost(lost, told=told, reason=why_undetectable(case, parts, frozenset({"lost"})))
    what = frozenset(part for volume in changed for part in _nearest(lost or truth.volumes, volume))
    if all(_own_codes(volume.series) - truth.codes for volume in changed):
        return Verdict(name="noted", detail=", ".join(sorted(what)))
    if told:
        return Verdict(name="told elsewhere", detail=", ".join(sorted(what)))
    if reason := why_undetectable(case, parts, what):
        return Verdict(name="undetectable", detail=reason)
    return Verdict(name="FAIL", detail=f"{IN_SILENCE}: {', '.join(sorted(what))}")


def differences(truth: Volume, volume: Volume) -> frozenset[str]:
    """What differs: shape, pixels, affine, positions, polarity, modality."""
    found = set()
    if truth.array.shape[:3] != volume.array.shape[:3]:
        return frozenset({"shape"})
    if not np.array_equal(truth.array, volume.array):  # also where grey became colour
        found.add("pixels")
    if not _same_affine(truth, volume):
        found.add("affine")
    if not _same_positions(truth, volume):
        found.add("positions")
    if truth.inverted != volume.inverted:
        found.add("polarity")
    if truth.series.modality != volume.series.modality:
        found.add("modality")
    return frozenset(found)


def _judge_lost(lost: list[Volume], *, told: bool, reason: str) -> Verdict:
    if not lost:
        return Verdict(name="right")
    if told:
        return Verdict(name="refused")
    return Verdict(name="undetectable", detail=reason) if reason else Verdict(name="FAIL", detail="a volume is lost")


def _own_codes(series: Series) -> set[str]:
    return {finding.code.value for finding in series.findings}


def _nearest(truths: Iterable[Volume], volume: Volume) -> frozenset[str]:
    return min((differences(truth, volume) for truth in truths), key=len, default=frozenset({"extra"}))


def _same_affine(truth: Volume, volume: Volume) -> bool:
    if truth.affine is None or volume.affine is None:
        return truth.affine is volume.affine
    shape = np.array([*truth.array.shape[2:0:-1], truth.array.shape[0]]) - 1.0
    corners = np.array([np.append(shape * corner, 1) for corner in np.ndindex(2, 2, 2)])
    size = np.abs(truth.affine[:3, :3]).sum(axis=0).min()
    away = np.abs((truth.affine - volume.affine) @ corners.T).max()
    return bool(away <= TOLERATED_PIXELS * size)


def _same_positions(truth: Volume, volume: Volume) -> bool:
    if len(truth.positions) < 2:
        return True
    step = float(np.diff(truth.positions).mean())
    return bool(np.abs(truth.positions - volume.positions).max() <= TOLERATED_STEP * step + 1e-2)
