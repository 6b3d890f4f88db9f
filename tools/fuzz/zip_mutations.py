"""Mutations of ZIP archives that know the records: directory, local headers, end; names, sizes, methods, checksums."""

from __future__ import annotations

import random
import re
import struct

from tools.fuzz.mutation import Files, Splice

RECORDS = {b"PK\1\2": (46, (4, 6, 8, 10, 16, 20, 24, 28, 30, 32, 34, 36, 38, 42)),
           b"PK\3\4": (30, (4, 6, 8, 10, 14, 18, 22, 26, 28)), b"PK\5\6": (22, (4, 6, 8, 10, 12, 16, 20))}
"""Length of each record up to its name, and where its fields are."""
NAMES = (b"../../x", b"/etc/passwd", b"C:\\x", b"a/./b", b"\xff\xfe", b"x\0y", b"", b"a/", b"mimetype", b"a" * 300)
Result = tuple[str, str, list[Splice]]


def change_archive(rng: random.Random, files: Files) -> Result:
    """A field of a record, a name, a record twice or lost."""
    name = rng.choice(sorted(file for file in files if file.endswith(".zip")))
    data = files[name]
    places = [match.start() for match in re.finditer(b"PK(\1\2|\3\4|\5\6)", data)]
    at = rng.choice(places)
    kind = data[at : at + 4]
    length, fields = RECORDS[kind]
    how = rng.choice(("field", "field", "field", "name", "lost", "twice"))
    label = {b"PK\1\2": "directory", b"PK\3\4": "member", b"PK\5\6": "end"}[kind]
    if how == "field" or kind == b"PK\5\6":
        place = at + rng.choice(fields)
        raw = rng.choice((b"\0\0", b"\xff\xff", b"\1\0", b"\x08\0", bytes(4), b"\xff" * 4, b"\xff\xff\xff\x7f"))
        return "zip field", label, [Splice(file=name, at=place, drop=len(raw), insert=raw.hex())]
    size = struct.unpack_from("<H", data, at + (28 if kind == b"PK\1\2" else 26))[0]
    if how == "name":
        new = rng.choice(NAMES)[:size].ljust(size, b"z")
        return "zip name", label, [Splice(file=name, at=at + length, drop=size, insert=new.hex())]
    record = data[at : at + length + size]
    if how == "lost":
        return "zip lost", label, [Splice(file=name, at=at, drop=len(record))]
    return "zip twice", label, [Splice(file=name, at=at, insert=record.hex())]
