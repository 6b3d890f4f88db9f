"""ZIP archives as folders: which members one holds, under which paths, and how one is opened. Nothing is extracted.

A member's path is that of the archive with the member's name below it, ``study.zip/CT/IM1.dcm``. It is a key, never a
path on disk: a name that could not be a plain file below the archive is replaced by ``member-00012``. An archive in an
archive is read too, one in that is not.
"""

from __future__ import annotations

import functools
import re
import stat
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from io import BufferedReader, BytesIO
from pathlib import Path
from typing import BinaryIO

from seriatim.io.archive.zip_index import STORED, ArchiveError, Entry, read_entries, refuse
from seriatim.io.archive.zip_member import MemberStream

STARTS = (b"PK\3\4", b"PK\5\6", b"PK\7\x08PK")
PACKAGES = ("[Content_Types].xml", "META-INF/MANIFEST.MF", "mimetype")
"""Members that tell an office document or a program, whose pictures are no series."""
MAX_NESTED_BYTES = 1 << 28
MAX_NAME_CHARACTERS, MAX_PART_BYTES = 1024, 255
NEUTRAL = re.compile(r"member-\d{5,}")
UTF8 = 0x0800
Stamp = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Archive:
    """The members that can be read, by name below the archive, and those that cannot, with the reason."""

    members: Mapping[str, Entry]
    refused: Mapping[str, str]


def open_member(path: Path) -> BufferedReader | None:
    """The member of an archive at this path; None where no parent of the path is an archive that holds it.

    Raises:
        ArchiveError: the archive or the member is damaged.
        OSError: the archive cannot be opened.
    """
    place = _find_archive(path)
    if place is None:
        return None
    outer, inner = place
    archive = _read_archive(outer, stamp_of(outer))
    entry = archive.members.get(inner)
    if entry is not None:
        return _open(outer.open("rb"), entry, path)
    for nested, name in _splits(inner):
        if nested in archive.members:
            members = _read_nested(outer, nested, stamp_of(outer)).members
            return _open(_open_nested(outer, nested), members[name], path) if name in members else None
    return None


def list_members(path: Path) -> Archive:
    """What an archive holds: one on disk, or a member of one on disk. An empty one where it is inside a second archive.

    Raises:
        ArchiveError: the archive cannot be read; the message is the reason.
        OSError: it cannot be opened.
    """
    place = _find_archive(path)
    if place is None:
        return _read_archive(path, stamp_of(path))
    outer, inner = place
    if inner not in _read_archive(outer, stamp_of(outer)).members:
        raise ArchiveError("UNSUPPORTED: an archive inside an archive inside an archive. Unpack it first.")
    return _read_nested(outer, inner, stamp_of(outer))


def archive_above(path: Path) -> Path | None:
    """The archive, on disk or in one on disk, that holds this path as a member or as a folder; None where none does."""
    place = _find_archive(path)
    if place is None:
        return None
    outer, inner = place
    try:
        archive = _read_archive(outer, stamp_of(outer))
        if _holds(archive, inner):
            return outer
        for nested, name in _splits(inner):
            if nested in archive.members and _holds(_read_nested(outer, nested, stamp_of(outer)), name):
                return outer / nested
    except OSError:
        return None
    return None


def stamp_of(path: Path) -> Stamp:
    """What changes when a file, or the archive it is in, changes: time and size. Raises OSError where there is none."""
    found = file_on_disk(path).stat()
    return found.st_mtime_ns, found.st_size


def file_on_disk(path: Path) -> Path:
    """The file itself, or the archive on disk that holds it."""
    place = _find_archive(path)
    return place[0] if place else path


def is_neutral(path: Path) -> bool:
    """Whether a member's own name could not be used, so that it tells nothing about its place in a stack."""
    return NEUTRAL.fullmatch(path.name) is not None


def _find_archive(path: Path) -> tuple[Path, str] | None:
    """The file among the parents of a path, and the rest of the path below it."""
    for parent in path.parents:
        try:
            mode = parent.stat().st_mode
        except (OSError, ValueError):
            continue
        if not stat.S_ISREG(mode):
            return None
        return parent, path.relative_to(parent).as_posix()
    return None


def _splits(inner: str) -> list[tuple[str, str]]:
    parts = inner.split("/")
    return [("/".join(parts[:count]), "/".join(parts[count:])) for count in range(1, len(parts))]


def _holds(archive: Archive, inner: str) -> bool:
    return inner in archive.members or any(name.startswith(f"{inner}/") for name in archive.members)


@functools.lru_cache(maxsize=4)
def _read_archive(path: Path, stamp: Stamp) -> Archive:  # noqa: ARG001 - part of the cache key
    """Members are kept, files are not: a stream opens the archive itself, so threads and processes share nothing."""
    with path.open("rb") as file:
        return _name_members(file)


@functools.lru_cache(maxsize=4)
def _read_nested(outer: Path, inner: str, stamp: Stamp) -> Archive:  # noqa: ARG001 - part of the cache key
    with _open_nested(outer, inner) as file:
        return _name_members(file)


def _open_nested(outer: Path, inner: str) -> BinaryIO:
    """A stored archive in its place in the outer one; a compressed one is unpacked to memory."""
    stamp = stamp_of(outer)
    entry = _read_archive(outer, stamp).members[inner]
    if entry.method == STORED:
        return _open(outer.open("rb"), entry, outer / inner)
    if entry.size > MAX_NESTED_BYTES:
        raise ArchiveError("TOO_LARGE: a compressed archive inside an archive. Unpack the outer one first.")
    return BytesIO(_unpack_nested(outer, inner, stamp))


@functools.lru_cache(maxsize=1)
def _unpack_nested(outer: Path, inner: str, stamp: Stamp) -> bytes:
    entry = _read_archive(outer, stamp).members[inner]
    with _open(outer.open("rb"), entry, outer / inner) as file:
        return file.read()


def _open(file: BinaryIO, entry: Entry, path: Path) -> BufferedReader:
    try:
        return BufferedReader(MemberStream(file, entry, name=str(path)))
    except BaseException:
        file.close()
        raise


def _name_members(file: BinaryIO) -> Archive:
    if not file.read(4).startswith(STARTS):
        raise ArchiveError("not a ZIP archive")
    members: dict[str, Entry] = {}
    refused: dict[str, str] = {}
    for entry in read_entries(file):
        if entry.is_folder:
            continue
        name = _safe_name(entry)
        if not name or name in members or name in refused:
            name = f"member-{entry.number:05}"
        if reason := refuse(entry):
            refused[name] = reason
        else:
            members[name] = entry
    if any(name in members for name in PACKAGES):
        raise ArchiveError("not an image: an office document or a program")
    return Archive(members=members, refused=refused)


def _safe_name(entry: Entry) -> str:
    """The member's name where it is that of a plain file below the archive, else "". Old tools write backslashes."""
    try:
        text = entry.name.decode("utf-8")
    except UnicodeDecodeError:
        if entry.flags & UTF8:
            return ""
        text = entry.name.decode("cp437")  # APPNOTE appendix D
    text = text.replace("\\", "/").removeprefix("./")
    parts = text.split("/")
    plain = all(part not in ("", ".", "..") and len(part.encode()) <= MAX_PART_BYTES for part in parts)
    strange = any(unicodedata.category(sign) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp") for sign in text)
    if not plain or strange or len(text) > MAX_NAME_CHARACTERS or ":" in parts[0] or NEUTRAL.fullmatch(parts[-1]):
        return ""
    return text
