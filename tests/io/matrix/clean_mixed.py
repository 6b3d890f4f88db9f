"""Clean volumes that lie in one folder, or share one SeriesInstanceUID though they are several."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .case import CLEAN, Case, Draw
from .encode import put_raw
from .stack import PLANES, One, any_axes, clean_case, files_of, make, rotation, volume, with_header

NUMBERINGS = ("one after another", "place by place", "restarting", "meaningless")


def number(stacks: Sequence[list[One]], how: str, random: Draw) -> None:
    """InstanceNumber of volumes that share a series, in one of the ways that scanners have."""
    total, repeats = sum(map(len, stacks)), len(stacks)
    before = 0
    meaningless = random.permutation(10 * total)
    for volume_index, stack in enumerate(stacks):
        for index, one in enumerate(stack):
            numbers = {"one after another": before + index + 1, "place by place": index * repeats + volume_index + 1,
                       "restarting": index + 1, "meaningless": int(meaningless[before + index])}
            one.header.InstanceNumber = str(numbers[how])
        before += len(stack)


def mixed(random: Draw, variant: int, forms: Sequence[dict[str, Any]], **options: Any) -> Case:
    """A volume for each of ``forms`` (its attributes), all at one place under one series UID."""
    axes = any_axes(random, variant // len(NUMBERINGS)) if variant else PLANES["axial"]
    stacks = [make(random, 5, axes=axes, **{**options, **form}) for form in forms]
    number(stacks, NUMBERINGS[variant % len(NUMBERINGS)], random)
    return clean_case(stacks, random)


@CLEAN("mixed: 2 to 5 series in one folder", 4)
def _(random: Draw, variant: int) -> Case:
    return clean_case([make(random, int(random.integers(3, 9)), series=f"1.2.826.7.{index}", axes=any_axes(random, 3))
                       for index in range(variant + 2)], random)


@CLEAN("mixed: series of two studies and of two patients", 2)
def _(random: Draw, variant: int) -> Case:
    stacks = [make(random, 5, series=f"1.2.826.7.{index}") for index in (1, 2)]
    for one in stacks[1]:
        one.header.StudyInstanceUID = "1.2.826.6.2"
        one.header.PatientID = ("Q1", "Q2")[variant]
    return clean_case(stacks, random)


@CLEAN("one UID: two kernels", 4)
def _(random: Draw, variant: int) -> Case:
    return mixed(random, variant, [{"ConvolutionKernel": kernel} for kernel in ("B30f", "B70s")])


@CLEAN("one UID: kernels of several values", 1)
def _(random: Draw, variant: int) -> Case:
    return mixed(random, 3, [{"ConvolutionKernel": ["Br40d", str(level)]} for level in (2, 3)])


@CLEAN("one UID: three echoes", 4)
def _(random: Draw, variant: int) -> Case:
    return mixed(random, variant, [{"EchoTime": str(4.92 * (index + 1)), "EchoNumbers": str(index + 1)}
                                   for index in range(3)], modality="MR")


@CLEAN("one UID: echoes by number only", 1)
def _(random: Draw, variant: int) -> Case:
    return mixed(random, 3, [{"EchoTime": "5", "EchoNumbers": str(index + 1)} for index in range(2)], modality="MR")


@CLEAN("one UID: cardiac phases by percentage, trigger time, or time of day", 4)
def _(random: Draw, variant: int) -> Case:
    keyword = ("NominalPercentageOfCardiacPhase", "TriggerTime", "AcquisitionTime", "ContentTime")[variant]
    values = [(10.0, "10", "120000", "120000")[variant], *((20.0, "20", "120010", "120010")[variant],)]
    forms = [{keyword: value} for value in values]
    return mixed(random, 3, forms)


@CLEAN("one UID: b-values", 4)
def _(random: Draw, variant: int) -> Case:
    return mixed(random, variant, [{"DiffusionBValue": value} for value in (0.0, 500.0, 1000.0)], modality="MR")


@CLEAN("one UID: b-values in private attributes", 2)
def _(random: Draw, variant: int) -> Case:
    stacks = [make(random, 5, modality="MR") for _ in range(2)]
    for stack, value in zip(stacks, (0, 1000), strict=True):
        for one in stack:
            if variant == 0:
                one.header.add_new((0x0019, 0x0010), "LO", "SIEMENS MR HEADER")
                one.header.add_new((0x0019, 0x100C), "IS", str(value))
            else:
                one.header.add_new((0x0043, 0x0010), "LO", "GEMS_PARM_01")
                put_raw(one.header, 0x00431039, f"{value}\\8\\0\\0".encode(), "IS")  # type: ignore[arg-type]
    number(stacks, "meaningless", random)
    return clean_case(stacks, random)


@CLEAN("one UID: directions of one b-value", 1)
def _(random: Draw, variant: int) -> Case:
    forms = [{"DiffusionBValue": 800.0, "DiffusionGradientOrientation": list(row)} for row in rotation(random)]
    return mixed(random, 3, forms, modality="MR")


@CLEAN("one UID: temporal positions", 4)
def _(random: Draw, variant: int) -> Case:
    return mixed(random, variant, [{"TemporalPositionIdentifier": str(index + 1), "NumberOfTemporalPositions": "4"}
                                   for index in range(4)], modality="MR")


@CLEAN("one UID: time points told by AcquisitionTime of each slice", 2)
def _(random: Draw, variant: int) -> Case:
    """Each slice has a time of its own, as in PET or perfusion; the numbers run volume after volume."""
    stacks = [make(random, 5, modality=("CT", "MR")[variant]) for _ in range(3)]
    for repeat, stack in enumerate(stacks):
        for index, one in enumerate(stack):
            one.header.AcquisitionTime = f"1200{repeat * 12 + index * 2:02}.0"
    number(stacks, "one after another", random)
    return clean_case(stacks, random)


@CLEAN("one UID: magnitude and phase, in and out of phase, water and fat", 4)
def _(random: Draw, variant: int) -> Case:
    types = ((["M"], ["P"]), (["IN_PHASE"], ["OUT_PHASE"]), (["W"], ["F"], ["IP"], ["OP"]), (["R"], ["I"]))[variant]
    forms = [{"ImageType": ["ORIGINAL" if variant != 2 else "DERIVED", "PRIMARY", *kind, "ND"]} for kind in types]
    return mixed(random, 3, forms, modality="MR")


@CLEAN("one UID: ComplexImageComponent, inversion times, flip angles, repetition times", 4)
def _(random: Draw, variant: int) -> Case:
    keyword, values = (("ComplexImageComponent", ("MAGNITUDE", "PHASE")), ("InversionTime", ("100", "900")),
                       ("FlipAngle", ("5", "26")), ("RepetitionTime", ("15", "600")))[variant]
    return mixed(random, 3, [{keyword: value} for value in values], modality="MR")


@CLEAN("one UID: original and derived", 1)
def _(random: Draw, variant: int) -> Case:
    return mixed(random, 3, [{"ImageType": [kind, kind2, "AXIAL"]} for kind, kind2 in
                             (("ORIGINAL", "PRIMARY"), ("DERIVED", "SECONDARY"))])


@CLEAN("one UID: two frames of reference at one place, or one after another", 2)
def _(random: Draw, variant: int) -> Case:
    stacks = [make(random, 5, origin=(-31.5, -42.25, 17 + variant * index * 12.5)) for index in range(2)]
    for index, stack in enumerate(stacks):
        with_header(stack, "FrameOfReferenceUID", [f"1.2.826.5.{index}"] * 5)
    number(stacks, "one after another", random)
    return clean_case(stacks, random)


@CLEAN("one UID: two sizes, two pixel spacings", 3)
def _(random: Draw, variant: int) -> Case:
    others: list[dict[str, Any]] = [{"size": (12, 12)}, {"spacing": (0.5, 0.5)},
                                    {"size": (4, 4), "spacing": (1.4, 1.8)}]
    other = others[variant]
    stacks = [make(random, 5), make(random, 6, **other)]
    number(stacks, "one after another", random)
    return clean_case(stacks, random)


@CLEAN("one UID: three orientations", 2)
def _(random: Draw, variant: int) -> Case:
    """A localizer in three planes, with one slice or several each."""
    stacks = [make(random, (1, 5)[variant], axes=axes, modality="MR") for axes in PLANES.values()]
    number(stacks, "one after another", random)
    return clean_case(stacks, random)


@CLEAN("one UID: acquisitions of other ranges (shuttle, overlapping, apart)", 4)
def _(random: Draw, variant: int) -> Case:
    """Contiguous acquisitions are one volume; those that overlap are one each."""
    if variant == 0:
        stack = make(random, 12)
        with_header(stack, "AcquisitionNumber", [str(1 + index // 6) for index in range(12)])
        return clean_case([stack], random)
    starts = ((0, 4), (0, 5, 10), (0, 4, 8))[variant - 1]
    stacks = []
    for acquisition, start in enumerate(starts):
        stack = make(random, 6, places=(start + np.arange(6)) * 2.5)
        stacks.append(with_header(stack, "AcquisitionNumber", [str(acquisition + 1)] * 6))
    number(stacks, "one after another", random)
    return clean_case(stacks, random)


@CLEAN("one UID: stations of a whole body that overlap, told by acquisition or time", 2)
def _(random: Draw, variant: int) -> Case:
    stacks = []
    for station in range(4):
        stack = make(random, 10, places=(station * 8 + np.arange(10)) * 5.0, modality="MR")
        keyword = ("AcquisitionNumber", "AcquisitionTime")[variant]
        stacks.append(with_header(stack, keyword, [str((1, 120001)[variant] + station)] * 10))
    number(stacks, "one after another", random)
    return clean_case(stacks, random)


@CLEAN("one UID: stations of a whole body that meet", 1)
def _(random: Draw, variant: int) -> Case:
    stack = make(random, 24, modality="MR")
    return clean_case([with_header(stack, "AcquisitionNumber", [str(index // 8) for index in range(24)])], random)


@CLEAN("one UID: contrast phases, two energies, scan options, series numbers", 4)
def _(random: Draw, variant: int) -> Case:
    keyword, values = (("ContrastBolusAgent", ("", "IOMERON")), ("KVP", ("80", "140")),
                       ("ScanOptions", ("HELICAL", "AXIAL")), ("SeriesNumber", ("4", "5")))[variant]
    return mixed(random, 3, [{keyword: value} for value in values])


@CLEAN("one UID: a scout and a volume that share it", 3)
def _(random: Draw, variant: int) -> Case:
    stack = make(random, 8, start=2)
    scout = make(random, 1, axes=PLANES["coronal"], size=((8, 7), (16, 16), (8, 7))[variant], start=1,
                 ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    scout = scout if variant < 2 else []
    if variant == 2:  # the scout is not there at all, the numbers start at 5
        with_header(stack, "InstanceNumber", range(5, 13))
    return Case(files=files_of([*stack, *scout], random), required=(volume(stack),))


@CLEAN("one UID: volumes of other stretches and distances, told by acquisition", 2)
def _(random: Draw, variant: int) -> Case:
    """Thin slices here, thick ones there, or an interleaved second pass."""
    first = make(random, 10, step=2.0)
    second = make(random, 6, places=(np.arange(6) * 5.0 + 1.0, np.arange(6) * 2.0 + 30.0)[variant])
    for index, stack in enumerate((first, second)):
        with_header(stack, "AcquisitionNumber", [str(index + 1)] * len(stack))
    number((first, second), "one after another", random)
    if variant == 0:
        return clean_case([first, second], random)
    return Case(files=files_of([*first, *second], random), required=(volume(first), volume(second)))


@CLEAN("one UID: magnitude and phase in two folders", 1)
def _(random: Draw, variant: int) -> Case:
    stacks = [make(random, 5, modality="MR", ImageType=["ORIGINAL", "PRIMARY", kind]) for kind in "MP"]
    files = {**files_of(stacks[0], random, "a/{}.dcm"), **files_of(stacks[1], random, "b/{}.dcm")}
    return Case(files=files, required=tuple(volume(stack) for stack in stacks))


@CLEAN("one UID: SOPInstanceUIDs are missing or all equal", 2)
def _(random: Draw, variant: int) -> Case:
    stack = make(random, 6)
    return clean_case([with_header(stack, "SOPInstanceUID", [("", "1.2.3")[variant]] * 6)], random)


@CLEAN("one folder: no SeriesInstanceUID, no StudyInstanceUID", 2)
def _(random: Draw, variant: int) -> Case:
    stack = make(random, 6)
    for one in stack:
        one.header.SeriesInstanceUID = ""
        if variant:
            del one.header.StudyInstanceUID
    return clean_case([stack], random)


@CLEAN("one series spread over folders", 2)
def _(random: Draw, variant: int) -> Case:
    stack = make(random, 8)
    halves = (stack[:4], stack[4:]) if variant == 0 else (stack[::2], stack[1::2])
    files = {**files_of(halves[0], random, "a/{}.dcm"), **files_of(halves[1], random, "b/{}.dcm")}
    return Case(files=files, required=(volume(stack),))
