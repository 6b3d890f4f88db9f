"""The checksums of PNG files, which readers skip for the pixels."""

from __future__ import annotations

import zlib
from typing import BinaryIO

PNG = b"\x89PNG\r\n\x1a\n"


def check_png(file: BinaryIO) -> str:
    """Why a PNG file is damaged; "" where each chunk has its checksum (PNG specification 5.3), or it is no PNG file."""
    if file.read(len(PNG)) != PNG:
        return ""
    while len(head := file.read(8)) == 8:
        length = int.from_bytes(head[:4], "big")
        body = file.read(length) if length < 1 << 31 else b""
        if file.read(4) != zlib.crc32(body, zlib.crc32(head[4:])).to_bytes(4, "big"):
            return "a checksum of the PNG file does not hold"
        if head[4:] == b"IEND":
            return ""
    return "the PNG file breaks off"
