"""The one place where input files are opened for reading their bytes."""

from __future__ import annotations

from io import BufferedReader, BytesIO
from pathlib import Path
from typing import BinaryIO


def open_file(path: Path) -> BufferedReader | BytesIO:
    """The bytes of a file of an inventory, to read and to seek in.

    Raises:
        OSError: there is no such file, or it cannot be opened.
    """
    return path.open("rb")


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
