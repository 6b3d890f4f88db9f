"""Which files lie below a path, and what each is by its first bytes. The name decides only where the bytes cannot."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from seriatim.errors import InputError
from seriatim.io.source import open_file

Kind = Literal["dicom", "nifti", "itk", "picture", "tiff", "gif", "video"]

SYSTEM_FILES = frozenset({"thumbs.db", "desktop.ini", "__macosx"})
HEAD_BYTES = 352
RAW_DICOM_STARTS = (b"\x08\x00", b"\x02\x00", b"\x00\x08", b"\x00\x02")
ARCHIVES = (b"PK\x03\x04", b"7z\xbc\xaf", b"Rar!")
ITK_NAMES = (".mha", ".mhd", ".nrrd", ".nhdr")
VIDEO_NAMES = (".mp4", ".m4v", ".mov", ".avi", ".mpg", ".mpeg", ".webm", ".mkv", ".wmv")
BODIES = {".raw": (".mhd", ".nhdr"), ".zraw": (".mhd",), ".img": (".hdr",)}
PICTURE_STARTS = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"BM")
TIFF_STARTS = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One file: what it is, or (``kind`` None) why it is no image."""

    path: Path
    kind: Kind | None
    reason: str = ""


def find_files(root: Path) -> list[Path]:
    """Every file at or below ``root``, sorted by path. Linked folders are followed once.

    Raises:
        InputError: there is nothing at ``root``.
    """
    if not root.exists():
        raise InputError(f"{root} does not exist. Give the path of a file or a folder.")
    return [root] if not root.is_dir() else sorted(_walk(root))


def _walk(root: Path) -> Iterator[Path]:
    seen: set[str] = set()
    for folder, subfolders, names in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            subfolders.clear()
            continue
        seen.add(real)
        yield from (Path(folder, name) for name in names)


def identify(path: Path, *, named: bool = False) -> Found:
    """Say what a file is from its first bytes and its name. ``named``: the caller gave this very file."""
    lowered = [part.lower() for part in path.parts[-2:]]
    if not named and (path.name.startswith((".", "._")) or any(part in SYSTEM_FILES for part in lowered)):
        return Found(path=path, kind=None, reason="hidden or system file")
    try:
        if not path.is_file():
            return Found(path=path, kind=None, reason="not a regular file")
        with open_file(path) as file:
            head = file.read(HEAD_BYTES)
    except OSError as error:
        return Found(path=path, kind=None, reason=f"cannot be opened: {error.strerror}")
    if not head:
        return Found(path=path, kind=None, reason="empty file")
    kind, reason = _identify_head(path, head)
    return Found(path=path, kind=kind, reason=reason)


def _identify_head(path: Path, head: bytes) -> tuple[Kind | None, str]:
    name = path.name.lower()
    if head[128:132] == b"DICM":
        return "dicom", ""
    if name.endswith((".nii", ".nii.gz")) or head[344:348] in (b"n+1\0", b"ni1\0") or head[4:8] in (b"n+2\0", b"ni2\0"):
        return "nifti", ""
    if name.endswith(ITK_NAMES) or head.startswith(b"NRRD000"):
        return "itk", ""
    for ending, headers in BODIES.items():
        if name.endswith(ending) and any(path.with_suffix(header).exists() for header in headers):
            return None, "pixel data of the header file beside it"
    if head.startswith(ARCHIVES):
        return None, "archive: unpack it first"
    return _identify_picture(name, head)


def _identify_picture(name: str, head: bytes) -> tuple[Kind | None, str]:
    if head.startswith(PICTURE_STARTS[:2]) or (head.startswith(b"BM") and name.endswith(".bmp")):
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
        return None, "named as DICOM, but it is not"
    return None, "not an image"


def _starts_dataset(head: bytes) -> bool:
    """True where the first element is a plausible first element of a data set without the 132-byte preamble."""
    little = head[:2] in RAW_DICOM_STARTS[:2]
    element = int.from_bytes(head[2:4], "little" if little else "big")
    explicit = head[4:6].isalpha() and head[4:6].isupper()
    length = int.from_bytes(head[4:8], "little" if little else "big")
    return element <= 0x0070 and (explicit or length <= 256)


def natural_key(text: str) -> list[tuple[bool, int, str]]:
    """A sort key that counts the numbers in a name: frame 2 before frame 10."""
    return [(not part.isdigit(), int(part) if part.isdigit() else 0, part) for part in re.split(r"(\d+)", text) if part]
