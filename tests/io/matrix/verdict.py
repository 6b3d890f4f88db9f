"""What a reader made of a case: right, refused, missed, wrong or crashed."""

from __future__ import annotations

import signal
import traceback
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from seriatim.errors import SeriatimError
from seriatim.io import find_series, read_volume
from seriatim.series import Series, Volume

from .case import LPS_TO_RAS, Case, TrueSlice, TrueVolume

LIMIT_S = 20
GOOD = frozenset({"right", "refused"})


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """``word`` is right, refused (rightly), missed (refused though it must load), wrong, crash or hang."""

    word: str
    detail: str = ""


class HangError(Exception):
    """A case took too long."""


def judge(case: Case, folder: Path, *, clean: bool) -> Verdict:
    """Write a case and read it with seriatim."""
    case.write(folder)
    signal.signal(signal.SIGALRM, _hang)
    signal.alarm(LIMIT_S)
    try:
        return _judge(case, folder, clean=clean)
    except HangError:
        return Verdict(word="hang")
    except Exception:  # noqa: BLE001 - whatever escapes the reader is the verdict
        return Verdict(word="crash", detail=traceback.format_exc(limit=-3))
    finally:
        signal.alarm(0)


def _hang(*_: Any) -> None:
    raise HangError


def _judge(case: Case, folder: Path, *, clean: bool) -> Verdict:
    inventory = find_series(folder)
    loaded, reasons = _load(inventory.series)
    left, partly = [*case.required, *case.possible], []
    for found in loaded:
        fit = next((truth for truth in [*left, *partly] if _matches(found, truth, case)), None)
        if fit is None:
            return Verdict(word="wrong", detail=f"{_show(found.series)} {_show_misfit(found, left, case)}")
        left = [truth for truth in left if truth is not fit]
        whole = len(found.array) == len(fit.slices)
        partly += [] if whole else [fit]
        told = {str(finding.code) for finding in found.series.findings}
        if (clean and not whole) or ((not whole or case.always_told) and not told & case.codes):
            return Verdict(word="wrong", detail=f"untold {sorted(case.codes)}: {_show(found.series)}")
    every = reasons + [skipped.reason for skipped in inventory.skipped]
    if any(truth is one for truth in case.required for one in left):
        return Verdict(word="missed", detail=str(every))
    if not left:
        return Verdict(word="right")
    codes = {reason.split(":")[0] for reason in reasons} | ({"SKIPPED"} if inventory.skipped else set())
    if not codes & case.refusals:
        return Verdict(word="wrong", detail=f"vanished without one of {sorted(case.refusals)}: {every}")
    return Verdict(word="refused")


def _load(found: Iterable[Series]) -> tuple[list[Volume], list[str]]:
    """The usable volumes, and the reasons of the others."""
    loaded, reasons = [], []
    for series in found:
        if not series.usable:
            reasons.append(series.reason)
            continue
        try:
            loaded.append(read_volume(series))
        except SeriatimError as error:
            reasons.append(f"{type(error).__name__}: {error}")
    return loaded, reasons


def _matches(found: Volume, truth: TrueVolume, case: Case) -> bool:
    """True where each slice read is the next one of the truth, some perhaps left out."""
    rest = iter(truth.slices)
    count = range(len(found.array))
    return all(any(_same(found, index, one, truth.placed, case) for one in rest) for index in count)


def _same(found: Volume, index: int, truth: TrueSlice, placed: bool, case: Case) -> bool:
    pixels = np.asarray(found.array[index], dtype=np.float64)
    if pixels.shape != truth.pixels.shape:
        return False
    if not np.allclose(pixels, truth.pixels, rtol=2e-6, atol=1e-4, equal_nan=True):
        return False
    if not placed:
        return True
    if found.affine is None:
        return False
    corners = [(0, 0), (pixels.shape[1] - 1, 0), (0, pixels.shape[0] - 1)]
    for column, row in corners:
        true = LPS_TO_RAS @ (truth.origin + column * truth.per_column + row * truth.per_row)
        if np.abs(_world(found, column, row, index) - true).max() > case.tolerance_mm:
            return False
    return True


def _world(found: Volume, column: int, row: int, index: int) -> Any:
    """Where a voxel lies: by the affine in plane, by the slice's own position along the stack."""
    affine, along = found.affine, found.positions
    assert affine is not None
    part = 0.0 if len(along) == 1 else (along[index] - along[0]) / (along[-1] - along[0]) * (len(along) - 1)
    return affine[:3, 3] + column * affine[:3, 0] + row * affine[:3, 1] + part * affine[:3, 2]


def _show(series: Series) -> str:
    findings = "; ".join(f"{one.code}={one.action}" for one in series.findings)
    return f"<{series.volume or 'whole'}, {len(series.instances)} slices, {findings}>"


def _show_misfit(found: Volume, truths: list[TrueVolume], case: Case) -> str:
    """Which part does not fit: values or places."""
    for truth in truths:
        free = TrueVolume(slices=truth.slices, placed=False)
        if _matches(found, free, case):
            return "the values fit, the places do not"
    return f"no truth of {len(truths)} fits"
