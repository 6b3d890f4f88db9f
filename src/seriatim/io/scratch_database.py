"""A private database for what a search finds: in memory while small, else on disk, gone with its owner."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from seriatim.errors import OutputError

CACHE_KIB = 8192


def open_scratch(schema: str) -> sqlite3.Connection:
    """A database without a name: SQLite keeps it in its cache, and in a deleted file of TMPDIR what is more than that.

    It is never read after a crash, so nothing is synchronised. May be used by several threads, one at a time.
    """
    database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
    database.executescript(f"PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -{CACHE_KIB}; "
                           f"{schema} BEGIN;")
    return database


@contextmanager
def telling_scratch() -> Iterator[None]:
    """What SQLite says about a scratch database, as one sentence of ours. Raises OutputError."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise OutputError(f"The scratch file of the search cannot be written: {error}. Free space, or set TMPDIR to a "
                          "folder with more.") from error


def pack_text(text: str) -> bytes:
    """A text that may be the name of a file, which need not be UTF-8; sorts as the text does."""
    return text.encode("utf-8", "surrogatepass")


def unpack_text(packed: bytes) -> str:
    """The text of ``pack_text``."""
    return packed.decode("utf-8", "surrogatepass")
