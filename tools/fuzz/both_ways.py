"""The quick ways of reading DICOM against the slow ones: headers filled in from files alike, heads known before."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from seriatim.io.dicom.header import read_planes
from seriatim.io.dicom.index import PlaneReader
from seriatim.io.dicom.kinds import NotAnImageError
from seriatim.io.read import read_volume
from seriatim.io.source import read_head
from seriatim.io.walk import identify_files
from seriatim.series.series import Volume

HEAD_BYTES = 1 << 13


class DisagreeError(AssertionError):
    """The two ways give different planes or pixels."""


def compare_planes(folder: Path) -> None:
    """Raises DisagreeError where a file's planes depend on the files that were read before it."""
    reader = PlaneReader()
    found, _ = identify_files(folder)
    for file in found:
        if file.kind != "dicom":
            continue
        size = 0 if ".zip" in str(file.path) else file.path.stat().st_size
        head = file.head or read_head(file.path, HEAD_BYTES)[0]
        quick, slow = _try(reader.read, file.path, head, size), _try(read_planes, file.path)
        if quick != slow:
            raise DisagreeError(f"planes of {file.path.name}: {_difference(quick, slow)}")


def compare_pixels(volumes: Sequence[Volume]) -> None:
    """Raises DisagreeError where a slice is read otherwise in its series than alone."""
    for volume in volumes:
        series = volume.series
        if series.format != "dicom" or any(instance.frame is not None for instance in series.instances):
            continue
        for index, instance in enumerate(series.instances):
            alone = read_volume(replace(series, instances=(instance,))).array[0]
            if not np.array_equal(alone, volume.array[index]):
                raise DisagreeError(f"pixels of {instance.path.name}")


def _try(read: Callable[..., Any], *arguments: Any) -> object:
    try:
        return read(*arguments)
    except (NotAnImageError, OSError) as error:
        return type(error).__name__, str(error)


def _difference(quick: Any, slow: Any) -> str:
    if isinstance(quick, list) and isinstance(slow, list) and len(quick) == len(slow):
        names = [name for one, other in zip(quick, slow, strict=True) for name in type(one).__dataclass_fields__
                 if getattr(one, name) != getattr(other, name)]
        return ", ".join(sorted(set(names)))
    return f"{str(quick)[:80]} against {str(slow)[:80]}"
