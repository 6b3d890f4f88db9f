"""UIDs of results: functions of what is written, so that the same result is the same object (docs/decisions/0013)."""

from __future__ import annotations

import hashlib
from typing import Any

from seriatim import __version__
from seriatim.io.results.result import SeriesResult
from seriatim.io.write import make_uid


def name_series(result: SeriesResult, kind: str) -> str:
    """The Series Instance UID of one kind of result of one model about one series."""
    return make_uid("result series", kind, *_about(result))


def name_object(result: SeriesResult, kind: str, *content: Any) -> str:
    """The SOP Instance UID of a result; ``content`` is what may differ from run to run, as bytes or plain values."""
    digest = hashlib.sha256()
    for part in content:
        raw = part if isinstance(part, bytes) else repr(part).encode("utf-8", "backslashreplace")
        digest.update(len(raw).to_bytes(8, "big") + raw)
    return make_uid("result", kind, *_about(result), __version__, digest.hexdigest())


def name_finding(result: SeriesResult, *parts: object) -> str:
    """The tracking UID of what one group of measurements is about, the same in every report of the model on it."""
    return make_uid("result finding", *_about(result), *parts)


def name_device() -> str:
    """The UID of this version of the software as the observer."""
    return make_uid("device", "seriatim", __version__)


def _about(result: SeriesResult) -> tuple[str, ...]:
    series = result.series
    return (series.study_uid, series.series_uid, series.volume, result.algorithm.digest)
