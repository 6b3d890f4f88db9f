"""UIDs for files that have none: from their content, so that a copy at another path is the same series."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from seriatim.io.source import open_file


def digest_files(paths: Iterable[Path]) -> bytes:
    """A digest of the content of files, in the order given."""
    digest = hashlib.sha256()
    for path in paths:
        with open_file(path) as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.digest()


def make_uid(digest: bytes, *parts: object) -> str:
    """A valid UID (PS3.5 B.2) from a digest and what it names, for example ("instance", 3)."""
    text = "/".join(str(part) for part in parts).encode()
    return f"2.25.{int.from_bytes(hashlib.sha256(digest + text).digest()[:16], 'big')}"
