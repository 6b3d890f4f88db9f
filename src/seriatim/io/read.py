"""read_volume: the pixels of a series. read: all usable series below a path."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from seriatim.errors import InputError
from seriatim.io.discover import find_series
from seriatim.series.findings import Action, Code
from seriatim.series.series import Series, Volume


def read_volume(series: Series) -> Volume:
    """Read the pixels of a usable series in real-world values, in slice order.

    Returns:
        ``array`` (S,H,W), or (S,H,W,3) RGB; in-plane pixels as stored; ``affine`` index (column, row, slice) -> RAS+ mm.

    Raises:
        InputError: the series was refused by discovery, or its files changed since.
        DecoderError: pixel data is damaged or truncated, or its decoder is not installed.
    """
    if not series.usable:
        raise InputError(f"Series {series.series_uid} is not usable. {series.reason}")
    from seriatim.io.dicom_pixels import read_dicom

    return read_dicom(series)


def read(path: Path | str, actions: Mapping[Code, Action] | None = None) -> list[Volume]:
    """Read every usable series below a folder, or in a file.

    Raises:
        InputError: none is usable; the message names the reasons.
        DecoderError: pixel data is damaged or truncated, or its decoder is not installed.
    """
    inventory = find_series(path, actions)
    usable = [series for series in inventory.series if series.usable]
    if not usable:
        reasons = [series.reason for series in inventory.series] or [skipped.reason for skipped in inventory.skipped]
        shown = "; ".join(dict.fromkeys(reasons)) or "no file was found"
        raise InputError(f"No usable series in {path}: {shown}")
    return [read_volume(series) for series in usable]
