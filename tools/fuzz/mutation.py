"""A mutation as data: replayable, and small enough to print."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from tools.fuzz.elements import parse_file

Files = Mapping[str, bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Splice:
    """Replace ``drop`` bytes at ``at`` of a file by ``insert`` (hex). ``layer`` gzip or deflate: of its unpacked bytes.

    ``drop`` -1 means everything to the end. ``file_from`` copies another file instead; ``delete`` removes the file.
    """

    file: str
    at: int = 0
    drop: int = 0
    insert: str = ""
    layer: str = ""
    file_from: str = ""
    delete: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutation:
    """What was done to the files of a case. ``kind`` is its class, ``where`` the part that it touches."""

    case: str
    kind: str
    where: str
    splices: tuple[Splice, ...] = field(default=())

    def dumps(self) -> str:
        """One line of JSON; defaults are left out."""
        plain = asdict(self)
        plain["splices"] = [{key: value for key, value in one.items() if value not in ("", 0, False)}
                            for one in plain["splices"]]
        return json.dumps(plain)


def loads(text: str) -> Mutation:
    """The mutation that ``dumps`` wrote."""
    plain = json.loads(text)
    return Mutation(**{**plain, "splices": tuple(Splice(**one) for one in plain["splices"])})


def unpack(data: bytes, layer: str) -> bytes:
    """The bytes inside of a compressed file: all of gzip, the data set of deflated DICOM with its meta header."""
    if layer == "gzip":
        return gzip.decompress(data)
    if layer == "deflate":
        start = _meta_end(data)
        return data[:start] + zlib.decompress(data[start:], -zlib.MAX_WBITS)
    return data


def pack(data: bytes, layer: str) -> bytes:
    """The inverse of ``unpack``."""
    if layer == "gzip":
        return gzip.compress(data, mtime=0)
    if layer == "deflate":
        start = _meta_end(data)
        packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        return data[:start] + packer.compress(data[start:]) + packer.flush()
    return data


def apply(mutation: Mutation, files: Files) -> dict[str, bytes]:
    """The files after the mutation. Places count in the whole file: splices are done from its end."""
    changed = dict(files)
    for splice in sorted(mutation.splices, key=lambda one: -one.at):
        if splice.delete:
            changed.pop(splice.file, None)
        elif splice.file_from:
            changed[splice.file] = files[splice.file_from]
        else:
            data = unpack(changed[splice.file], splice.layer)
            stop = len(data) if splice.drop < 0 else splice.at + splice.drop
            data = data[: splice.at] + bytes.fromhex(splice.insert) + data[stop:]
            changed[splice.file] = pack(data, splice.layer)
    return changed


def _meta_end(data: bytes) -> int:
    """Where the data set of a deflated file starts."""
    return 144 + int.from_bytes(data[140:144], "little")


def header_of(data: bytes, layer: str) -> list:
    """The elements of a DICOM file, places counted in its unpacked bytes."""
    if layer != "deflate":
        return parse_file(data)
    plain = unpack(data, layer)
    return parse_file(plain)
