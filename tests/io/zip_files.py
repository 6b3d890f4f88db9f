"""ZIP archives for the tests of this room: well made and badly made ones."""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path


def pack(folder: Path, archive: Path, *, method: int = zipfile.ZIP_DEFLATED) -> Path:
    """Every file of a folder in a ZIP archive, under its path below the folder."""
    with zipfile.ZipFile(archive, "w", method) as file:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                file.write(path, path.relative_to(folder).as_posix())
    return archive


def pack_members(archive: Path, members: Iterable[tuple[str, bytes]], *, method: int = zipfile.ZIP_DEFLATED) -> Path:
    """Members by name, whatever the name."""
    with zipfile.ZipFile(archive, "w", method) as file:
        for name, data in members:
            info = zipfile.ZipInfo("x")
            info.filename = info.orig_filename = name
            info.compress_type = method
            file.writestr(info, data)
    return archive


def craft(members: Iterable[tuple[bytes, bytes, dict[str, int]]], *, comment: bytes = b"") -> bytes:
    """An archive byte by byte: (name, data, changes to ``flags``, ``method``, ``crc``, ``size``, ``packed``, ``mode``,
    ``offset``) per member; ``deflate=1`` packs the data.
    """
    body, directory, count = b"", b"", 0
    for name, data, changes in members:
        packed = data
        method = 0
        if changes.get("deflate"):
            packer = zlib.compressobj(9, zlib.DEFLATED, -15)
            packed, method = packer.compress(data) + packer.flush(), 8
        values = {"flags": 0, "method": method, "crc": zlib.crc32(data), "size": len(data), "packed": len(packed),
                  "mode": 0o100644, "offset": len(body), **changes}
        numbers = (values["crc"], values["packed"], values["size"], len(name))
        shared = (20, values["flags"], values["method"], 0, 0x21, *numbers)
        body += struct.pack("<4s5H3L2H", b"PK\3\4", *shared, 0) + name + packed
        directory += struct.pack("<4s6H3L5H2L", b"PK\1\2", 20 + (3 << 8), *shared, 0, 0, 0, 0, values["mode"] << 16,
                                 values["offset"]) + name
        count += 1
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, count, count, len(directory), len(body), len(comment))
    return body + directory + end + comment
