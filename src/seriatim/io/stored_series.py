"""Series of a large search, outside of memory: packed into a scratch database, unpacked one at a time."""

from __future__ import annotations

import json
import threading
import zlib
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import fields
from functools import lru_cache
from pathlib import Path
from typing import Any, get_type_hints

from seriatim.io.isolation.wire import from_plain, to_plain
from seriatim.io.scratch_database import open_scratch, pack_text, telling_scratch, unpack_text
from seriatim.io.walk import natural_key
from seriatim.series.on_demand import OnDemand
from seriatim.series.series import Instance, Series, Skipped

SCHEMA = """
CREATE TABLE series (id INTEGER PRIMARY KEY, path BLOB NOT NULL, study BLOB NOT NULL, uid BLOB NOT NULL,
                     volume TEXT NOT NULL, packed BLOB NOT NULL);
CREATE TABLE skipped (id INTEGER PRIMARY KEY, path BLOB NOT NULL, reason BLOB NOT NULL);
"""
REMEMBERED = 32
"""Series that were asked for last and are held as they are."""
PLAIN = tuple(one.name for one in fields(Series) if one.name != "instances")
TYPES = get_type_hints(Series)


class SeriesStore:
    """Takes series and skipped files in any order, and gives them back in that of an inventory.

    Only eight bytes for each are held. The file that has the rest has no name, and goes with the last sequence of them.
    Threads may read at the same time.
    """

    def __init__(self) -> None:
        self._database = open_scratch(SCHEMA)
        self._database.create_collation("by_number", _compare)
        self._lock = threading.Lock()

    def add(self, series: Iterable[Series], skipped: Iterable[Skipped]) -> None:
        """Keep some of what a search found. Raises OutputError where there is no room."""
        rows = ((pack_text(str(one.path)), pack_text(one.study_uid), pack_text(one.series_uid),
                 json.dumps(one.volume), pack_series(one)) for one in series)
        with telling_scratch(), self._lock:
            self._database.executemany("INSERT INTO series (path, study, uid, volume, packed) VALUES (?, ?, ?, ?, ?)",
                                       rows)
            self._database.executemany("INSERT INTO skipped (path, reason) VALUES (?, ?)",
                                       ((pack_text(str(one.path)), pack_text(one.reason)) for one in skipped))

    def list_series(self) -> Sequence[Series]:
        """All series by path and UID, as ``find_series`` orders them."""
        found = self._order("SELECT id FROM series ORDER BY path, study, uid, volume COLLATE by_number, id")
        return OnDemand(found, lru_cache(REMEMBERED)(self._read_series))  # for threads that score one after the other

    def list_skipped(self) -> Sequence[Skipped]:
        """All skipped files by path."""
        return OnDemand(self._order("SELECT id FROM skipped ORDER BY path, id"), self._read_skipped)

    def _order(self, question: str) -> array[int]:
        with telling_scratch(), self._lock:
            return array("q", (number for (number,) in self._database.execute(question)))

    def _read_series(self, number: int) -> Series:
        (packed,) = self._read("SELECT packed FROM series WHERE id = ?", number)
        return unpack_series(packed)

    def _read_skipped(self, number: int) -> Skipped:
        path, reason = self._read("SELECT path, reason FROM skipped WHERE id = ?", number)
        return Skipped(path=Path(unpack_text(path)), reason=unpack_text(reason))

    def _read(self, question: str, number: int) -> tuple[Any, ...]:
        with telling_scratch(), self._lock:
            found: tuple[Any, ...] = self._database.execute(question, (number,)).fetchone()
            return found


def pack_series(series: Series) -> bytes:
    """A series as bytes."""
    columns = list(zip(*((str(one.path), one.sop_instance_uid, one.frame, float(one.position))
                         for one in series.instances), strict=True))
    plain = {name: to_plain(getattr(series, name)) for name in PLAIN}
    return zlib.compress(json.dumps([plain, columns], separators=(",", ":")).encode(), 1)


def unpack_series(packed: bytes) -> Series:
    """The series of ``pack_series``, equal to the bit."""
    plain, columns = json.loads(zlib.decompress(packed))
    instances = tuple(Instance(path=Path(path), sop_instance_uid=uid, frame=frame, position=position)
                      for path, uid, frame, position in zip(*columns, strict=True))
    return Series(instances=instances, **{name: from_plain(TYPES[name], plain[name]) for name in PLAIN})


def _compare(one: str, other: str) -> int:
    first, second = (natural_key(json.loads(text)) for text in (one, other))
    return (first > second) - (first < second)
