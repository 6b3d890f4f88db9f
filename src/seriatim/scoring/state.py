"""What is done and what is left of a batch: ``state.sqlite``, which survives every crash of its process."""

from __future__ import annotations

import os
import sqlite3
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Self, TypeAlias

from seriatim.errors import OutputError
from seriatim.io.lock import FileLock
from seriatim.io.scratch_database import pack_text, unpack_text
from seriatim.io.tables.outputs import make_folder
from seriatim.scoring.state_rows import pack_prediction, reason_code, unpack_prediction
from seriatim.series import Prediction, Skipped

STATE, LOCK = "state.sqlite", "state.lock"
FORMAT = 1
IN_HAND = 64
"""As many series at most are being worked on at once. After a crash the first so many of those left come last."""
LOCK_SECONDS = 1.0
"""Long enough for ``seriatim status``, which tries the lock for an instant, to let go of it."""
ANEW = "Move it away and score again: all series are then scored anew."
Ended: TypeAlias = Literal["finished", "stopped"]

SCHEMA = """
CREATE TABLE IF NOT EXISTS series (
    id INTEGER PRIMARY KEY, path BLOB NOT NULL, study_uid TEXT NOT NULL, series_uid TEXT NOT NULL, volume BLOB NOT NULL,
    number INTEGER NOT NULL, place INTEGER, first_file BLOB NOT NULL, asked INTEGER NOT NULL, facts TEXT NOT NULL,
    stamp TEXT NOT NULL, settings TEXT NOT NULL, status TEXT NOT NULL, code TEXT NOT NULL, tries INTEGER NOT NULL,
    finished REAL, prediction BLOB, UNIQUE (path, study_uid, series_uid, volume, number)
);
CREATE INDEX IF NOT EXISTS series_by_place ON series (place);
CREATE TABLE IF NOT EXISTS skipped (place INTEGER PRIMARY KEY, path BLOB NOT NULL, reason BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS runs (
    id INTEGER PRIMARY KEY, started REAL NOT NULL, looked REAL, ended REAL, how TEXT NOT NULL, settings TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS root (id INTEGER PRIMARY KEY CHECK (id = 1), path BLOB NOT NULL);
"""
"""``place`` is the series' place in the order of discovery, NULL where the last look did not find it; ``root`` is what
was looked through last.
"""
KEY = ("path", "study_uid", "series_uid", "volume", "number")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One discovered series, as the state knows it.

    ``path`` is that below the folder that was searched, ``number`` tells apart what is alike in all else;
    ``first_file`` is one of its files. ``facts`` and ``stamp`` say what a result is about: see ``seriatim.io.stamps``.
    """

    path: str
    study_uid: str
    series_uid: str
    volume: str
    number: int
    first_file: str
    asked: bool
    facts: str
    stamp: str

    @property
    def key(self) -> tuple[Any, ...]:
        return pack_text(self.path), self.study_uid, self.series_uid, pack_text(self.volume), self.number


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What the state holds about a series: of which facts, files and settings its result is; "pending" without one."""

    facts: str
    stamp: str
    settings: str
    status: str


class State:
    """The state in an output folder, locked by this process until it is closed.

    Raises:
        OutputError: by any method, where the state cannot be read or written; what was done before stays done.
    """

    def __init__(self, folder: Path) -> None:
        """Open the state, and make it where there is none.

        Raises:
            OutputError: another process writes it, or it cannot be read or made.
        """
        self.path = make_folder(folder) / STATE
        self._lock = _take_lock(folder / LOCK)
        try:
            with telling(self.path):
                self._database = open_database(self.path)
        except BaseException:
            self._lock.release()
            raise
        self._run = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the state and of its lock."""
        self._database.close()
        self._lock.release()

    def start_run(self, settings: str) -> None:
        """A run begins. Where the last one did not end, what it may have died of is put last."""
        with self._change() as write:
            last = write("SELECT ended FROM runs ORDER BY id DESC LIMIT 1").fetchone()
            if last is not None and last[0] is None:
                first = "SELECT id FROM series WHERE status = 'pending' AND asked AND place IS NOT NULL"
                write(f"UPDATE series SET tries = tries + 1 WHERE id IN ({first} ORDER BY tries, place LIMIT ?)",  # noqa: S608
                      (IN_HAND,))
            added = write("INSERT INTO runs (started, how, settings) VALUES (?, '', ?)", (time.time(), settings))
            self._run = added.lastrowid or 0

    def end_run(self, how: Ended) -> None:
        """The run ended in an orderly way."""
        with self._change() as write:
            write("UPDATE runs SET ended = ?, how = ? WHERE id = ?", (time.time(), how, self._run))

    def find(self, row: Row) -> Known | None:
        """What is known about a series."""
        where = " AND ".join(f"{name} = ?" for name in KEY)
        with telling(self.path):
            asked = f"SELECT facts, stamp, settings, status FROM series WHERE {where}"  # noqa: S608
            found = self._database.execute(asked, row.key).fetchone()
        return None if found is None else Known(facts=found[0], stamp=found[1], settings=found[2], status=found[3])

    def look(self, rows: Iterable[tuple[Row, bool]], skipped: Iterable[Skipped], *,
             root: Path, relative: Callable[[Path], str]) -> None:
        """Take over what was discovered at ``root``, in its order; True beside a series whose result still holds.

        All at once: a row for each series, and none of what was found before and is elsewhere now.

        Raises:
            OutputError: series of another root were not found, and their files are there; nothing is taken over.
        """
        with self._change() as write:
            write("UPDATE series SET place = NULL")
            for place, (row, holds) in enumerate(rows):
                write(_UPSERT, (*row.key, place, pack_text(row.first_file), row.asked, row.facts, row.stamp))
                if not holds:
                    where = " AND ".join(f"{name} = ?" for name in KEY)
                    write(f"UPDATE series SET status = 'pending', prediction = NULL WHERE {where}", row.key)  # noqa: S608
            write("DELETE FROM skipped")
            packed = ((index, pack_text(relative(one.path)), pack_text(one.reason))
                      for index, one in enumerate(skipped))
            self._database.executemany("INSERT INTO skipped VALUES (?, ?, ?)", packed)
            self._move_root(root.absolute())
            write("UPDATE runs SET looked = ? WHERE id = ?", (time.time(), self._run))

    def _move_root(self, root: Path) -> None:
        """Note what was looked through now, unless that leaves out series that are still where they were."""
        before = self._database.execute("SELECT path FROM root").fetchone()
        old = root if before is None else Path(unpack_text(before[0]))
        if old != root and old.exists() and not (root.exists() and old.samefile(root)):
            left = self._database.execute("SELECT first_file FROM series WHERE place IS NULL AND series_uid NOT IN "
                                          "(SELECT series_uid FROM series WHERE place IS NOT NULL)")
            count = sum(old.is_file() or os.path.lexists(old / unpack_text(file)) for (file,) in left)
            if count:
                raise OutputError(f"{self.path.parent} holds {count} series of {old} that are there and not in {root}: "
                                  f"their rows would be lost. Score {old}, or give another --output.")
        self._database.execute("INSERT OR REPLACE INTO root VALUES (1, ?)", (pack_text(str(root)),))

    def forget_moved(self, is_there: Callable[[str], bool]) -> None:
        """Drop series that were not found again though their files are there: they are part of another series now.

        So are those whose UID lies elsewhere now: they were moved.
        """
        with self._change() as write:
            gone = write("SELECT id, first_file, series_uid IN (SELECT series_uid FROM series WHERE place IS NOT NULL) "
                         "FROM series WHERE place IS NULL").fetchall()
            for number, file, elsewhere in gone:
                if elsewhere or is_there(unpack_text(file)):
                    write("DELETE FROM series WHERE id = ?", (number,))

    def pending(self) -> list[int]:
        """The places of the series that are asked for and not done, in the order in which to try them."""
        left = "SELECT place FROM series WHERE status = 'pending' AND asked AND place IS NOT NULL"
        return [place for (place,) in self._read(f"{left} ORDER BY tries, place")]

    def put(self, place: int, prediction: Prediction, *, settings: str) -> None:
        """Keep the result of the series at a place."""
        blob = pack_prediction(prediction)
        with self._change() as write:
            write("UPDATE series SET status = ?, code = ?, prediction = ?, settings = ?, finished = ?, tries = 0 "
                  "WHERE place = ?",
                  (prediction.status, reason_code(prediction.reason), blob, settings, time.time(), place))

    def predictions(self, root: Path, *, with_gone: bool = False) -> Iterator[Prediction]:
        """The results of what is asked for, one by one in the order of discovery; what is gone comes last."""
        return (prediction for _, prediction in self._predictions(root, with_gone=with_gone))

    def placed_predictions(self, root: Path, *, since: float = 0.0) -> Iterator[tuple[int, Prediction]]:
        """The results that were put ``since`` a time (seconds since 1970), with the places of their series."""
        return self._predictions(root, since=since)

    def _predictions(
        self, root: Path, *, with_gone: bool = False, since: float = 0.0
    ) -> Iterator[tuple[int, Prediction]]:
        rows = self._read("SELECT place, path, prediction FROM series WHERE prediction IS NOT NULL AND asked "
                          "AND finished >= ? AND (place IS NOT NULL OR ?) ORDER BY place IS NULL, place, id",
                          (since, with_gone))
        for place, path, blob in rows:
            try:
                yield place, replace(unpack_prediction(blob), path=root / unpack_text(path))
            except (ValueError, zlib.error) as error:
                raise OutputError(f"{self.path} is damaged. {ANEW}") from error

    def skipped(self, root: Path) -> Iterator[Skipped]:
        """The files that are part of no series."""
        for path, reason in self._read("SELECT path, reason FROM skipped ORDER BY place"):
            yield Skipped(path=root / unpack_text(path), reason=unpack_text(reason))

    def flush(self) -> None:
        """Have all that was put outlast a power cut."""
        with telling(self.path):
            self._database.execute("PRAGMA wal_checkpoint").fetchone()

    def count(self) -> dict[str, int]:
        """How many of the series that were found and asked for are in each status; and how many series are gone."""
        by_status = dict.fromkeys(("scored", "refused", "failed", "pending"), 0)
        found = self._read("SELECT status, COUNT(*) FROM series WHERE asked AND place IS NOT NULL GROUP BY status")
        ((gone,),) = self._read("SELECT COUNT(*) FROM series WHERE place IS NULL")
        return by_status | dict(found) | {"gone": gone}

    def count_skipped(self) -> int:
        """How many files are part of no series."""
        ((count,),) = self._read("SELECT COUNT(*) FROM skipped")
        return int(count)

    def count_codes(self) -> dict[str, int]:
        """How many series were refused or failed by code of the reason."""
        found = self._read("SELECT code, COUNT(*) FROM series WHERE asked AND place IS NOT NULL AND status IN "
                           "('refused', 'failed') GROUP BY code ORDER BY COUNT(*) DESC, code")
        return dict(found)

    def _read(self, question: str, values: Sequence[Any] = ()) -> Iterator[tuple[Any, ...]]:
        with telling(self.path):
            yield from self._database.execute(question, values)

    @contextmanager
    def _change(self) -> Iterator[Callable[..., sqlite3.Cursor]]:
        """One transaction: all of it or nothing."""
        with telling(self.path):
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield self._database.execute
                self._database.execute("COMMIT")
            except BaseException:
                if self._database.in_transaction:
                    self._database.execute("ROLLBACK")
                raise


_UPSERT = """
INSERT INTO series (path, study_uid, series_uid, volume, number, place, first_file, asked, facts, stamp, settings,
                    status, code, tries)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, '', 'pending', '', 0)
ON CONFLICT DO UPDATE SET place = excluded.place, first_file = excluded.first_file, asked = excluded.asked,
                          facts = excluded.facts, stamp = excluded.stamp
"""


@contextmanager
def telling(path: Path) -> Iterator[None]:
    """What SQLite says, as one sentence of ours."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        if type(error) not in (sqlite3.DatabaseError, sqlite3.OperationalError):
            raise  # a mistake of ours
        damaged = error.sqlite_errorcode in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT)
        repair = (ANEW if damaged
                  else "Free space, or make it writable, and score again: what is done stays done.")
        raise OutputError(f"{path} cannot be {'read' if damaged else 'written'}: {error}. {repair}") from error


def open_database(path: Path) -> sqlite3.Connection:
    """The database, made where it is missing, in the write-ahead mode: readers never wait for the writer.

    Raises:
        OutputError: it is of another format.
        sqlite3.DatabaseError: it cannot be read or written.
    """
    database = sqlite3.connect(path, timeout=30, isolation_level=None)
    try:
        database.execute("PRAGMA journal_mode = WAL")  # a file system without shared memory keeps its own mode
        database.execute("PRAGMA synchronous = NORMAL")  # a power cut may cost the last series, never the whole
        _check_format(path, database)
        database.executescript(f"BEGIN IMMEDIATE; {SCHEMA} PRAGMA user_version = {FORMAT}; COMMIT;")
    except BaseException:
        database.close()
        raise
    return database


def _check_format(path: Path, database: sqlite3.Connection) -> None:
    (found,) = database.execute("PRAGMA user_version").fetchone()
    if found not in (0, FORMAT):
        raise OutputError(f"{path} is of format {found}, not {FORMAT}. Move it away, or choose another --output.")


def _take_lock(path: Path) -> FileLock:
    lock = FileLock(path)
    until = time.monotonic() + LOCK_SECONDS
    try:
        while not lock.try_acquire():
            if time.monotonic() > until:
                raise OutputError(f"Another process scores into {path.parent}. Wait until it ends, or choose another "
                                  "--output; seriatim status tells how far it is.")
            time.sleep(LOCK_SECONDS / 20)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror}. Choose another --output.") from error
    return lock
