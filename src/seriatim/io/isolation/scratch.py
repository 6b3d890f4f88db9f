"""Folders for the temporary files of workers: removed with the worker, or later, where its process was killed.

A decoder may unpack images of patients there, so nothing may stay behind.
"""

from __future__ import annotations

import fcntl
import functools
import os
import shutil
import tempfile
import time
from contextlib import suppress
from pathlib import Path

PREFIX = "seriatim-worker-"
YOUNG_SECONDS = 60.0
"""Between making a folder and locking it another process must not take it for one that was left."""


class Scratch:
    """A new temporary folder, locked for as long as this process lives and does not close it."""

    def __init__(self) -> None:
        """Make the folder; the first of a process removes those that killed processes left. Raises OSError."""
        _remove_left_once()
        self.folder = tempfile.mkdtemp(prefix=PREFIX)
        self._descriptor = os.open(self.folder, os.O_RDONLY | os.O_CLOEXEC)
        fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def remove(self) -> None:
        """Remove the folder with all that is in it."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.close()

    def close(self) -> None:
        """Let go of the folder, which stays; in a forked process the lock stays with its parent."""
        os.close(self._descriptor)


def remove_left() -> None:
    """Remove the folders of this user that no living process holds."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with suppress(OSError):
            _remove_if_left(folder)


_remove_left_once = functools.cache(remove_left)


def _remove_if_left(folder: Path) -> None:
    """Raises OSError where it is locked, or gone."""
    told = folder.lstat()
    if told.st_uid != os.getuid() or time.time() - told.st_mtime < YOUNG_SECONDS:
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(descriptor)
