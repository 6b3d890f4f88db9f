"""Write all results of one series as DICOM files."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pydicom.dataset import Dataset

from seriatim.errors import InputError, reason_of
from seriatim.io.dicom.values import reading
from seriatim.io.results.capture import make_summary
from seriatim.io.results.key_images import make_key_images
from seriatim.io.results.maps import make_map
from seriatim.io.results.report import make_report
from seriatim.io.results.result import SeriesResult
from seriatim.io.results.source import read_source
from seriatim.io.results.store import Written, store

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Filed:
    """The files of one series, and why others are not there, by kind."""

    files: tuple[Written, ...]
    left_out: dict[str, str]


def write_results(result: SeriesResult, folder: Path) -> Filed:
    """Write the report, the key images, the maps and the summary of one series into ``folder``, which is made.

    An object that cannot be made is left out with its reason, and the others are written.

    Raises:
        InputError: the series is no DICOM, or its files cannot be referred to.
    """
    source = read_source(result.series)
    makers: dict[str, Callable[[], Dataset]] = {"report": partial(make_report, result, source)}
    if result.top:
        makers["key-images"] = partial(make_key_images, result, source)
    for one in result.maps:
        makers[one.kind] = partial(make_map, result, source, one)
    if result.picture is not None:
        makers["summary"] = partial(make_summary, result, source)
    files: list[Written] = []
    left_out: dict[str, str] = {}
    for kind, make in makers.items():
        try:
            with reading():  # no warnings, which could show values of the header
                dataset = make()
            files.append(store(dataset, folder / f"{kind}.dcm"))
        except Exception as error:  # noqa: BLE001 - the boundary: one object that cannot be made must not stop the others
            left_out[kind] = reason_of(error, files=result.series.files)
            if not isinstance(error, InputError):
                logger.warning("series %s: no %s: %s", result.series.series_uid, kind, type(error).__name__)
    return Filed(files=tuple(files), left_out=left_out)

