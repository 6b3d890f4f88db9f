"""The files of a set, alike in a folder and in a ZIP archive, which is read in place: nothing is unpacked."""

from __future__ import annotations

import csv
import io
import os
from pathlib import Path

from seriatim.datasets.dataset import PublishedFile
from seriatim.errors import InputError
from seriatim.io.archive.archive import list_members
from seriatim.io.source import open_file

MAX_TABLE_BYTES = 1 << 26


def relative(path: Path, folder: Path) -> str:
    """The path as a table in ``folder`` names it."""
    return Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix()


def locate(material: Path, file: PublishedFile) -> Path:
    """The published file where it lies in the folder, else the folder or file as it is."""
    return material / file.name if (material / file.name).is_file() else material


def list_files(material: Path) -> list[Path]:
    """All files of a folder or of a ZIP archive, which are named ``archive.zip/member``; hidden ones are left out.

    Raises:
        InputError: a file that is given is no ZIP archive.
    """
    if material.is_dir():
        return sorted(path for path in material.rglob("[!.]*") if path.is_file())
    try:
        paths = [material / name for name in list_members(material).members]
    except OSError as error:
        raise InputError(f"{material.name} is no ZIP archive that can be read: {error}. Get it again.") from error
    return sorted(path for path in paths if not path.name.startswith("."))


def read_rows(path: Path) -> list[dict[str, str]]:
    """The rows of a table of a publisher, as text: short and long rows are taken as they are, later namesakes count.

    Raises:
        InputError: the table cannot be read.
    """
    try:
        with open_file(path) as file:
            text = file.read(MAX_TABLE_BYTES + 1)
        if len(text) > MAX_TABLE_BYTES:
            raise InputError(f"{path.name} is larger than {MAX_TABLE_BYTES} bytes, too large for a table.")
        rows = csv.DictReader(io.StringIO(text.decode("utf-8-sig", "replace")))
        return [{str(key).strip(): str(value or "").strip() for key, value in row.items()} for row in rows]
    except (OSError, csv.Error) as error:
        raise InputError(f"{path.name} cannot be read: {error}. Get the set again.") from error
