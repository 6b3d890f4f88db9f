"""UIDs for files that have none: from their content, so that a copy at another path is the same series."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from io import BufferedReader, BytesIO
from pathlib import Path
from typing import BinaryIO

from seriatim.io.source import open_file, size_of

HASHED_BYTES = 1 << 31
"""Of the start and of the end of a file; what is no larger than twice that is digested whole."""
PART_BYTES = 1 << 20


def digest_files(paths: Iterable[Path]) -> bytes:
    """A digest of the content of files, in the order given."""
    digest = hashlib.sha256()
    for path in paths:
        with open_file(path) as file:
            digest.update(digest_file(file))
    return digest.digest()


def digest_file(file: BufferedReader | BytesIO) -> bytes:
    """A digest of the content of an open file; of a huge one, of its size, its start and its end.

    A sparse file of terabytes takes no room on a disk, and would take hours.
    """
    size = size_of(file)
    if size <= 2 * HASHED_BYTES:
        return hashlib.file_digest(file, "sha256").digest()
    digest = hashlib.sha256(str(size).encode())
    for start in (0, size - HASHED_BYTES):
        digest_part(file, start, start + HASHED_BYTES, digest)
    return digest.digest()


def digest_part(file: BinaryIO, start: int, end: int, digest: hashlib._Hash) -> None:
    """Add the bytes between two places of a file to a digest, a part at a time."""
    file.seek(start)
    while start < end and (part := file.read(min(PART_BYTES, end - start))):
        digest.update(part)
        start += len(part)


def make_uid(digest: bytes, *parts: object) -> str:
    """A valid UID (PS3.5 B.2) from a digest and what it names, for example ("instance", 3)."""
    text = "/".join(str(part) for part in parts).encode()
    return f"2.25.{int.from_bytes(hashlib.sha256(digest + text).digest()[:16], 'big')}"
