"""Planted faults of values: what a header must not hold, in one slice or in all, and what it lacks."""

from __future__ import annotations

import numpy as np

from .case import FAULTY, Case, Draw, Kind, TrueVolume
from .encode import put_raw
from .faults_structure import BROKEN, GAP, SHORT
from .stack import CT, One, files_of, make, volume, with_header

BAD_TEXT = (b"NaN", b"inf", b"-inf", b"1e400", b"abc", b"", b"0", b"1\\2\\3\\4\\5\\6\\7", b"\\", b"-1", b"1,5", b"0x10")
DECIMALS = {"RescaleSlope": 1, "RescaleIntercept": 1, "ImagePositionPatient": 3, "ImageOrientationPatient": 6,
            "PixelSpacing": 2, "SliceThickness": 1, "SpacingBetweenSlices": 1, "InstanceNumber": 1, "NumberOfFrames": 1}
SHORTS = ("Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "SamplesPerPixel", "PixelRepresentation")
BAD_SHORTS = (b"", b"\0\0", b"\xff\xff", b"\3\0", b"\1", b"\1\0\1\0\1\0", b"abc ", b"\x0d\0")
HARMLESS = frozenset({"SliceThickness", "SpacingBetweenSlices", "InstanceNumber"})


def _where(stack: list[One], variant: int) -> list[One]:
    """All slices, the one in the middle, or the last."""
    return (stack, stack[3:4], stack[-1:])[variant % 3]


def _bad_decimal(random: Draw, variant: int, keyword: str) -> Case:
    stack = make(random, 7)
    text = BAD_TEXT[variant // 3]
    place = int(random.integers(DECIMALS[keyword]))
    for one in _where(stack, variant):
        value = text
        if DECIMALS[keyword] > 1 and text and b"\\" not in text:
            parts = [str(part).encode() for part in one.header[keyword].value]
            value = b"\\".join([*parts[:place], text, *parts[place + 1:]])
        put_raw(one.header, keyword, value)
    truth = volume(stack)
    if keyword in HARMLESS:
        return Case(files=files_of(stack, random), required=(truth,))
    codes = BROKEN if text else BROKEN | {"InputError"}
    legal = _legal(stack, keyword, text, variant, place)
    return Case(files=files_of(stack, random), possible=legal, refusals=codes | {"UNEVEN_SPACING"},
                codes=SHORT | GAP | {"BAD_VALUE", "MIXED_ORIENTATION", "MIXED_SIZE", "UNEVEN_SPACING"})


def _legal(stack: list[One], keyword: str, text: bytes, variant: int, place: int) -> tuple[TrueVolume, ...]:
    """What the headers say where the value is a legal one after all (a slope of -1, an intercept of 0)."""
    truth = volume(stack)
    if text not in (b"0", b"-1") or keyword in ("PixelSpacing", "NumberOfFrames"):
        return (truth,)
    for one in _where(stack, variant):
        number = float(text)
        if keyword == "RescaleSlope" and number:
            one.slope = number
        elif keyword == "RescaleIntercept":
            one.intercept = number
        elif keyword == "ImagePositionPatient":
            one.origin = one.origin.copy()
            one.origin[place] = number
        elif keyword == "ImageOrientationPatient":
            axes = one.axes.copy()
            axes[place // 3, place % 3] = number
            is_orientation = np.allclose(axes @ axes.T, np.eye(2), atol=1e-2)
            one.axes = axes if is_orientation else one.axes
    return (volume(stack),)


def _bad_short(random: Draw, variant: int, keyword: str) -> Case:
    stack = make(random, 7)
    for one in _where(stack, variant):
        put_raw(one.header, keyword, BAD_SHORTS[variant // 3], "US")
    return Case(files=files_of(stack, random), possible=(volume(stack),),
                refusals=BROKEN | {"DecoderError", "InputError", "SKIPPED", "DECODER_CRASH"},
                codes=SHORT | GAP | {"BAD_VALUE", "MIXED_SIZE"})


for _keyword in DECIMALS:
    FAULTY.kinds.append(Kind(name=f"value: {_keyword} is no number, not finite, absent, too many", clean=False,
                             make=lambda random, variant, keyword=_keyword: _bad_decimal(random, variant, keyword),
                             variants=3 * len(BAD_TEXT)))
for _keyword in SHORTS:
    FAULTY.kinds.append(Kind(name=f"value: {_keyword} is 0, absent, too large, of a wrong length", clean=False,
                             make=lambda random, variant, keyword=_keyword: _bad_short(random, variant, keyword),
                             variants=3 * len(BAD_SHORTS)))


@FAULTY("value: orientation is no orientation", 9)
def _(random: Draw, variant: int) -> Case:
    stack = make(random, 7)
    axes = (b"2\\0\\0\\0\\1\\0", b"1\\0\\0\\1\\0\\0", b"0\\0\\0\\0\\0\\0")[variant // 3]
    for one in _where(stack, variant):
        put_raw(one.header, "ImageOrientationPatient", axes)
    return Case(files=files_of(stack, random), possible=(volume(stack),),
                refusals=frozenset({"BAD_VALUE", "GAP"}), codes=SHORT | {"BAD_VALUE"})


@FAULTY("missing: position, orientation or pixel spacing", 9)
def _(random: Draw, variant: int) -> Case:
    stack = make(random, 7)
    keyword = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")[variant // 3]
    for one in _where(stack, variant):
        delattr(one.header, keyword)
    return Case(files=files_of(stack, random), possible=(volume(stack),),
                refusals=frozenset({"MISSING_GEOMETRY", "GAP"}), codes=SHORT | {"MISSING_GEOMETRY"})


@FAULTY("missing: pixel spacing is only in ImagerPixelSpacing", 1)
def _(random: Draw, variant: int) -> Case:
    stack = make(random, 7)
    for one in stack:
        del one.header.PixelSpacing
        one.header.ImagerPixelSpacing = ["0.7", "0.9"]
    return Case(files=files_of(stack, random), possible=(volume(stack),), refusals=frozenset({"MISSING_GEOMETRY"}))


@FAULTY("missing: SOP class, modality, SOP Instance UID, series or study UID", 15)
def _(random: Draw, variant: int) -> Case:
    stack = make(random, 7)
    keyword = ("SOPClassUID", "Modality", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID")[variant // 3]
    for one in _where(stack, variant):
        delattr(one.header, keyword)
    return Case(files=files_of(stack, random), possible=(volume(stack),), refusals=BROKEN,
                codes=SHORT | GAP | {"BAD_VALUE"})


@FAULTY("missing: preamble, meta header or transfer syntax of one slice", 2)
def _(random: Draw, variant: int) -> Case:
    stack = make(random, 7)
    stack[3].encoding["head"] = ("no preamble", "no meta")[variant]
    return Case(files=files_of(stack, random), required=(volume(stack),))


@FAULTY("missing: photometric interpretation, samples or bits", 5)
def _(random: Draw, variant: int) -> Case:
    stack = make(random, 7)
    keyword = ("PhotometricInterpretation", "SamplesPerPixel", "BitsStored", "HighBit", "PixelRepresentation")[variant]
    for one in stack:
        delattr(one.header, keyword)
    return Case(files=files_of(stack, random), possible=(volume(stack),),
                refusals=BROKEN | {"DecoderError", "InputError"})


@FAULTY("value: slopes of one series that cannot all be meant", 2)
def _(random: Draw, variant: int) -> Case:
    """Slope 0 in all slices: a constant picture; or an overflow of a number."""
    stack = make(random, 5)
    with_header(stack, "RescaleSlope", [("0", "1e39")[variant]] * 5)
    return Case(files=files_of(stack, random), possible=(volume(stack),),
                refusals=frozenset({"BAD_VALUE", "InputError"}))


@FAULTY("value: NaN in float pixel data", 1)
def _(random: Draw, variant: int) -> Case:
    from .encode import pixel_element

    stack = make(random, 5)
    for one in stack:
        values = random.normal(size=one.stored.shape).astype("<f4")
        values[2, 2] = np.nan
        one.stored, one.intercept = values, 0.0
        del one.header.RescaleSlope, one.header.RescaleIntercept
        one.header.BitsAllocated, one.header.SOPClassUID = 32, CT
        one.encoding.update(pixels=None, before=pixel_element(values.tobytes(), vr="OF", tag=(0x7FE0, 0x0008)))
    return Case(files=files_of(stack, random), possible=(volume(stack),),
                refusals=BROKEN | {"DecoderError", "InputError"})
