"""Whether the files of a series are still those that were looked at: by their times and sizes, or by their bytes."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

from seriatim.errors import SeriatimError
from seriatim.io.archive.archive import file_on_disk
from seriatim.io.content import digest_files
from seriatim.io.isolation.wire import to_plain
from seriatim.series.series import Series

Check = Literal["times", "content"]
"""How a change is noticed: by size, inode and times of each file, or by its bytes."""
YOUNG_NS = 2_000_000_000
"""The coarsest tick of a file system (FAT). A file that changed less long ago may change again without a trace."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamp:
    """``text`` changes with the files, "" where they cannot be looked at; ``newest_ns``: when the last one changed."""

    text: str
    newest_ns: int


PLACES = ("path", "instances")
NO_STAMP = Stamp(text="", newest_ns=0)


def stamp_series(series: Series, *, check: Check = "times") -> Stamp:
    """The stamp of the files of a series.

    Files that changed within the last two seconds, or that claim to have changed in the future, are known by their
    bytes: a second change within one tick of the clock of their file system would leave their times as they are.
    """
    try:
        files = files_of(series)
        states = [file.stat() for file in dict.fromkeys(map(file_on_disk, files))]
        newest = max((max(one.st_mtime_ns, one.st_ctime_ns) for one in states), default=0)
        if check == "content" or newest > time.time_ns() - YOUNG_NS:
            return Stamp(text=f"content:{digest_files(files).hex()}", newest_ns=newest)
    except (OSError, SeriatimError):
        return NO_STAMP
    told = json.dumps([(one.st_size, one.st_mtime_ns, one.st_ctime_ns, one.st_ino) for one in states])
    return Stamp(text=f"times:{hashlib.sha256(told.encode()).hexdigest()}", newest_ns=newest)


def is_unchanged(series: Series, text: str) -> bool:
    """Whether the files of a series are those that had this stamp."""
    if not text:
        return False
    found = stamp_series(series, check="content" if text.startswith("content:") else "times")
    return found.text == text


def digest_facts(series: Series) -> str:
    """A digest of all that discovery found out about a series, wherever it lies.

    What a score depends on beside the bytes of its own files is here: a damaged file beside it, for example, is a
    finding.
    """
    told = {one.name: to_plain(getattr(series, one.name)) for one in fields(series) if one.name not in PLACES}
    digest = hashlib.sha256(json.dumps(told).encode())
    for one in series.instances:
        digest.update(f"\n{one.sop_instance_uid} {one.frame} {one.position!r}".encode())
    return digest.hexdigest()


def files_of(series: Series) -> list[Path]:
    """The files that hold what is read of a series, each once; none where it must not be read.

    Raises:
        InputError, OSError: a header that names another file cannot be read.
    """
    if not series.usable:
        return []
    files = dict.fromkeys(instance.path for instance in series.instances)
    return [*files, *(body for file in files for body in _bodies(file, series))]


def _bodies(file: Path, series: Series) -> Iterator[Path]:
    """The file of the voxels, where it is another than that of the header."""
    if series.format == "nifti":
        from seriatim.io.volumes.nifti import body_of, read_header

        body = body_of(file, read_header(file))
    elif series.format in ("nrrd", "metaimage"):
        from seriatim.io.volumes.itk import read_header as read_itk_header

        body = read_itk_header(file).body
    else:
        return
    if body != file:
        yield body
