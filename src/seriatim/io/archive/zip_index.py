"""The members of a ZIP archive as its directory lists them (APPNOTE.TXT 6.3.10, sections 4.3 to 4.5).

Python's ``zipfile`` makes an object of every member before it tells how many there are, and one name that is not UTF-8
costs it the whole archive; here counts and sizes are capped first, and names stay bytes.
"""

from __future__ import annotations

import stat
import struct
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from seriatim.series.findings import Code

MAX_MEMBERS = 200_000
MAX_DIRECTORY_BYTES = 1 << 26
MAX_TOTAL_BYTES = 1 << 40
MAX_RATIO = 100
UNCHECKED_BYTES = 1 << 26
"""Below this a member may unpack to any multiple of its size: a slice of nothing but air shrinks to a thousandth."""
UNIX = (3, 19)
STORED, DEFLATED, BZIP2, LZMA = 0, 8, 12, 14
METHODS = {9: "deflate64", 6: "implode", 1: "shrink", 93: "zstd", 95: "xz", 98: "PPMd", 99: "AES"}
END, END64, LOCATOR, MEMBER, LOCAL = b"PK\5\6", b"PK\6\6", b"PK\6\7", b"PK\1\2", b"PK\3\4"
END_LAYOUT, END64_LAYOUT = struct.Struct("<4s4H2LH"), struct.Struct("<4sQ2H2L4Q")
LOCATOR_LAYOUT, MEMBER_LAYOUT = struct.Struct("<4sLQL"), struct.Struct("<4s4B4H3L5H2L")
DAMAGED = "UNREADABLE: the archive's list of members is damaged. Copy the archive again."


class ArchiveError(OSError):
    """An archive or a member that cannot be read; the message is the reason, with its code."""


class Entry(NamedTuple):
    """One member: its place in the list, what it claims, and ``limit``, where in the file the next one starts."""

    number: int
    name: bytes
    mode: int
    flags: int
    method: int
    crc: int
    packed: int
    size: int
    offset: int
    limit: int

    @property
    def is_folder(self) -> bool:
        return self.name.endswith((b"/", b"\\")) and not self.size


def read_entries(file: BinaryIO) -> list[Entry]:
    """The members of an archive, in the order of its directory.

    Raises:
        ArchiveError: the archive is cut off, damaged, split, or claims more than the caps.
    """
    count, start, length, shift = _find_directory(file, file.seek(0, 2))
    if count > MAX_MEMBERS or length > MAX_DIRECTORY_BYTES:
        raise ArchiveError(f"TOO_LARGE: the archive lists more than {MAX_MEMBERS} members. Unpack it first.")
    file.seek(start)
    entries = _set_limits(list(_parse(file.read(length), shift)), start)
    if (len(entries) - count) % (1 << 16):  # old tools count no further
        raise ArchiveError(DAMAGED)
    file.seek(0)
    if not entries and file.read(4) == LOCAL:
        raise ArchiveError(DAMAGED)
    total = sum(entry.size for entry in entries if not refuse(entry))
    if total > MAX_TOTAL_BYTES:
        raise ArchiveError(f"TOO_LARGE: the archive unpacks to {total >> 30} GiB. Unpack it first.")
    return entries


def refuse(entry: Entry) -> str:
    """Why a member is not read, with the code of findings; "" where nothing speaks against it."""
    if stat.S_IFMT(entry.mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "a link or device inside an archive: not followed"
    if entry.flags & 0x2041 or entry.method == 99:
        return f"{Code.ENCRYPTED}: a member of the archive is encrypted. Unpack it with its password first."
    if entry.offset + 30 + len(entry.name) + entry.packed > entry.limit:
        return "UNREADABLE: the member overlaps another one or the end of the archive. Pack the archive again."
    if entry.method == STORED and entry.size != entry.packed:
        return "TRUNCATED: the member's two sizes differ. Copy the archive again."
    if entry.method not in (STORED, DEFLATED, BZIP2, LZMA):
        method = METHODS.get(entry.method, f"method {entry.method}")
        return f"UNSUPPORTED: the member is compressed as {method}. Unpack the archive first."
    if entry.size > max(UNCHECKED_BYTES, MAX_RATIO * entry.packed):
        return f"TOO_LARGE: the member unpacks to more than {MAX_RATIO} times its size. Unpack the archive first."
    return ""


def _find_directory(file: BinaryIO, size: int) -> tuple[int, int, int, int]:
    """Count of members, place and bytes of the directory, and by how much what precedes the archive shifts places."""
    file.seek(max(0, size - 65_557))
    tail = file.read()
    place = _find_end(tail)
    if place < 0:
        raise ArchiveError("TRUNCATED: the archive has no end. Copy it again.")
    _, disk, _, _, count, length, offset, _ = END_LAYOUT.unpack_from(tail, place)
    end = size - len(tail) + place
    if place >= LOCATOR_LAYOUT.size and tail[place - LOCATOR_LAYOUT.size :].startswith(LOCATOR):
        _, _, place64, _ = LOCATOR_LAYOUT.unpack_from(tail, place - LOCATOR_LAYOUT.size)
        file.seek(min(place64, size))
        raw = file.read(END64_LAYOUT.size)
        if len(raw) < END64_LAYOUT.size or not raw.startswith(END64):
            raise ArchiveError(DAMAGED)
        _, _, _, _, disk, _, _, count, length, offset = END64_LAYOUT.unpack(raw)
        end = place64
    if disk:
        raise ArchiveError("UNSUPPORTED: the archive is split into several files. Unpack it first.")
    shift = end - length - offset
    if length > end or shift < 0:
        raise ArchiveError(DAMAGED)
    return count, end - length, length, shift


def _find_end(tail: bytes) -> int:
    """The place of the end record: the last whose comment fills the rest of the file."""
    place = len(tail)
    while (place := tail.rfind(END, 0, place)) >= 0:
        if len(tail) - place >= END_LAYOUT.size:
            comment = int.from_bytes(tail[place + 20 : place + 22], "little")
            if place + END_LAYOUT.size + comment <= len(tail):
                return place
    return -1


def _parse(raw: bytes, shift: int) -> Iterator[Entry]:
    place = index = 0
    while place < len(raw):
        if len(raw) - place < MEMBER_LAYOUT.size or raw[place : place + 4] != MEMBER:
            raise ArchiveError(DAMAGED)
        if index == MAX_MEMBERS:
            raise ArchiveError(f"TOO_LARGE: the archive lists more than {MAX_MEMBERS} members. Unpack it first.")
        fields = MEMBER_LAYOUT.unpack_from(raw, place)
        system, (flags, method), crc = fields[2], fields[5:7], fields[9]
        name_bytes, extra_bytes, comment_bytes = fields[12:15]
        start = place + MEMBER_LAYOUT.size
        name, extra = raw[start : start + name_bytes], raw[start + name_bytes : start + name_bytes + extra_bytes]
        size, packed, offset = _widen((fields[11], fields[10], fields[18]), extra)
        mode = fields[17] >> 16 if system in UNIX else 0
        yield Entry(index, name, mode, flags, method, crc, packed, size, offset + shift, 0)
        place = start + name_bytes + extra_bytes + comment_bytes
        index += 1


def _widen(values: tuple[int, int, int], extra: bytes) -> tuple[int, int, int]:
    """Size, packed size and place, from the Zip64 field (4.5.3) where the 32-bit ones are full."""
    place = 0
    while place + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, place)
        if kind == 1:
            field = extra[place + 4 : place + 4 + length]
            wide = iter([int.from_bytes(field[at : at + 8], "little") for at in range(0, len(field) // 8 * 8, 8)])
            size, packed, offset = (next(wide, value) if value == 0xFFFFFFFF else value for value in values)
            return size, packed, offset
        place += 4 + length
    return values


def _set_limits(entries: list[Entry], directory: int) -> list[Entry]:
    """Each member with the place where the next one, or the directory, starts."""
    ordered = sorted(range(len(entries)), key=lambda index: entries[index].offset)
    ends = [*(entries[index].offset for index in ordered[1:]), directory]
    for index, limit in zip(ordered, ends, strict=False):
        entries[index] = entries[index]._replace(limit=min(limit, directory))
    return entries
