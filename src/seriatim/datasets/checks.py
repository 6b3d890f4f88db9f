"""Whether a file is the published one, and what exactly was used."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from seriatim.datasets.dataset import PublishedFile
from seriatim.datasets.tree import relative
from seriatim.errors import InputError, OutputError
from seriatim.io.source import open_file

SUMS = "SHA256SUMS"
NO_CHECKSUM = "no checksum is published: verified by structure alone"


def digest(path: Path, kind: str) -> str:
    """The hex digest of a file's bytes, on disk or in an archive: ``kind`` is md5 or sha256."""
    with open_file(path) as file:
        return hashlib.file_digest(file, lambda: hashlib.new(kind, usedforsecurity=False)).hexdigest()


def verify(path: Path, file: PublishedFile) -> str:
    """How a copy of the published file was verified.

    Raises:
        InputError: its MD5 is not the published one.
    """
    if file.md5 is None:
        return NO_CHECKSUM
    found = digest(path, "md5")
    if found != file.md5:
        raise InputError(
            f"{path.name} has the MD5 {found}, published is {file.md5}: it is damaged or another file. Download it "
            "again; if it was saved anew on purpose, give it another name."
        )
    return f"MD5 {found} as published"


def write_sums(output: Path, sources: Iterable[Path]) -> None:
    """Write the SHA-256 of every source to ``SHA256SUMS``, paths relative to ``output``: for ``sha256sum -c``.

    Raises:
        OutputError: it cannot be written.
    """
    lines = [f"{digest(path, 'sha256')}  {relative(path, output)}\n" for path in sources]
    try:
        (output / SUMS).write_text("".join(lines), encoding="utf-8", errors="surrogateescape")
    except OSError as error:
        raise OutputError(f"{output / SUMS} cannot be written: {error.strerror}. Free space.") from error
