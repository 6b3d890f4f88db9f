"""How far a batch is, read beside a running one without disturbing it."""

from __future__ import annotations

import os
import sqlite3
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from seriatim.errors import InputError
from seriatim.io.lock import FileLock
from seriatim.scoring.state import FORMAT, LOCK, STATE, telling
from seriatim.scoring.state_rows import unpack_prediction

RECENT = 100
"""The rate is that of the last so many series."""
RUNNING, KILLED = "running", "ended without a word"


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How far a batch is.

    ``run``: ``running``, ``finished``, ``stopped`` or ``ended without a word`` (killed, crashed, out of power).
    ``counts`` are of series by status, ``reasons`` of refused and failed ones by code. ``looking``: the folder is still
    being searched. ``per_minute`` is the rate of the last series of a running run, ``seconds_left`` what is left at
    that rate; None where it is not known. ``last_error`` is the reason of the series that failed last.
    """

    run: str
    looking: bool
    started: float | None
    ended: float | None
    counts: dict[str, int]
    reasons: dict[str, int]
    per_minute: float | None
    seconds_left: float | None
    last_error: str


def read_standing(folder: Path) -> Standing:
    """How far the batch in an output folder is.

    Raises:
        InputError: there is no state.
        OutputError: the state cannot be read.
    """
    path = folder / STATE
    if not path.is_file():
        raise InputError(f"{folder} has no {STATE}: nothing was scored into it. Give the --output of seriatim score.")
    alive = _is_locked(folder / LOCK)
    with telling(path):
        database = _open(path, alive=alive)
        try:
            database.execute("BEGIN")  # one moment for all questions
            return _read(database, alive=alive)
        finally:
            database.close()


def _open(path: Path, *, alive: bool) -> sqlite3.Connection:
    """The database to read only; a folder that cannot be written has no place for what SQLite puts beside it."""
    place = f"file:{quote(os.fsencode(path.absolute()))}?mode=ro"
    database = sqlite3.connect(place, uri=True, timeout=10, isolation_level=None)
    try:
        (found,) = database.execute("PRAGMA user_version").fetchone()
    except sqlite3.OperationalError:
        database.close()
        if alive:
            raise
        database = sqlite3.connect(f"{place}&immutable=1", uri=True, isolation_level=None)
        (found,) = database.execute("PRAGMA user_version").fetchone()
    if found != FORMAT:
        database.close()
        why = ("another version of seriatim made it. Ask with that one" if found else
               "it was emptied or cut short. Move it away and score again")
        raise InputError(f"{path} is of format {found}, not {FORMAT}: {why}.")
    return database


def _read(database: sqlite3.Connection, *, alive: bool) -> Standing:
    found = "asked AND place IS NOT NULL"
    by_status = dict.fromkeys(("scored", "refused", "failed", "pending"), 0)
    by_status |= dict(database.execute(f"SELECT status, COUNT(*) FROM series WHERE {found} GROUP BY status"))  # noqa: S608
    reasons = database.execute(f"SELECT code, COUNT(*) FROM series WHERE {found} AND status IN ('refused', 'failed') "  # noqa: S608
                               "GROUP BY code ORDER BY COUNT(*) DESC, code")
    last = database.execute("SELECT started, looked, ended, how FROM runs ORDER BY id DESC LIMIT 1").fetchone()
    started, looked, ended, how = last or (None, None, None, KILLED)
    rate = _rate(database, started) if alive and started is not None else None
    return Standing(
        run=RUNNING if alive else how or KILLED,
        looking=alive and looked is None,
        started=started,
        ended=ended,
        counts=by_status,
        reasons=dict(reasons.fetchall()),
        per_minute=None if rate is None else 60 * rate,
        seconds_left=by_status["pending"] / rate if rate else None,
        last_error=_last_error(database),
    )


def _rate(database: sqlite3.Connection, started: float) -> float | None:
    """Series per second up to now; None before the first."""
    times = [one for (one,) in database.execute(
        "SELECT finished FROM series WHERE finished >= ? ORDER BY finished DESC LIMIT ?", (started, RECENT))]
    if not times:
        return None
    since = started if len(times) < RECENT else times[-1]
    return len(times) / max(time.time() - since, 1e-3)


def _last_error(database: sqlite3.Connection) -> str:
    row: tuple[Any, ...] | None = database.execute(
        "SELECT prediction FROM series WHERE status = 'failed' AND place IS NOT NULL ORDER BY finished DESC LIMIT 1"
    ).fetchone()
    return "" if row is None else unpack_prediction(row[0]).reason


def _is_locked(path: Path) -> bool:
    """Whether a process holds the lock; a process that starts waits longer than this takes."""
    lock = FileLock(path)
    try:
        if not path.is_file() or lock.try_acquire():
            return False
    except OSError:  # not ours to write: who holds it cannot be asked
        return False
    finally:
        lock.release()
    return True
