"""What earlier searches of a folder read of its DICOM files: a search that comes again reads what is new or changed."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from seriatim.io.dicom.index import PlaneReader
from seriatim.io.dicom.kinds import BrokenImageError, NotAnImageError
from seriatim.io.dicom.plane import Plane
from seriatim.io.dicom.plane_rows import SCHEMA as SHARED_SCHEMA
from seriatim.io.dicom.plane_rows import PlaneRows, encode
from seriatim.io.isolation.wire import WireError
from seriatim.io.scratch_database import open_scratch, pack_text
from seriatim.io.walk import Found, identify

SCHEMA = SHARED_SCHEMA + """
CREATE TABLE files (path BLOB PRIMARY KEY, stamp TEXT NOT NULL, search INTEGER NOT NULL, planes TEXT NOT NULL,
                    reason TEXT NOT NULL);
"""
YOUNG_NS = 2_000_000_000
"""A file that changed less long ago may change again without a trace (FAT counts two seconds): it is read again."""
SPARE = 1000
"""Shared parts of planes, beside one for each file, that may be of files that are gone."""


class KnownFiles:
    """Planes of DICOM files on disk, known by path, size, times of change (of content and of inode) and inode.

    Other files, broken ones and members of archives are read each time. It lies in a scratch file without a name.
    Threads may identify at the same time.
    """

    def __init__(self) -> None:
        self._database = open_scratch(SCHEMA)
        self._rows, self._reader = PlaneRows(self._database), PlaneReader()
        self._lock = threading.Lock()
        self._search = 0

    def identify(self, path: Path, *, named: bool = False) -> Found:
        """What a file is, see ``walk.identify``: without opening it, where that is known."""
        stamp = _stamp_of(path)
        if stamp and self._has(path, stamp):
            return Found(path=path, kind="dicom", known=True)
        return replace(identify(path, named=named), stamp=stamp)

    def read(self, file: Found) -> list[Plane]:
        """The planes of a DICOM file that was identified here.

        Raises:
            NotAnImageError, OSError: as ``PlaneReader.read``.
        """
        if file.known:
            return self._recall(file.path)
        try:
            planes = self._reader.read(file.path, file.head, file.size)
        except BrokenImageError:  # the storage may have been at fault
            raise
        except NotAnImageError as error:
            self._keep(file, [], reason=str(error))
            raise
        self._keep(file, planes)
        return planes

    def look_up(self, path: Path) -> list[Plane]:
        """The planes of a DICOM file that was read before: read again only where it changed, or was too young to keep.

        Raises:
            NotAnImageError, OSError: as ``PlaneReader.read``.
        """
        return self.read(self.identify(path))

    def end_search(self) -> None:
        """A search came to its end: forget the files that it did not find."""
        execute = self._database.execute
        execute("DELETE FROM files WHERE search < ?", (self._search,))
        self._search += 1
        ((files,),), ((shared,),) = (execute(f"SELECT COUNT(*) FROM {name}") for name in ("files", "shared"))  # noqa: S608
        if shared > files + SPARE:
            execute("DELETE FROM files")
            execute("DELETE FROM shared")
            self._rows = PlaneRows(self._database)

    def _has(self, path: Path, stamp: str) -> bool:
        with self._lock:
            found = self._database.execute("UPDATE files SET search = ? WHERE path = ? AND stamp = ?",
                                           (self._search, pack_text(str(path)), stamp))
            return found.rowcount == 1

    def _recall(self, path: Path) -> list[Plane]:
        with self._lock:
            ((packed, reason),) = self._database.execute("SELECT planes, reason FROM files WHERE path = ?",
                                                         (pack_text(str(path)),))
            if reason:
                raise NotAnImageError(reason)
            return [self._rows.unpack(path, row) for row in json.loads(packed)]

    def _keep(self, file: Found, planes: Sequence[Plane], *, reason: str = "") -> None:
        if file.stamp:
            with self._lock, suppress(WireError):  # what is no plain data is read each time
                packed = encode([self._rows.pack(plane) for plane in planes])
                self._database.execute("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?)",
                                       (pack_text(str(file.path)), file.stamp, self._search, packed, reason))


def _stamp_of(path: Path) -> str:
    """What changes with a file, "" where that cannot be told: for members of archives, and for what is young."""
    try:
        told = path.stat()
    except OSError:
        return ""
    if max(told.st_mtime_ns, told.st_ctime_ns) > time.time_ns() - YOUNG_NS:
        return ""
    return f"{told.st_size} {told.st_mtime_ns} {told.st_ctime_ns} {told.st_ino} {told.st_dev}"
