"""Which files lie below a path, and what each is by its first bytes. The name decides only where the bytes cannot."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import Literal, Protocol

from seriatim.errors import InputError
from seriatim.io.ahead import map_ahead
from seriatim.io.archive.archive import STARTS, archive_above, is_neutral, list_members
from seriatim.io.foreign import name_foreign
from seriatim.io.source import NOT_REGULAR, exists, read_head
from seriatim.series.findings import Code
from seriatim.series.series import Skipped

Kind = Literal["dicom", "nifti", "itk", "picture", "tiff", "gif", "video", "archive"]

SYSTEM_FILES = frozenset({"thumbs.db", "desktop.ini", "__macosx"})
MAX_NESTED, MAX_NESTED_MEMBERS = 1000, 200_000
"""Archives in one archive, and the members of all these together, before the next of them is not opened."""
NESTED = (f"TOO_LARGE: an archive holds more than {MAX_NESTED} archives, or these more than {MAX_NESTED_MEMBERS} "
          "members. Unpack it first.")
HEAD_BYTES = 1 << 13
"""Most DICOM headers end before: then the file is not opened again."""
RAW_DICOM_STARTS = (b"\x08\x00", b"\x02\x00", b"\x00\x08", b"\x00\x02")
ARCHIVES = {b"7z\xbc\xaf": "7z", b"Rar!": "RAR", b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz",
            b"\x28\xb5\x2f\xfd": "zstd", b"ustar": "tar"}
ITK_NAMES = (".mha", ".mhd", ".nrrd", ".nhdr")
VIDEO_NAMES = (".mp4", ".m4v", ".mov", ".avi", ".mpg", ".mpeg", ".webm", ".mkv", ".wmv")
ANALYZE_STARTS = (b"\x5c\x01\0\0", b"\0\0\x01\x5c")
BODIES = {".raw": (".mhd", ".nhdr"), ".zraw": (".mhd",), ".img": (".hdr",)}
PICTURE_STARTS = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51")
NAMED_STARTS = (b"BM", b"P1", b"P2", b"P3", b"P4", b"P5", b"P6")
"""Starts too short to tell a picture by: its name must say so too."""
NAMED_PICTURES = (".bmp", ".pbm", ".pgm", ".ppm", ".pnm")
NOT_DICOM, NOT_AN_IMAGE = "named as DICOM, but it is not", "not an image"
TIFF_STARTS = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")


ASN1_SEQUENCE = b"\x30"
ENVELOPES = (b"\x2a\x86\x48\x86\xf7\x0d\x01\x07", b"\x2a\x86\x48\x86\xf7\x0d\x01\x09\x10\x01")
"""The object identifiers 1.2.840.113549.1.7 and 1.2.840.113549.1.9.16.1 of CMS content types (RFC 5652)."""
ENVELOPE_BYTES = 32
SECURE = f"{Code.ENCRYPTED}: a secure DICOM file (PS3.10 section 7.4) or another CMS envelope. Decrypt it first."


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One file: what it is, or (``kind`` None) why it is no image.

    ``head`` are its first HEAD_BYTES bytes, or all of a shorter file, ``size`` the bytes it has (0: not known).
    """

    path: Path
    kind: Kind | None
    reason: str = ""
    head: bytes = field(default=b"", repr=False)
    size: int = 0
    damaged: bool = False
    """True for an empty file and one that is neither text nor anything known: it may have been a slice."""
    stamp: str = ""
    known: bool = False
    """``stamp`` changes with the file, "" where that is not told; ``known``: it is as an earlier search found it."""


class Identify(Protocol):
    """What ``identify`` does."""

    def __call__(self, path: Path, *, named: bool = False) -> Found: ...


def find_files(root: Path) -> tuple[Iterable[Path], list[Skipped]]:
    """Every file at or below ``root``, sorted by path; and what was not entered, with the reason.

    Folders are listed as the first is iterated; the second is complete when the first has come to its end.

    Links are never followed below ``root``: what they lead to inside it is found in its own place, and what lies
    outside was not asked for. Archives on disk are one file here; ``identify_files`` looks into them.

    Raises:
        InputError: there is nothing at ``root``.
    """
    if not root.exists():
        files, skipped = _find_members(root, archive_above(root))
        if not files:
            raise InputError(f"{root} does not exist. Give the path of a file or a folder.")
        return files, skipped
    if not root.is_dir():
        return [root], []
    left: list[Skipped] = []
    return _walk(root, left), left


def identify_files(root: Path, identify_one: Identify | None = None) -> tuple[Iterator[Found], list[Skipped]]:
    """What each file at or below ``root`` is, the members of ZIP archives included; and what was not entered.

    Files are opened as the first is iterated, some of them ahead; the second is complete when the first has come to its
    end. ``identify_one`` takes the place of ``identify`` for files on disk.
    """
    files, skipped = find_files(root)
    return _identify_each(partial(identify_one or identify, named=files == [root]), files, skipped), skipped


def _identify_each(
    identify_one: Callable[[Path], Found], files: Iterable[Path], skipped: list[Skipped]
) -> Iterator[Found]:
    for first in map_ahead(identify_one, files):
        if first.kind == "archive":
            yield from _identify_members(first.path, skipped)
        else:
            yield first


def _identify_members(outer: Path, skipped: list[Skipped]) -> Iterator[Found]:
    """What each member of an archive, and of the archives in it, is; all these together have a bound."""
    nested = listed = 0
    waiting = [outer]
    while waiting:
        path = waiting.pop()
        one = identify(path) if path != outer else None
        if one is not None and one.kind != "archive":
            yield one
            continue
        nested += one is not None
        if nested > MAX_NESTED or listed > MAX_NESTED_MEMBERS:
            skipped.append(Skipped(path=path, reason=NESTED))
            continue
        members, left = _find_members(path, path)
        skipped += left
        listed += (len(members) + len(left)) * (one is not None)
        waiting += reversed(members)


def _find_members(root: Path, archive: Path | None) -> tuple[list[Path], list[Skipped]]:
    """The members of an archive at or below ``root``, which is the archive or in it."""
    if archive is None:
        return [], []
    try:
        listed = list_members(archive)
    except OSError as error:
        return [], [Skipped(path=archive, reason=tell(error))]
    inner = root.relative_to(archive).parts
    prefix = "".join(f"{part}/" for part in inner)
    members = [archive / name for name in sorted(listed.members) if f"{name}/".startswith(prefix)]
    skipped = [Skipped(path=archive / name, reason=reason) for name, reason in listed.refused.items()
               if f"{name}/".startswith(prefix)]
    return members, skipped


def _walk(root: Path, skipped: list[Skipped]) -> Iterator[Path]:
    """The files below a folder, one folder after the other: of those above, only the names are held."""
    inside = Path(os.path.realpath(root))
    open_folders = [(root, *_list(root, inside, skipped))]
    while open_folders:
        folder, names, folders = open_folders[-1]
        if not names:
            open_folders.pop()
            continue
        name = names.pop()
        path = folder / name
        if name in folders:
            open_folders.append((path, *_list(path, inside, skipped)))
        else:
            yield path


def _list(folder: Path, inside: Path, skipped: list[Skipped]) -> tuple[list[str], set[str]]:
    """The names in a folder, the last first, and which of them are folders; links are skipped."""
    names: list[str] = []
    folders: set[str] = set()
    try:
        with os.scandir(folder) as listed:
            for entry in listed:
                if entry.is_symlink():
                    link = folder / entry.name
                    skipped.append(Skipped(path=link, reason=_tell_link(link, inside)))
                    continue
                names.append(entry.name)
                if entry.is_dir():
                    folders.add(entry.name)
    except OSError as error:
        skipped.append(Skipped(path=folder, reason=f"a folder that cannot be opened: {tell(error)}"))
        return [], set()
    names.sort(reverse=True)
    return names, folders


def _tell_link(path: Path, inside: Path) -> str:
    real = Path(os.path.realpath(path))
    if not real.exists():
        return "a link that leads nowhere"
    if real.is_relative_to(inside):
        return "a link; what it leads to is found in its own place"
    return "a link that leads out of the folder: not followed. Give what it leads to as the input."


def identify(path: Path, *, named: bool = False) -> Found:
    """Say what a file is from its first bytes and its name. ``named``: the caller gave this very file."""
    folder, name = os.path.split(path)
    if not named and (name.startswith(".") or name.lower() in SYSTEM_FILES or _is_system(folder)):
        return Found(path=path, kind=None, reason="hidden or system file")
    try:
        head, size = read_head(path, HEAD_BYTES)
    except OSError as error:
        reason = NOT_REGULAR if _is_special(path) else f"cannot be opened: {tell(error)}"
        return Found(path=path, kind=None, reason=reason)
    if not head:
        return Found(path=path, kind=None, reason="empty file", damaged=True)
    if head[:1] == ASN1_SEQUENCE and any(content in head[:ENVELOPE_BYTES] for content in ENVELOPES):
        return Found(path=path, kind=None, reason=SECURE)
    kind, reason = _identify_head(path, head)
    if kind in ("picture", "tiff") and is_neutral(path):
        return Found(path=path, kind=None, reason="a picture whose name in the archive cannot be used to order it")
    damaged = kind is None and b"\0" in head and reason in (NOT_DICOM, NOT_AN_IMAGE)
    return Found(path=path, kind=kind, reason=reason, head=head, size=size, damaged=damaged)


@lru_cache
def _is_system(folder: str) -> bool:
    return Path(folder).name.lower() in SYSTEM_FILES


def _is_special(path: Path) -> bool:
    return path.exists() and not path.is_file()


def tell(error: OSError) -> str:
    """What went wrong, without the path."""
    return error.strerror or str(error)


def _identify_head(path: Path, head: bytes) -> tuple[Kind | None, str]:
    if head[128:132] == b"DICM":
        return "dicom", ""
    name = path.name.lower()
    if name.endswith((".nii", ".nii.gz", ".hdr.gz")) or head[344:348] in (b"n+1\0", b"ni1\0"):
        return "nifti", ""
    if head[4:8] in (b"n+2\0", b"ni2\0") or (name.endswith(".hdr") and head[:4] in ANALYZE_STARTS):
        return "nifti", ""
    if name.endswith(ITK_NAMES) or head.startswith(b"NRRD000"):
        return "itk", ""
    for ending, headers in BODIES.items():
        if name.endswith(ending) and any(exists(path.with_suffix(header)) for header in headers):
            return None, "pixel data of the header file beside it"
    if foreign := name_foreign(name, head):
        return None, foreign
    return _identify_packed(name, head)


def _identify_packed(name: str, head: bytes) -> tuple[Kind | None, str]:
    if head.startswith(STARTS):
        return "archive", ""
    for start, archive in ARCHIVES.items():
        if head.startswith(start) or (archive == "tar" and head[257:262] == b"ustar"):
            return None, f"a {archive} archive: unpack it, or pack it as ZIP"
    return _identify_picture(name, head)


def _identify_picture(name: str, head: bytes) -> tuple[Kind | None, str]:
    if head.startswith(PICTURE_STARTS) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP"):
        return "picture", ""
    if head.startswith(NAMED_STARTS) and name.endswith(NAMED_PICTURES):
        return "picture", ""
    if head.startswith(TIFF_STARTS):
        return "tiff", ""
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "gif", ""
    if name.endswith(VIDEO_NAMES) or head[4:8] == b"ftyp":
        return "video", ""
    if head[:2] in RAW_DICOM_STARTS and len(head) > 8 and (name.endswith((".dcm", ".ima")) or _starts_dataset(head)):
        return "dicom", ""
    if name.endswith((".dcm", ".dicom", ".ima")):
        return None, NOT_DICOM
    return None, NOT_AN_IMAGE


def _starts_dataset(head: bytes) -> bool:
    """True where the first element is a plausible first element of a data set without the 132-byte preamble."""
    little = head[:2] in RAW_DICOM_STARTS[:2]
    element = int.from_bytes(head[2:4], "little" if little else "big")
    explicit = head[4:6].isalpha() and head[4:6].isupper()
    length = int.from_bytes(head[4:8], "little" if little else "big")
    return element <= 0x0070 and (explicit or length <= 256)


def natural_key(text: str) -> list[tuple[bool, int, str]]:
    """A sort key that counts the numbers in a name: frame 2 before frame 10."""
    parts = [part for part in re.split(r"(\d+)", text) if part]
    return [(not part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in parts]
