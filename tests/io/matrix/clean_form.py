"""Clean series in legal but unusual form: order, geometry and values."""

from __future__ import annotations

import numpy as np

from .case import CLEAN, Case, Draw, TrueVolume
from .stack import (
    PLANES,
    One,
    any_axes,
    change,
    clean_case,
    files_of,
    make,
    rotation,
    set_rescale,
    volume,
    with_header,
    write_number,
)


@CLEAN("order: file names shuffled", 4)
def _(random: Draw, variant: int) -> Case:
    return clean_case([make(random, axes=any_axes(random, variant))], random)


@CLEAN("order: InstanceNumber reversed, equal, blank, absent, negative, random, huge, repeated", 8)
def _(random: Draw, variant: int) -> Case:
    stack = make(random, 7, axes=any_axes(random, variant % 4))
    forms = [range(7, 0, -1), [1] * 7, [""] * 7, None, range(-7, 0), random.permutation(100)[:7],
             range(2147483640, 2147483647), [1, 1, 2, 2, 3, 3, 4]]
    if forms[variant] is None:
        return clean_case([change(stack, lambda one: delattr(one.header, "InstanceNumber"))], random)
    return clean_case([with_header(stack, "InstanceNumber", [str(value) for value in forms[variant]])], random)


@CLEAN("order: SliceLocation lies, AcquisitionTime reversed, ContentTime equal", 3)
def _(random: Draw, variant: int) -> Case:
    stack = make(random, 6)
    keyword, values = [("SliceLocation", [write_number(value) for value in random.normal(size=6)]),
                       ("AcquisitionTime", [f"1200{59 - index}.5" for index in range(6)]),
                       ("ContentTime", ["120000"] * 6)][variant]
    return clean_case([with_header(stack, keyword, values)], random)


@CLEAN("order: files in nested folders, without extensions", 2)
def _(random: Draw, variant: int) -> Case:
    stack = make(random, 6)
    pattern = ["{0:04}", "d{0}/e/{0}.ima"][variant]
    return Case(files=files_of(stack, random, pattern), required=(volume(stack),))


@CLEAN("geometry: 48 flips and permutations", 48)
def _(random: Draw, variant: int) -> Case:
    """Every choice of two signed axes of the three, and the stack counted up or down."""
    names = [(first, second) for first in range(3) for second in range(3) if first != second]
    first, second = names[variant // 8]
    axes = np.zeros(6)
    axes[first], axes[3 + second] = 1 - 2 * (variant % 2), 1 - 2 * (variant // 2 % 2)
    return clean_case([make(random, 5, axes=axes, step=-2.0 if variant // 4 % 2 else 2.0)], random)


@CLEAN("geometry: oblique and double oblique", 8)
def _(random: Draw, variant: int) -> Case:
    angle = np.radians([5, 20, 44.9, 45, 45.1, 60][variant]) if variant < 6 else 0
    axes = (1, 0, 0, 0, np.cos(angle), np.sin(angle)) if variant < 6 else rotation(random)[:2].ravel()
    return clean_case([make(random, axes=axes)], random)


@CLEAN("geometry: gantry tilt", 6)
def _(random: Draw, variant: int) -> Case:
    return clean_case([make(random, 9, tilt=[-25, -10, -1, 1, 12.5, 30][variant])], random)


@CLEAN("geometry: rounding of positions and orientation", 10)
def _(random: Draw, variant: int) -> Case:
    size = 10.0 ** -(2 + variant // 2)
    stack = make(random, 8, axes=any_axes(random, 3) if variant % 2 else PLANES["axial"])
    for one in stack:
        where = np.round(one.origin / size) * size
        one.header.ImagePositionPatient = [write_number(value) for value in where]
        axes = np.round(one.axes.ravel() / min(size, 1e-4)) * min(size, 1e-4)
        one.header.ImageOrientationPatient = [write_number(value) for value in axes]
    return clean_case([stack], random, tolerance_mm=max(4 * size, 2e-3))


@CLEAN("geometry: orientation differs in its last digits between slices", 3)
def _(random: Draw, variant: int) -> Case:
    size = (1e-6, 1e-5, 1e-4)[variant]
    stack = make(random, 8, axes=any_axes(random, 3))
    for one in stack:
        noisy = one.axes.ravel() + random.uniform(-size, size, 6)
        one.header.ImageOrientationPatient = [write_number(value) for value in noisy]
    return clean_case([stack], random, tolerance_mm=20 * size + 1e-3)


@CLEAN("geometry: spacing of slices tiny or huge", 5)
def _(random: Draw, variant: int) -> Case:
    return clean_case([make(random, 6, step=(0.05, 0.1, 0.5, 40.0, 250.0)[variant])], random)


@CLEAN("geometry: pixels far from square, tiny or huge", 4)
def _(random: Draw, variant: int) -> Case:
    spacing = ((0.2, 3.0), (5.0, 0.1), (0.01, 0.012), (12.0, 12.0))[variant]
    return clean_case([make(random, spacing=spacing)], random)


@CLEAN("geometry: pictures of one row, one column, one pixel, odd sizes", 5)
def _(random: Draw, variant: int) -> Case:
    return clean_case([make(random, size=((1, 9), (9, 1), (1, 1), (7, 3), (2, 31))[variant])], random)


@CLEAN("geometry: 1, 2, 3, 4 and 300 slices", 5)
def _(random: Draw, variant: int) -> Case:
    return clean_case([make(random, (1, 2, 3, 4, 300)[variant], size=(4, 4))], random)


@CLEAN("geometry: decimals with exponent, many digits, spaces, plus signs", 4)
def _(random: Draw, variant: int) -> Case:
    stack = make(random, 6, origin=(-31.5, -42.25, 17.0))
    form = ("{:.8e}", "{:+.9f}", "  {:.7f} ", "{:.30f}")[variant]
    for one in stack:
        one.header.ImagePositionPatient = [form.format(value) for value in one.origin]
        one.header.PixelSpacing = [form.format(value) for value in one.spacing]
    return clean_case([stack], random)


@CLEAN("geometry: no FrameOfReferenceUID, or it is empty", 2)
def _(random: Draw, variant: int) -> Case:
    stack = make(random, 6)
    return clean_case([change(stack, lambda one: (delattr(one.header, "FrameOfReferenceUID") if variant else
                                                  setattr(one.header, "FrameOfReferenceUID", "")))], random)


@CLEAN("geometry: SliceThickness and SpacingBetweenSlices lie, or are absent", 5)
def _(random: Draw, variant: int) -> Case:
    stack = make(random, 6)
    for one in stack:
        if variant == 0:
            del one.header.SliceThickness
        elif variant == 1:
            one.header.SliceThickness = "0"
        elif variant == 2:
            one.header.SliceThickness = "10"
        elif variant == 3:
            one.header.SpacingBetweenSlices = "-2.5"
        else:
            one.header.SliceThickness = ""
    return clean_case([stack], random)


@CLEAN("geometry: two distances of slices are meant", 4)
def _(random: Draw, variant: int) -> Case:
    near, far = ((2.5, 5.0), (1.25, 10.0), (3.0, 4.0), (5.0, 2.5))[variant]
    places = np.concatenate([np.arange(8) * near, 7 * near + np.arange(1, 7) * far])
    return clean_case([make(random, places=places)], random)


@CLEAN("geometry: slices overlap or are uneven by table rounding", 2)
def _(random: Draw, variant: int) -> Case:
    places = np.arange(10) * 2.5 + (random.uniform(-0.12, 0.12, 10) if variant else np.tile([0, 0.05], 5))
    stack = make(random, places=places)
    return clean_case([stack], random, tolerance_mm=1e-3)


@CLEAN("values: slope and intercept per slice", 4)
def _(random: Draw, variant: int) -> Case:
    stack = make(random, 6, modality=("CT", "PT", "MR", "CT")[variant])
    for index, one in enumerate(stack):
        slope, intercept = ((index + 1, -1024), (0.0375 * (index + 1), 0), (1.5, 7.25 * index), (1, -1000 - index))[
            variant]
        set_rescale(one, slope, intercept)
    return clean_case([stack], random)


@CLEAN("values: slopes negative, not whole, very small, very large", 5)
def _(random: Draw, variant: int) -> Case:
    slope, intercept = ((-1, 100), (0.25, -12.5), (1.0e-5, 0), (4096, 3), (2.44140625, -1024))[variant]
    return clean_case([make(random, slope=slope, intercept=intercept)], random)


@CLEAN("values: 8, 16 and 32 bits, signed and unsigned", 6)
def _(random: Draw, variant: int) -> Case:
    dtype = ("u1", "i1", "<u2", "<i2", "<u4", "<i4")[variant]
    return clean_case([make(random, dtype=dtype, size=(8, 8))], random)


@CLEAN("values: fewer bits stored than allocated", 6)
def _(random: Draw, variant: int) -> Case:
    """Bits above High Bit are not part of the value (PS3.5 8.1.1), whatever they hold."""
    bits, signed, dirty = ((12, False, False), (12, True, False), (10, False, True), (12, True, True),
                           (15, True, False), (14, False, True))[variant]
    stack = make(random, dtype="<i2" if signed else "<u2")
    limit = 1 << bits
    for one in stack:
        half = limit // 2
        one.stored = random.integers(-half if signed else 0, half if signed else limit, one.stored.shape).astype(
            one.stored.dtype)
        one.header.BitsStored, one.header.HighBit = bits, bits - 1
        raw = one.stored.astype("<i4") & (limit - 1)
        if dirty:
            raw |= random.integers(0, 1 << (16 - bits), raw.shape) << bits
        one.encoding["pixels"] = raw.astype("<u2").tobytes()
        if not dirty and signed:
            one.encoding["pixels"] = one.stored.tobytes()
    return clean_case([stack], random)


@CLEAN("values: High Bit is not Bits Stored - 1", 1)
def _(random: Draw, variant: int) -> Case:
    stack = make(random)
    for one in stack:
        one.stored = random.integers(0, 4096, one.stored.shape).astype("<u2")
        one.header.BitsStored, one.header.HighBit = 12, 15
        one.encoding["pixels"] = (one.stored << 4).astype("<u2").tobytes()
    return clean_case([stack], random)


@CLEAN("values: MONOCHROME1, padding value, no rescale, constant pixels", 5)
def _(random: Draw, variant: int) -> Case:
    stack = make(random, modality="MR" if variant == 2 else "CT", intercept=0 if variant in (2, 3) else None)
    for one in stack:
        if variant == 0:
            one.header.PhotometricInterpretation = "MONOCHROME1"
        elif variant == 1:
            one.header.add_new(0x00280120, "US", 63536)
            one.stored[0, 0] = 63536
        elif variant in (2, 3):
            del one.header.RescaleSlope, one.header.RescaleIntercept
        else:
            one.stored[:] = 0
    return clean_case([stack], random)


@CLEAN("values: Modality LUT sequence in place of a slope", 1)
def _(random: Draw, variant: int) -> Case:
    from pydicom.dataset import Dataset
    from pydicom.sequence import Sequence

    table = random.integers(0, 60000, 256).astype("<u2")
    stack = make(random, dtype="u1", intercept=0)
    for one in stack:
        del one.header.RescaleSlope, one.header.RescaleIntercept
        lut = Dataset()
        lut.add_new(0x00283002, "US", [256, 0, 16])
        lut.ModalityLUTType = "US"
        lut.add_new(0x00283006, "OW", table.tobytes())
        one.header.ModalityLUTSequence = Sequence([lut])
        raw, one.stored = one.stored, table[one.stored]
        one.encoding["pixels"] = raw.tobytes()
    return Case(files=files_of(stack, random), required=(volume(stack),))


@CLEAN("values: modality in lower case, absent, or unknown", 3)
def _(random: Draw, variant: int) -> Case:
    def edit(one: One) -> None:
        if variant == 1:
            del one.header.Modality
        else:
            one.header.Modality = ("ct", "", "ZZ")[variant]

    return clean_case([change(make(random), edit)], random)


@CLEAN("geometry: slices without a place are pictures (CR, US)", 2)
def _(random: Draw, variant: int) -> Case:
    stack = make(random, 3, intercept=0)
    for one in stack:
        del one.header.ImagePositionPatient, one.header.ImageOrientationPatient
        one.header.Modality = ("CR", "US")[variant]
        one.header.SOPClassUID = f"1.2.840.10008.5.1.4.1.1.{('1', '6.1')[variant]}"
    truth = tuple(TrueVolume(slices=(one.truth(),), placed=False) for one in stack)
    return Case(files=files_of(stack, random), required=truth)


@CLEAN("geometry: pixel spacing of a single slice only as ImagerPixelSpacing", 1)
def _(random: Draw, variant: int) -> Case:
    (one,) = make(random, 1, intercept=0)
    del one.header.PixelSpacing, one.header.ImagePositionPatient, one.header.ImageOrientationPatient
    one.header.ImagerPixelSpacing, one.header.Modality = ["0.2", "0.2"], "DX"
    one.header.SOPClassUID = "1.2.840.10008.5.1.4.1.1.1.1"
    return Case(files=files_of([one]), required=(TrueVolume(slices=(one.truth(),), placed=False),))
