"""Planted faults of what is there: gaps, duplicates, strays, cut and foreign files."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np

from .case import FAULTY, Case, Draw, TrueVolume
from .clean_encoding import JPEG_2000, JPEG_LS, RLE, compress
from .encode import IMPLICIT
from .stack import One, any_axes, files_of, make, place, set_rescale, volume, with_header, write_number

GAP, SHORT = frozenset({"GAP"}), frozenset({"SHORT_COVERAGE"})
BROKEN = frozenset({"TRUNCATED", "BAD_VALUE", "GAP", "MISSING_GEOMETRY", "UNREADABLE", "SKIPPED", "NOT_A_SERIES",
                    "TOO_LARGE", "UNSUPPORTED", "MIXED_SIZE", "DUPLICATE_POSITION"})


def refusable(stack: list[One], random: Draw, files: Iterable[One] | None = None, **options: Any) -> Case:
    """A case whose volume may load (whole, or in part and told) or be refused."""
    options = {"refusals": BROKEN, "codes": SHORT | GAP, **options}
    return Case(files=files_of(stack if files is None else files, random), possible=(volume(stack),), **options)


def without(stack: list[One], *places: int) -> list[One]:
    return [one for index, one in enumerate(stack) if index not in places]


@FAULTY("gap: each slice inside, of 4 to 12", 54)
def _(random: Draw, variant: int) -> Case:
    cases = [(count, hole) for count in range(4, 13) for hole in range(1, count - 1)]
    count, hole = cases[variant]
    stack = make(random, count, axes=any_axes(random, variant % 4))
    with_header(stack, "InstanceNumber", [""] * count)
    return Case(files=files_of(without(stack, hole), random), possible=(volume(stack),), refusals=GAP)


@FAULTY("gap: each slice inside, positions rounded or tilted", 20)
def _(random: Draw, variant: int) -> Case:
    stack = make(random, 12, tilt=(0, 15)[variant % 2], step=(1.25, 2.5)[variant % 2])
    for one in stack:
        one.origin = np.round(one.origin, 1) if variant % 2 == 0 else one.origin
        place(one)
    hole = 1 + variant // 2
    return Case(files=files_of(without(stack, hole), random), possible=(volume(stack),), refusals=GAP)


@FAULTY("gap: several, beside each other and apart", 8)
def _(random: Draw, variant: int) -> Case:
    holes = ((3, 4), (2, 6), (1, 8), (3, 4, 5), (2, 4, 6), (5, 6, 7, 8), (1, 3), (8, 6, 1))[variant]
    stack = make(random, 10)
    return Case(files=files_of(without(stack, *holes), random), possible=(volume(stack),), refusals=GAP)


@FAULTY("gap: every second slice", 2)
def _(random: Draw, variant: int) -> Case:
    stack = make(random, 12, SpacingBetweenSlices="2.5")
    if variant:
        for one in stack:
            del one.header.SpacingBetweenSlices
    return Case(files=files_of(stack[::2], random), possible=(volume(stack),), refusals=GAP, codes=GAP | SHORT)


@FAULTY("gap: in a series of two distances", 10)
def _(random: Draw, variant: int) -> Case:
    places = np.concatenate([np.arange(8) * 2.5, 17.5 + np.arange(1, 9) * 5.0])
    stack = make(random, places=places)
    hole = (1, 2, 4, 5, 6, 9, 10, 12, 13, 14)[variant]
    return Case(files=files_of(without(stack, hole), random), possible=(volume(stack),), refusals=GAP)


@FAULTY("gap: in one of two echoes", 4)
def _(random: Draw, variant: int) -> Case:
    stacks = [make(random, 7, modality="MR", EchoTime=echo) for echo in ("5", "10")]
    kept = without(stacks[1], (1, 3, 5, 2)[variant])
    return Case(files=files_of([*stacks[0], *kept], random), required=(volume(stacks[0]),),
                possible=(volume(stacks[1]),), refusals=GAP)


@FAULTY("gap: in one of three time points that only numbers tell apart", 2)
def _(random: Draw, variant: int) -> Case:
    stacks = [make(random, 6, modality="MR", start=1 + 6 * index) for index in range(3)]
    kept = without(stacks[1], (2, 0)[variant])
    return Case(files=files_of([*stacks[0], *kept, *stacks[2]], random), possible=tuple(map(volume, stacks)),
                refusals=GAP | {"DUPLICATE_POSITION"}, codes=SHORT)


@FAULTY("gap: and a duplicate", 4)
def _(random: Draw, variant: int) -> Case:
    stack = make(random, 9)
    kept = without(stack, 4)
    files = files_of(kept, random)
    twin = (3, 5, 1, 7)[variant]
    if variant % 2:
        stack[twin].header.SOPInstanceUID = "1.2.826.99"
    return Case(files={**files, "twin.dcm": stack[twin].content()}, possible=(volume(stack),),
                refusals=GAP | {"DUPLICATE_POSITION"})


@FAULTY("coverage: 1 to 5 slices cut, ImagesInAcquisition tells", 10)
def _(random: Draw, variant: int) -> Case:
    stack = make(random, 14, ImagesInAcquisition="14", AcquisitionNumber="1")
    cut = variant // 2 + 1
    kept = stack[cut:] if variant % 2 else stack[:-cut]
    return refusable(stack, random, kept, refusals=SHORT, codes=SHORT)


@FAULTY("coverage: 1 to 5 slices cut, NumberOfSlices tells", 4)
def _(random: Draw, variant: int) -> Case:
    stack = make(random, 14, modality="PT", NumberOfSlices=14, dtype="<i2")
    with_header(stack, "InstanceNumber", [""] * 14)
    kept = stack[variant + 1:] if variant % 2 else stack[: -variant - 1]
    return refusable(stack, random, kept, refusals=SHORT, codes=SHORT)


@FAULTY("coverage: 1 to 5 slices cut where the numbers start", 5)
def _(random: Draw, variant: int) -> Case:
    stack = make(random, 14)
    return refusable(stack, random, stack[variant + 1:], refusals=SHORT, codes=SHORT)


@FAULTY("coverage: an echo is shorter than the other", 2)
def _(random: Draw, variant: int) -> Case:
    stacks = [make(random, 7, modality="MR", EchoTime=echo, EchoNumbers=echo) for echo in ("1", "2")]
    kept = stacks[1][1:] if variant else stacks[1][:-1]
    return Case(files=files_of([*stacks[0], *kept], random), required=(volume(stacks[0]),),
                possible=(volume(stacks[1]),), refusals=SHORT, codes=SHORT)


@FAULTY("duplicate: the same file twice, or all of them", 3)
def _(random: Draw, variant: int) -> Case:
    stack = make(random)
    twins = {f"copy/{name}": content for name, content in files_of(stack if variant == 1 else stack[:1]).items()}
    if variant == 2:
        twins = {"copy of slice.dcm": stack[-1].content()}
    return Case(files={**files_of(stack, random), **twins}, required=(volume(stack),),
                codes=frozenset({"DUPLICATE_SLICE"}), always_told=True)


@FAULTY("duplicate: the same pixels under a new SOP Instance UID", 2)
def _(random: Draw, variant: int) -> Case:
    stack = make(random)
    files = files_of(stack, random)
    for index, one in enumerate(stack if variant else stack[2:3]):
        one.header.SOPInstanceUID = f"1.2.826.99.{index}"
        files[f"twin{index}.dcm"] = one.content()
    return Case(files=files, required=(volume(stack),), codes=frozenset({"DUPLICATE_SLICE"}), always_told=True)


@FAULTY("duplicate: other headers of no account, same SOP Instance UID", 2)
def _(random: Draw, variant: int) -> Case:
    stack = make(random)
    files = files_of(stack, random)
    stack[2].header.SeriesDescription, stack[2].header.AccessionNumber = "sent again", "77"
    if variant:
        stack[2].encoding["syntax"] = IMPLICIT
    return Case(files={**files, "twin.dcm": stack[2].content()}, required=(volume(stack),),
                codes=frozenset({"DUPLICATE_SLICE"}), always_told=True)


@FAULTY("duplicate: recompressed copies of the same SOP Instance UID", 4)
def _(random: Draw, variant: int) -> Case:
    stack = make(random, size=(40, 33))
    for one in stack:
        one.stored &= np.uint16(0x0FFF)
        one.header.BitsStored, one.header.HighBit = 12, 11
    files = files_of(stack, random)
    for index, one in enumerate(stack if variant == 3 else stack[2:3]):
        compress(one, (RLE, JPEG_LS, JPEG_2000, RLE)[variant])
        files[f"packed{index}.dcm"] = one.content()
    return Case(files=files, required=(volume(stack),), codes=frozenset({"DUPLICATE_SLICE"}), always_told=True)


@FAULTY("duplicate: the same SOP Instance UID with other pixels", 2)
def _(random: Draw, variant: int) -> Case:
    return _other_pixels(random, new_uid=False, elsewhere=variant)


@FAULTY("duplicate: the same position with other pixels", 2)
def _(random: Draw, variant: int) -> Case:
    return _other_pixels(random, new_uid=True, elsewhere=variant)


def _other_pixels(random: Draw, *, new_uid: bool, elsewhere: int) -> Case:
    stack = make(random)
    files = files_of(stack, random)
    extra = stack[(2, 5)[elsewhere]]
    truth = volume(stack)
    extra.stored = extra.stored[::-1]
    extra.header.InstanceNumber = "7"
    if new_uid:
        extra.header.SOPInstanceUID = "1.2.826.99"
    return Case(files={**files, "other.dcm": extra.content()}, possible=(truth,),
                refusals=frozenset({"DUPLICATE_POSITION"}), codes=frozenset({"DUPLICATE_POSITION"}), always_told=True)


@FAULTY("duplicate: the same pixels with another rescale", 2)
def _(random: Draw, variant: int) -> Case:
    stack = make(random)
    files = files_of(stack, random)
    truth = volume(stack)
    set_rescale(stack[2], 1.0, -1000.0)
    if variant:
        stack[2].header.SOPInstanceUID = "1.2.826.99"
    return Case(files={**files, "other.dcm": stack[2].content()}, possible=(truth,),
                refusals=frozenset({"DUPLICATE_POSITION"}))


@FAULTY("position: one slice, or all, at the place of another", 4)
def _(random: Draw, variant: int) -> Case:
    stack = make(random, 7)
    for one in stack if variant < 2 else stack[(2, 6)[variant - 2]:][:1]:
        one.header.ImagePositionPatient = (["0", "0", "0"] if variant == 0 else
                                           [write_number(value) for value in stack[1].origin])
    return Case(files=files_of(stack, random), possible=(volume(stack),), refusals=frozenset({"DUPLICATE_POSITION"}))


@FAULTY("duplicate: two volumes at one place that nothing tells apart", 2)
def _(random: Draw, variant: int) -> Case:
    stacks = [make(random, 5) for _ in range(2)]
    for one in [*stacks[0], *stacks[1]]:
        one.header.InstanceNumber = ("", "1")[variant]
    return Case(files=files_of([*stacks[0], *stacks[1]], random), possible=tuple(map(volume, stacks)),
                refusals=frozenset({"DUPLICATE_POSITION"}))


@FAULTY("duplicate: two volumes of one UID whose grids interleave or are shifted", 3)
def _(random: Draw, variant: int) -> Case:
    shift = ((0, 0, 1.0), (3.0, 2.0, 6.25), (0, 0, 0.4))[variant]
    stacks = [make(random, 6), make(random, 6, origin=np.array((-31.5, -42.25, 17.0)) + shift)]
    return Case(files=files_of([*stacks[0], *stacks[1]], random), possible=tuple(map(volume, stacks)),
                refusals=frozenset({"DUPLICATE_POSITION", "MIXED_SIZE", "GAP", "UNEVEN_SPACING"}))


@FAULTY("stray: one slice of other rows, spacing or bits", 12)
def _(random: Draw, variant: int) -> Case:
    stack = make(random, 8)
    where = (0, 3, 7)[variant % 3]
    one, what = stack[where], variant // 3
    if what == 0:
        one.stored = one.stored[:-2]
        one.header.Rows = one.stored.shape[0]
    elif what == 1:
        one.spacing = (0.5, 0.6)
        one.header.PixelSpacing = ["0.5", "0.6"]
    elif what == 2:
        one.stored = (one.stored & 0xFF).astype("u1")
        one.header.BitsAllocated, one.header.BitsStored, one.header.HighBit = 8, 8, 7
        one.encoding["vr"] = "OB"
    else:
        one.stored = np.tile(one.stored, 2)
        one.header.Columns = one.stored.shape[1]
    return refusable(stack, random, codes=frozenset({"GAP", "SHORT_COVERAGE", "MIXED_SIZE"}))


@FAULTY("stray: one slice turned by 5 degrees, or mirrored", 9)
def _(random: Draw, variant: int) -> Case:
    stack = make(random, 8)
    where = (0, 3, 7)[variant % 3]
    angle = np.radians(5)
    axes = ((1, 0, 0, 0, np.cos(angle), np.sin(angle)), (-1, 0, 0, 0, 1, 0), (0, 1, 0, 1, 0, 0))[variant // 3]
    truth = volume(without(stack, where))
    stack[where].header.ImageOrientationPatient = [write_number(value) for value in axes]
    return Case(files=files_of(stack, random), possible=(truth,),
                refusals=frozenset({"GAP", "MIXED_ORIENTATION"}), codes=frozenset({"MIXED_ORIENTATION"}),
                always_told=True)


@FAULTY("stray: one slice moved in plane", 6)
def _(random: Draw, variant: int) -> Case:
    stack = make(random, 8)
    truth = volume(stack)
    where, far = (0, 3, 7)[variant % 3], (30.0, 2.0)[variant // 3]
    stack[where].header.ImagePositionPatient[0] = write_number(stack[where].origin[0] + far)
    return Case(files=files_of(stack, random), possible=(truth,), refusals=frozenset({"MIXED_SIZE", "GAP"}))


@FAULTY("stray: the position of one slice is mistyped along the normal", 9)
def _(random: Draw, variant: int) -> Case:
    """What is left of the order is what the header says; a shift must be told."""
    stack = make(random, 10)
    where = (0, 4, 9)[variant % 3]
    stack[where].origin = stack[where].origin + np.array((0, 0, (1.0, -6.0, 100.0)[variant // 3]))
    place(stack[where])
    codes = frozenset({"GAP", "UNEVEN_SPACING", "DUPLICATE_POSITION"})
    return Case(files=files_of(stack, random), possible=(volume(stack),), refusals=codes, codes=codes, always_told=True)


@FAULTY("stray: one slice of another frame of reference, kernel, patient or study", 12)
def _(random: Draw, variant: int) -> Case:
    stack = make(random, 8)
    keyword, value = (("FrameOfReferenceUID", "1.2.826.5.9"), ("ConvolutionKernel", "B70s"), ("PatientID", "Q2"),
                      ("StudyInstanceUID", "1.2.826.6.9"))[variant // 3]
    setattr(stack[(0, 3, 7)[variant % 3]].header, keyword, value)
    codes = frozenset({"GAP", "SHORT_COVERAGE", "BAD_VALUE", "MIXED_SERIES", "NOT_A_SERIES"})
    return refusable(stack, random, codes=codes)


@FAULTY("stray: one slice says another modality, SOP class, photometric interpretation or sign", 12)
def _(random: Draw, variant: int) -> Case:
    stack = make(random, 8)
    keyword, value = (("Modality", "MR"), ("SOPClassUID", "1.2.840.10008.5.1.4.1.1.4"),
                      ("PhotometricInterpretation", "MONOCHROME1"), ("PixelRepresentation", 1))[variant // 3]
    setattr(stack[(0, 3, 7)[variant % 3]].header, keyword, value)
    return refusable(stack, random, codes=frozenset({"GAP", "SHORT_COVERAGE", "BAD_VALUE"}))


@FAULTY("file: NumberOfFrames is lost, or BitsAllocated halved", 2)
def _(random: Draw, variant: int) -> Case:
    stack = make(random, 6)
    for one in stack:
        if variant:
            one.header.BitsAllocated, one.header.BitsStored, one.header.HighBit = 8, 8, 7
        else:
            one.encoding["pixels"] = one.stored.tobytes() * 3
    return refusable(stack, random)


@FAULTY("stray: a colour picture or a capture among the slices", 4)
def _(random: Draw, variant: int) -> Case:
    stack = make(random, 6)
    extra = make(random, 1, start=7)[0]
    truth = volume(stack)
    picture = _picture(extra)
    if variant % 2:
        extra.header.SOPClassUID, extra.header.ImageType = "1.2.840.10008.5.1.4.1.1.7", ["DERIVED", "SECONDARY"]
    else:
        extra.header.SamplesPerPixel, extra.header.PhotometricInterpretation = 3, "RGB"
        extra.header.PlanarConfiguration, extra.header.BitsAllocated, extra.header.BitsStored = 0, 8, 8
        extra.header.HighBit = 7
        picture = TrueVolume(slices=(replace(picture.slices[0], pixels=np.zeros((8, 7, 3))),), placed=False)
        extra.encoding.update(pixels=bytes(8 * 7 * 3), vr="OB")
    if variant < 2:
        del extra.header.ImagePositionPatient, extra.header.ImageOrientationPatient
    return Case(files=files_of([*stack, extra], random), required=(truth,), possible=(picture,),
                refusals=frozenset({"NOT_A_SERIES"}))


def _picture(one: One) -> TrueVolume:
    pixels = one.truth()
    return TrueVolume(slices=(pixels,), placed=False)


@FAULTY("file: cut at any offset", 40)
def _(random: Draw, variant: int) -> Case:
    stack = make(random, 6)
    where = (0, 2, 5)[variant % 3]
    contents = [one.content() for one in stack]
    size = len(contents[where])
    offset = int(size * variant / 40) if variant < 38 else size - (40 - variant)
    contents[where] = contents[where][:offset]
    return _of_contents(stack, contents, random)


def _of_contents(stack: list[One], contents: list[bytes], random: Draw, **options: Any) -> Case:
    names = random.permutation(len(contents))
    files = {f"IM{name:04}.dcm": content for name, content in zip(names, contents, strict=True)}
    return Case(files=files, possible=(volume(stack),),
                **{"refusals": BROKEN, "codes": SHORT | GAP | {"TRUNCATED"}, **options})


@FAULTY("file: one slice is empty, all zero bytes, or noise", 12)
def _(random: Draw, variant: int) -> Case:
    stack = make(random, 6)
    contents = [one.content() for one in stack]
    where, size = (0, 3, 5)[variant % 3], len(contents[0])
    noise = random.bytes(size)
    contents[where] = (b"", bytes(size), bytes(9) + noise, bytes(128) + b"DICM" + noise)[variant // 3]
    return _of_contents(stack, contents, random)


@FAULTY("file: pixel data absent or shorter than promised", 6)
def _(random: Draw, variant: int) -> Case:
    stack = make(random, 6)
    one = stack[(0, 3, 5)[variant % 3]]
    one.encoding["pixels"] = None if variant < 3 else one.stored.tobytes()[:-4]
    return refusable(stack, random)


@FAULTY("file: compressed pixel data cut, wrong or swapped for noise", 9)
def _(random: Draw, variant: int) -> Case:
    stack = make(random, 5, size=(40, 33))
    for one in stack:
        compress(one, (RLE, JPEG_LS, JPEG_2000)[variant // 3])
    one, how = stack[(0, 2, 4)[variant % 3]], variant % 3
    held = one.encoding["pixels"]
    if how == 0:
        one.encoding["pixels"] = held[: len(held) // 2]
    elif how == 1:
        one.encoding["pixels"] = held[:30] + bytes(len(held) - 38) + held[-8:]
    else:
        one.encoding["pixels"] = held[-8:]
    return refusable(stack, random, refusals=BROKEN | {"DecoderError", "InputError", "DECODER_CRASH"})


@FAULTY("file: the transfer syntax is absent or lies", 4)
def _(random: Draw, variant: int) -> Case:
    stack = make(random, 6)
    contents = [one.content() for one in stack]
    real, lies = b"1.2.840.10008.1.2.1\0", ("1.2.840.10008.1.2", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.5", "9.9.9")
    lie = lies[variant].encode().ljust(len(real), b"\0")
    which = range(6) if variant < 2 else (3,)
    for index in which:
        contents[index] = contents[index].replace(real, lie, 1)
    return _of_contents(stack, contents, random, refusals=BROKEN | {"DecoderError", "InputError", "DECODER_MISSING"})


@FAULTY("file: two PixelData elements", 2)
def _(random: Draw, variant: int) -> Case:
    from .encode import pixel_element

    stack = make(random, 6)
    for one in stack[:1] if variant else stack:
        one.encoding["after"] = pixel_element(one.stored[::-1].tobytes())
    return refusable(stack, random)


