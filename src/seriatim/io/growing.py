"""A folder that grows: its files one by one, each when it is whole, none before one that comes before it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

from seriatim.errors import InputError
from seriatim.io.archive.archive import file_on_disk
from seriatim.io.walk import find_files, natural_key

Order = Literal["name", "time"]
Key: TypeAlias = tuple[object, ...]
UNFINISHED = (".part", ".partial", ".tmp", ".crdownload")
"""What programs call a file while they write it. Hidden files are left out too."""
PATIENCE_S = 2.0
"""A file that cannot be read may still be being written while it is no older."""


@dataclass(slots=True, kw_only=True)
class GrowingFolder:
    """Files directly in ``folder``, in the order of their names (numbers as numbers) or of their times of change.

    A file counts as written when its size and time are those of the look before.
    """

    folder: Path
    order: Order = "name"
    _seen: dict[Path, tuple[int, int, float]] = field(default_factory=dict)
    _taken: set[Path] = field(default_factory=set)
    _last: Key | None = None

    def next_file(self) -> Path | None:
        """The next file, if it is there and no longer grows. It comes again until it is taken.

        Raises:
            InputError: the folder is gone.
        """
        waiting = sorted(self._look(), key=lambda one: one[0])
        if not waiting:
            return None
        _, path, settled = waiting[0]
        return path if settled else None

    def take(self, path: Path) -> bool:
        """Count a file as done with. False where one that comes after it was taken before: it came too late."""
        key = self._key(path, self._seen[path][1])
        self._taken.add(path)
        late = self._last is not None and key < self._last
        self._last = key if self._last is None else max(self._last, key)
        return not late

    def is_young(self, path: Path) -> bool:
        """Whether a file may still be being written, though it did not grow since the last look."""
        _, changed_ns, since = self._seen[path]
        return time.monotonic() - since < PATIENCE_S and time.time() - changed_ns / 1e9 < PATIENCE_S

    def _look(self) -> list[tuple[Key, Path, bool]]:
        try:
            paths = [one for one in self.folder.iterdir() if one not in self._taken]
        except OSError as error:
            raise InputError(f"{self.folder} cannot be listed: {error.strerror}. Give a folder.") from error
        found = []
        for path in paths:
            if path.name.startswith(".") or path.suffix.lower() in UNFINISHED:
                continue
            try:
                stat = path.stat()
            except OSError:
                continue  # taken away, or renamed, between the two
            if not path.is_file():
                continue
            size, changed, since = self._seen.get(path, (-1, -1, 0.0))
            settled = (size, changed) == (stat.st_size, stat.st_mtime_ns) and size > 0
            self._seen[path] = (stat.st_size, stat.st_mtime_ns, since if settled else time.monotonic())
            found.append((self._key(path, stat.st_mtime_ns), path, settled))
        return found

    def _key(self, path: Path, changed_ns: int) -> Key:
        name: Key = (natural_key(path.stem.casefold()), natural_key(path.name))  # as the pictures of a folder
        return (changed_ns, *name) if self.order == "time" else name


@dataclass(slots=True, kw_only=True)
class RestingFiles:
    """All files below ``folder``, and which of them did not change for ``settle_s`` seconds.

    Times are those of this machine's clock since a change was seen: a copy that keeps the times of its source, or a
    server whose clock is wrong, changes nothing. A file with the name of an unfinished one never rests; what is
    ``ignored`` is not looked at.
    """

    folder: Path
    settle_s: float
    ignored: Callable[[Path], bool]
    _seen: dict[Path, tuple[tuple[int, int, int, int], float]] = field(default_factory=dict)
    _resting: set[Path] = field(default_factory=set)

    def look(self) -> bool:
        """Look at all files; whether one came to rest, changed or went since the last look.

        Raises:
            InputError: the folder is gone.
        """
        now, seen = time.monotonic(), {}
        for path in find_files(self.folder)[0]:
            if self.ignored(path):
                continue
            try:
                stat = path.stat()
            except OSError:
                continue  # taken away, or renamed, between the two
            told = (stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino)  # a copy may keep the first two
            before, since = self._seen.get(path, ((-1, -1, -1, -1), now))
            seen[path] = (told, since if told == before else now)
        resting = {path for path, (_, since) in seen.items() if now - since >= self.settle_s}
        resting = {path for path in resting if path.suffix.lower() not in UNFINISHED}
        news, self._seen, self._resting = resting != self._resting, seen, resting
        return news

    def rest(self, files: Iterable[Path]) -> bool:
        """Whether all of these are at rest; a member of an archive is where its archive is, and a folder always."""
        on_disk = {file_on_disk(file) for file in files}
        return all(file in self._resting for file in on_disk if not file.is_dir())
