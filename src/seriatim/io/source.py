"""The one place where input files are opened for reading their bytes: files on disk, and members of ZIP archives."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader, BytesIO
from pathlib import Path
from shutil import copyfileobj
from typing import BinaryIO

from seriatim.io.archive.archive import archive_above, open_member
from seriatim.io.archive.zip_member import MemberStream

FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)

NOT_REGULAR = "not a regular file"


def open_file(path: Path) -> BufferedReader | BytesIO:
    """The bytes of a file of an inventory, to read and to seek in. A real file wins over a member of an archive.

    Raises:
        OSError: there is no such file, it cannot be opened, or it is a pipe or a device, which could block for ever.
    """
    try:
        return open(path, "rb", opener=_open_regular)
    except (FileNotFoundError, NotADirectoryError):
        member = open_member(path)
        if member is None:
            raise
        return member


def _open_regular(path: str, flags: int) -> int:
    handle = os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
    if stat.S_ISREG(mode := os.fstat(handle).st_mode) or stat.S_ISDIR(mode):  # open itself refuses a folder
        return handle
    os.close(handle)
    raise OSError(NOT_REGULAR)


def read_head(path: Path, count: int) -> tuple[bytes, int]:
    """The first ``count`` bytes of a file of an inventory (fewer where it has fewer), and how many it has in all.

    Of a member of an archive the size is not known: 0.

    Raises:
        OSError: there is no such file, it cannot be opened, or it is a folder, a pipe or a device.
    """
    try:
        handle = os.open(path, FLAGS)  # quicker than a file object, and never waits for the other end of a pipe
    except (FileNotFoundError, NotADirectoryError):
        with open_file(path) as member:
            return member.read(count), 0
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(NOT_REGULAR)
        head = os.read(handle, count)
        while len(head) < min(count, status.st_size) and (more := os.read(handle, count - len(head))):
            head += more
    finally:
        os.close(handle)
    return head, status.st_size


def read_bytes(path: Path) -> bytes:
    """The whole content of a file of an inventory."""
    with open_file(path) as file:
        return file.read()


def size_of(file: BinaryIO) -> int:
    """The bytes an open file holds; its place stays as it is."""
    place = file.tell()
    end = file.seek(0, 2)
    file.seek(place)
    return end


def exists(path: Path) -> bool:
    """Whether there is a file or a folder at a path, on disk or in an archive."""
    return path.exists() or archive_above(path) is not None


def check_whole(file: BinaryIO) -> None:
    """Read a member of an archive to its end, so that its checksum is compared; files on disk have none.

    Raises:
        OSError: the member is damaged.
    """
    raw = getattr(file, "raw", None)
    if isinstance(raw, MemberStream):
        raw.check()


@contextmanager
def real_file(path: Path) -> Iterator[Path]:
    """A path for readers that take nothing else: the file itself, or a private copy of a member with a name of ours."""
    if os.path.lexists(path):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="seriatim-") as folder, open_file(path) as member:
        copy = Path(folder) / f"volume{path.suffix.lower()[:8] if path.suffix[1:].isalnum() else ''}"
        with copy.open("xb") as file:
            copyfileobj(member, file, 1 << 20)
        yield copy
