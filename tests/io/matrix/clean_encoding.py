"""Clean series in legal but unusual encoding."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import UID

from .case import CLEAN, Case, Draw
from .encode import BIG, EXPLICIT, IMPLICIT, element, encode_body, fragments, pixel_element, put_raw
from .stack import One, change, clean_case, files_of, make, volume

RLE, JPEG_LS, JPEG_2000 = "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.90"


def _all(random: Draw, stack: list[One] | None = None, **encoding: Any) -> Case:
    stack = stack or make(random)
    for one in stack:
        one.encoding.update(encoding)
    return clean_case([stack], random)


@CLEAN("encoding: explicit, implicit, big endian", 3)
def _(random: Draw, variant: int) -> Case:
    return _all(random, syntax=(EXPLICIT, IMPLICIT, BIG)[variant])


@CLEAN("encoding: 8 and 32 bits in big endian", 2)
def _(random: Draw, variant: int) -> Case:
    if variant:
        return _all(random, make(random, dtype="<u4"), syntax=BIG)
    return _all(random, make(random, dtype="u1", size=(8, 7)), syntax=BIG, vr="OB")


@CLEAN("encoding: no preamble; no meta header", 3)
def _(random: Draw, variant: int) -> Case:
    syntax, head = ((EXPLICIT, "no preamble"), (IMPLICIT, "no meta"), (EXPLICIT, "no meta"))[variant]
    return _all(random, syntax=syntax, head=head)


@CLEAN("encoding: group lengths", 1)
def _(random: Draw, variant: int) -> Case:
    def edit(one: One) -> None:
        for group in (0x0008, 0x0020, 0x0028):
            one.header.add_new((group, 0), "UL", 100)

    return clean_case([change(make(random), edit)], random)


@CLEAN("encoding: private creators with nested sequences of undefined length", 2)
def _(random: Draw, variant: int) -> Case:
    def edit(one: One) -> None:
        inner, outer = Dataset(), Dataset()
        inner.add_new((0x0029, 0x0010), "LO", "INNER")
        inner.add_new((0x0029, 0x1001), "OB", b"\xe0\x7f\x10\x00\x01\x02")
        outer.ReferencedImageSequence = Sequence([inner, Dataset()])
        outer["ReferencedImageSequence"].is_undefined_length = True
        one.header.add_new((0x0029, 0x0010), "LO", "ACME 1.1")
        one.header.add_new((0x0029, 0x1010), "SQ", Sequence([outer]))
        one.header[0x0029, 0x1010].is_undefined_length = True
        outer.is_undefined_length_sequence_item = True

    stack = change(make(random), edit)
    return _all(random, stack, syntax=(EXPLICIT, IMPLICIT)[variant])


@CLEAN("encoding: known attributes as UN", 1)
def _(random: Draw, variant: int) -> Case:
    def edit(one: One) -> None:
        for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "RescaleSlope", "RescaleIntercept",
                        "InstanceNumber", "PixelSpacing"):
            held = one.header[keyword]
            text = "\\".join(str(part) for part in held.value) if held.VM > 1 else str(held.value)
            put_raw(one.header, keyword, text.encode(), "UN")

    return clean_case([change(make(random), edit)], random)


@CLEAN("encoding: numbers with another VR (LO, IS, FD, UN)", 4)
def _(random: Draw, variant: int) -> Case:
    def edit(one: One) -> None:
        if variant == 0:
            for keyword in ("PixelSpacing", "ImagePositionPatient"):
                text = "\\".join(str(part) for part in one.header[keyword].value)
                put_raw(one.header, keyword, text.encode(), "LO")
        elif variant == 1:
            put_raw(one.header, "RescaleIntercept", b"-1024", "IS")
        elif variant == 2:
            put_raw(one.header, "ImagePositionPatient", struct.pack("<3d", *one.origin), "FD")
        else:
            put_raw(one.header, "Rows", struct.pack("<H", one.stored.shape[0]), "UN")

    return clean_case([change(make(random), edit)], random)


@CLEAN("encoding: numbers padded with NUL or spaces", 2)
def _(random: Draw, variant: int) -> Case:
    pad = (b"\0", b" ")[variant]

    def edit(one: One) -> None:
        for keyword in ("ImagePositionPatient", "RescaleSlope", "RescaleIntercept", "PixelSpacing", "InstanceNumber"):
            held = one.header[keyword]
            text = "\\".join(str(part) for part in held.value) if held.VM > 1 else str(held.value)
            put_raw(one.header, keyword, text.encode() + pad * 3, held.VR)

    return clean_case([change(make(random), edit)], random)


@CLEAN("encoding: UIDs padded with spaces, trailing NULs", 2)
def _(random: Draw, variant: int) -> Case:
    def edit(one: One) -> None:
        for keyword in ("SOPInstanceUID", "SeriesInstanceUID", "SOPClassUID", "StudyInstanceUID"):
            put_raw(one.header, keyword, str(one.header[keyword].value).encode() + (b"  ", b"\0\0")[variant], "UI")

    stack = make(random)
    change(stack[::2], edit)
    return clean_case([stack], random)


@CLEAN("encoding: character sets and names that are not ASCII", 3)
def _(random: Draw, variant: int) -> Case:
    charset, name = (("ISO_IR 192", "山田^太郎=やまだ"), ("GB18030", "王^小东"), ("ISO_IR 100", "Müller^Jörg"))[variant]

    def edit(one: One) -> None:
        one.header.SpecificCharacterSet = charset
        codec = {"ISO_IR 192": "utf-8", "GB18030": "gb18030", "ISO_IR 100": "latin-1"}[charset]
        put_raw(one.header, "PatientName", name.encode(codec), "PN")
        put_raw(one.header, "SeriesDescription", name.encode(codec), "LO")

    return clean_case([change(make(random), edit)], random)


@CLEAN("encoding: an unknown character set", 1)
def _(random: Draw, variant: int) -> Case:
    def edit(one: One) -> None:
        put_raw(one.header, "SpecificCharacterSet", b"ISO_IR 999", "CS")
        put_raw(one.header, "PatientName", b"\xff\xfe\x81", "PN")

    return clean_case([change(make(random), edit)], random)


@CLEAN("encoding: several window centres, odd optional values", 2)
def _(random: Draw, variant: int) -> Case:
    def edit(one: One) -> None:
        if variant == 0:
            one.header.WindowCenter, one.header.WindowWidth = ["40", "600"], ["80", "2000"]
        else:
            put_raw(one.header, "WindowCenter", b"abc", "DS")
            put_raw(one.header, "SliceLocation", b"", "DS")
            put_raw(one.header, "KVP", b"", "DS")
            put_raw(one.header, "PatientAge", b"0x1Y", "AS")

    return clean_case([change(make(random), edit)], random)


@CLEAN("encoding: a private value of over 1 MB before the pixel data", 2)
def _(random: Draw, variant: int) -> Case:
    blob = random.bytes(1_200_000)

    def edit(one: One) -> None:
        one.header.add_new((0x0029, 0x0010), "LO", "ACME 1.1")
        one.header.add_new((0x0029, 0x1020), ("OB", "UN")[variant], blob)

    return clean_case([change(make(random, 4), edit)], random)


@CLEAN("encoding: pixel data as OB, OW or UN", 3)
def _(random: Draw, variant: int) -> Case:
    if variant == 2:
        return _all(random, make(random, dtype="<u2"), vr="UN")
    return _all(random, make(random, dtype=("u1", "<u2")[variant], size=(6, 8)), vr=("OW", "OB")[variant])


@CLEAN("encoding: odd count of bytes, padded", 1)
def _(random: Draw, variant: int) -> Case:
    return _all(random, make(random, dtype="u1", size=(5, 7)), vr="OB")


@CLEAN("encoding: an icon with Rows and PixelData of its own stands before", 2)
def _(random: Draw, variant: int) -> Case:
    def edit(one: One) -> None:
        icon = Dataset()
        icon.Rows = icon.Columns = 4
        icon.SamplesPerPixel, icon.PhotometricInterpretation = 1, "MONOCHROME2"
        icon.BitsAllocated = icon.BitsStored = 8
        icon.HighBit, icon.PixelRepresentation = 7, 0
        icon.add_new(0x7FE00010, "OB", bytes(range(16)))
        one.header.IconImageSequence = Sequence([icon])
        one.header["IconImageSequence"].is_undefined_length = bool(variant)

    return clean_case([change(make(random), edit)], random)


@CLEAN("encoding: overlays, curves, data after the pixel data", 4)
def _(random: Draw, variant: int) -> Case:
    def edit(one: One) -> None:
        if variant == 0:
            one.header.add_new((0x6000, 0x0010), "US", 8)
            one.header.add_new((0x6000, 0x0011), "US", 7)
            one.header.add_new((0x6000, 0x0040), "CS", "G")
            one.header.add_new((0x6000, 0x0050), "SS", [1, 1])
            one.header.add_new((0x6000, 0x0100), "US", 1)
            one.header.add_new((0x6000, 0x0102), "US", 0)
            one.header.add_new((0x6000, 0x3000), "OW", bytes(8))
        elif variant == 1:
            one.encoding["after"] = element((0x7FE1, 0x0010), b"LO", b"ACME")
        elif variant == 2:
            one.encoding["after"] = element((0xFFFC, 0xFFFC), b"OB", bytes(64))
        else:
            one.header.add_new((0x5000, 0x3000), "OW", bytes(32))

    return clean_case([change(make(random), edit)], random)


@CLEAN("encoding: pixel data longer than needed, trailing garbage", 3)
def _(random: Draw, variant: int) -> Case:
    def edit(one: One) -> None:
        if variant == 0:
            one.encoding["pixels"] = one.stored.tobytes() + bytes(64)
        else:
            one.encoding["after"] = (b"", b"\0" * 512, b"garbage! " * 5)[variant]

    return clean_case([change(make(random), edit)], random)


@CLEAN("encoding: compressed without loss", 6)
def _(random: Draw, variant: int) -> Case:
    syntax = (RLE, JPEG_LS, JPEG_2000)[variant // 2]
    stack = make(random, size=(40, 33))
    for one in stack:
        compress(one, syntax, fragment=bool(variant % 2) and syntax != RLE, table=not variant % 2)
    return clean_case([stack], random)


def compress(one: One, syntax: str, *, fragment: bool = False, table: bool = True) -> None:
    from pydicom.pixels import get_encoder

    stored = one.stored & np.uint16(0x0FFF)
    one.stored = stored.astype("<u2")
    one.header.BitsStored, one.header.HighBit = 12, 11
    options = {"rows": stored.shape[0], "columns": stored.shape[1], "samples_per_pixel": 1, "bits_allocated": 16,
               "bits_stored": 12, "pixel_representation": 0, "photometric_interpretation": "MONOCHROME2",
               "number_of_frames": 1}
    stream = get_encoder(UID(syntax)).encode(one.stored, **options)
    half = len(stream) // 4 * 2
    parts = [stream[:half], stream[half:]] if fragment else [stream]
    one.encoding.update(syntax=syntax, pixels=fragments(parts, table=table), vr="OB", encapsulated=True)


@CLEAN("encoding: encapsulated with a defined length", 1)
def _(random: Draw, variant: int) -> Case:
    stack = make(random, size=(40, 33))
    for one in stack:
        compress(one, RLE)
        items = one.encoding["pixels"][:-8]
        one.encoding.update(pixels=items, encapsulated=False)
    return clean_case([stack], random)


@CLEAN("encoding: syntaxes mixed in one series", 1)
def _(random: Draw, variant: int) -> Case:
    stack = make(random, size=(40, 33))
    for one, syntax in zip(stack, (RLE, JPEG_2000, JPEG_LS, EXPLICIT, IMPLICIT, BIG), strict=True):
        if syntax in (RLE, JPEG_2000, JPEG_LS):
            compress(one, syntax)
        else:
            one.encoding["syntax"] = syntax
    return clean_case([stack], random)


@CLEAN("encoding: deflated", 1)
def _(random: Draw, variant: int) -> Case:
    import zlib

    stack, files = make(random), {}
    for index, one in enumerate(stack):
        from .encode import encode_meta

        body = encode_body(one.header, EXPLICIT) + pixel_element(one.stored.tobytes())
        packer = zlib.compressobj(wbits=-15)
        packed = packer.compress(body) + packer.flush()
        packed += b"\0" * (len(packed) % 2)
        files[f"{index}.dcm"] = bytes(128) + b"DICM" + encode_meta(one.header, "1.2.840.10008.1.2.1.99") + packed
    return Case(files=files, required=(volume(stack),))


@CLEAN("encoding: empty items, sequences and values of type 2", 1)
def _(random: Draw, variant: int) -> Case:
    def edit(one: One) -> None:
        one.header.ReferencedStudySequence = Sequence([])
        one.header.AccessionNumber, one.header.StudyDate, one.header.PatientBirthDate = "", "", ""
        one.header.add(DataElement(0x00081140, "SQ", Sequence([Dataset()])))
        one.header.NumberOfFrames = "1"

    return clean_case([change(make(random), edit)], random)


@CLEAN("encoding: foreign files beside the series", 7)
def _(random: Draw, variant: int) -> Case:
    stack = make(random)
    report, structure, segmentation, state = (_other(stack[0], kind) for kind in
                                              ("88.11", "481.3", "66.4", "11.1"))
    beside = ({"notes.dcm": b"Hello, I am a text file.\n"}, {"photo.jpg": b"\xff\xd8\xff\xe0" + bytes(100)},
              {"thumbs.db": bytes(64), ".DS_Store": bytes(10), "a.csv": b"x,y\n"}, {"report.dcm": report},
              {"structures.dcm": structure}, {"mask.dcm": segmentation}, {"state.dcm": state})[variant]
    return Case(files={**files_of(stack, random), **beside}, required=(volume(stack),))


def _other(one: One, kind: str) -> bytes:
    """An object of the same series' study that is no image."""
    from .encode import encode

    other = Dataset()
    for keyword in ("StudyInstanceUID", "PatientID", "FrameOfReferenceUID"):
        setattr(other, keyword, one.header[keyword].value)
    other.SOPClassUID, other.SOPInstanceUID = f"1.2.840.10008.5.1.4.1.1.{kind}", f"1.2.826.9.{kind}"
    other.SeriesInstanceUID, other.Modality = f"1.2.826.10.{kind}", "OT"
    return encode(other, None)
