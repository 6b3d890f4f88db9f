"""Results on disk: folders, JSON and CSV, each put in place whole or told as one sentence."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from seriatim.errors import ConfigError, OutputError, printable

FORMULA = ("=", "+", "-", "@", "\t", "\r")


def make_folder(path: Path) -> Path:
    """Make a folder for results, with its parents.

    Raises:
        OutputError: it cannot be made, or a file has its name.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"The folder {path} cannot be made: {error.strerror}. Choose another --output.") from error
    return path


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON and put it in place whole. Raises OutputError."""
    write_text(path, json.dumps(content, indent=2) + "\n")


def read_json(path: Path, *keys: str) -> dict[str, Any]:
    """Read what ``write_json`` wrote, which has these keys.

    Raises:
        ConfigError: it cannot be read, or holds something else.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read: {error}. Copy its folder again, or start in another.") from error
    lacking = [key for key in keys if key not in content] if isinstance(content, dict) else ["a mapping"]
    if lacking or not isinstance(content, dict):
        raise ConfigError(f"{path} is not as it was written: it holds no {lacking[0]}. Copy its folder again, or start "
                          "in another.")
    return content


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write a CSV with a header and put it in place whole; a missing cell is empty. Raises OutputError."""
    partial = path.with_name(path.name + ".partial")
    try:
        with partial.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
            writer = csv.DictWriter(file, columns, restval="")
            writer.writeheader()
            writer.writerows(rows)
        partial.replace(path)
    except OSError as error:
        raise _refuse(path, error) from error


def cell_text(value: str) -> str:
    """A cell on one line that no spreadsheet takes for a formula and no terminal obeys; a number stays a number."""
    flat = printable(" ".join(value.split()))
    return f"'{flat}" if flat.startswith(FORMULA) and not _is_number(flat) else flat


def path_beside(path: Path, folder: Path) -> str:
    """A path as a table in ``folder`` names it: counted from there, so that both can be moved together.

    Where the two have nothing but the root of the file system in common, it is absolute.
    """
    # links of the data stay, since they name its series; behind one, ".." leads elsewhere than the text says
    place, base = path.resolve() if ".." in path.parts else path.absolute(), folder.resolve()
    if place.parts[:2] != base.parts[:2]:
        return str(place)
    return Path(os.path.relpath(place, base)).as_posix()


def flush_to_disk(path: Path) -> None:
    """Have the content of a file outlast a power cut; of a folder, the names in it, where the system can. Raises
    OSError.
    """
    if not path.is_dir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
        return
    with suppress(OSError):  # Windows opens no folder, and some network folders are not flushed
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _refuse(path: Path, error: OSError) -> OutputError:
    return OutputError(f"{path} cannot be written: {error.strerror}. Free space, or choose another --output.")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def write_text(path: Path, text: str) -> None:
    """Write a text and put it in place whole. Raises OutputError."""
    partial = path.with_name(path.name + ".partial")
    try:
        partial.write_text(text, encoding="utf-8")
        flush_to_disk(partial)
        partial.replace(path)
    except OSError as error:
        raise _refuse(path, error) from error


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file and put it in place whole. Raises OutputError."""
    partial = path.with_name(path.name + ".partial")
    try:
        partial.write_bytes(content)
        partial.replace(path)
    except OSError as error:
        raise _refuse(path, error) from error
