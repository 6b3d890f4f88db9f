"""Which parts of which files a mutation touches: what the oracle needs to say whether a change could be noticed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from tools.fuzz.elements import PIXELS, fragments
from tools.fuzz.grid_mutations import NIFTI_FIELDS
from tools.fuzz.mutation import Files, Mutation, Splice, header_of, unpack

VALUES, STREAM, PACKED, WHOLE_FRAMES = "voxel values", "compressed stream", "compressed file", "whole frames"
WIDTHS = {"i": 4, "h": 2, "f": 4, "B": 1}
VALUES_FROM = {".raw": 0, ".img": 0, ".bmp": 34, "tiff": 64, ".gif": 13}
"""Where the head of a file ends that holds its values plainly (or its palette), bytes."""


def touched(mutation: Mutation, files: Files) -> set[str]:
    """Names of elements, header fields, VALUES, STREAM, PACKED; "length" where bytes move."""
    found: set[str] = set()
    for splice in mutation.splices:
        if splice.delete or splice.file_from:
            found.add("file")
            continue
        parts = {part for one in _changed(splice, files[splice.file]) for part in _parts(one, files[splice.file])}
        if splice.drop != len(splice.insert) // 2 and parts & {VALUES, STREAM, "fragments", "head", "nifti header"}:
            parts.add("length")
        found |= parts
    if mutation.kind == "cut stream" and "length" not in found and "rle" in mutation.case:
        return {STREAM}  # zeros are legal runs there, and RLE has no end marker
    if (mutation.kind, mutation.where) == ("fragments", "swap"):
        return {WHOLE_FRAMES if part == "fragments" else part for part in found}
    return found


def _changed(splice: Splice, data: bytes) -> Iterator[Splice]:
    """The splice itself; where it moves nothing, each stretch of bytes that it really changes."""
    new = bytes.fromhex(splice.insert)
    if splice.layer or splice.drop != len(new):
        yield splice
        return
    differing = [at for at, byte in enumerate(new) if data[splice.at + at : splice.at + at + 1] != bytes([byte])]
    for at in differing:
        yield replace(splice, at=splice.at + at, drop=1, insert=new[at : at + 1].hex())


def _parts(splice: Splice, data: bytes) -> Iterator[str]:
    name = splice.file.lower()
    stop = len(data) if splice.drop < 0 else splice.at + max(splice.drop, 1)
    if data[128:132] == b"DICM":
        yield from _dicom_parts(splice, data, stop)
    elif name.endswith((".nii", ".hdr")) or (name.endswith(".nii.gz") and splice.layer):
        yield from _nifti_parts(splice.at, stop)
    elif name.endswith((".nrrd", ".nhdr", ".mha", ".mhd")):
        yield from _text_parts(splice.at, stop, data)
    elif name.endswith((".gz", ".png", ".zraw", ".zip")):
        yield PACKED  # they hold a checksum
    elif name.endswith(tuple(VALUES_FROM)):
        first = VALUES_FROM[name[-4:]]
        yield from (["head"] if splice.at < first else []) + ([VALUES] if stop > first else [])
    elif name.endswith((".mp4", ".avi", ".mkv")):
        yield STREAM
    else:
        yield STREAM if splice.at >= len(data) // 8 else "head"


def _dicom_parts(splice: Splice, data: bytes, stop: int) -> Iterator[str]:
    deflated = b"1.2.840.10008.1.2.1.99" in data[:400]
    if deflated and not splice.layer:
        yield STREAM  # deflate alone has no checksum
        return
    plain = unpack(data, splice.layer)
    elements = header_of(data, splice.layer)
    if splice.at < 132:
        yield "preamble"
    for one in elements:
        if one.start < stop and splice.at < one.end:
            if one.tag == PIXELS and splice.at >= one.value:
                yield from _pixel_parts(splice, plain, stop, one)
            else:
                yield one.keyword


def _pixel_parts(splice: Splice, data: bytes, stop: int, pixels) -> Iterator[str]:
    if not pixels.undefined:
        yield VALUES
        return
    inside = [span for span in fragments(data, pixels)[1:] if span[0] + 8 <= splice.at and stop <= span[1]]
    yield STREAM if inside else "fragments"


def _nifti_parts(at: int, stop: int) -> Iterator[str]:
    if stop > 352:
        yield VALUES
    fields = [name for name, (code, offset, count) in NIFTI_FIELDS.items()
              if at < offset + WIDTHS[code] * count and stop > offset]
    yield from fields or (["nifti header"] if at < 352 else [])


def _text_parts(at: int, stop: int, data: bytes) -> Iterator[str]:
    mark = data.find(b"\n\n") + 2 if data.startswith(b"NRRD") else data.find(b"\n", data.find(b"ElementDataFile")) + 1
    end = mark if mark > 1 else len(data)
    if stop > end:
        packed = b"encoding: gzip" in data[:end] or b"CompressedData = True" in data[:end]
        yield PACKED if packed else VALUES
    place = 0
    for line in data[:end].split(b"\n"):
        if at <= place + len(line) and stop > place and line and not line.startswith(b"#"):
            yield line.partition(b"=" if b"=" in line else b":")[0].strip().decode("latin-1")
        place += len(line) + 1
