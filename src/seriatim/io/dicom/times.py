"""The times of the frames of a clip, in seconds, from whatever the header gives first (PS3.3 C.7.6.5, C.7.6.16.2.2)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import accumulate
from typing import Any

from seriatim.io.dicom.values import BadValueError, get_group, get_number, get_numbers, get_text
from seriatim.series.findings import Code, Finding, find

TIME_KEYWORDS = ("FrameTime", "FrameTimeVector", "CineRate", "RecommendedDisplayFrameRate", "ActualFrameDuration",
                 "FrameIncrementPointer", "PhaseInformationSequence", "GatedInformationSequence")
"""The attributes that this module needs, with those of the functional groups and the vectors of nuclear medicine."""
FRAME_TIME = 0x00181063
MS = 1e-3
Times = list[float] | None


def frame_times(dataset: Any, count: int, *, first: int = 0) -> tuple[Times, list[Finding]]:
    """Ascending times of ``count`` frames in stored order, None where the header gives none, and what was wrong.

    ``first`` is the number of the first frame within its concatenation. A source that cannot be (a wrong number of
    values, a time that is not positive) is told and passed over for the next.
    """
    notes: list[Finding] = []
    sources: list[Callable[[Any, int, int], Times]] = [
        _date_times, _vector, _constant, _rate, _phases, _gates, _duration]
    if get_text(dataset, "FrameIncrementPointer") and dataset.FrameIncrementPointer == FRAME_TIME:
        sources.insert(0, _constant)
    for source in sources:
        try:
            times = source(dataset, count, first)
        except BadValueError as error:
            notes.append(replace(find(Code.BAD_VALUE, f"{error} It is not used."), action="keep"))
            continue
        if times is not None:
            return times, notes
    return None, notes


def _date_times(dataset: Any, count: int, _: int) -> Times:
    """When each frame was acquired, by its functional groups; only where all have one and no two are the same."""
    frames = dataset.get("PerFrameFunctionalGroupsSequence") or ()
    contents = [get_group(frame, "FrameContentSequence") for frame in frames]
    for keyword in ("FrameReferenceDateTime", "FrameAcquisitionDateTime"):
        times = [None if item is None else parse_date_time(get_text(item, keyword)) for item in contents]
        known = [time for time in times if time is not None]
        if len(known) == count == len(set(known)):
            return known
    return None


def _vector(dataset: Any, count: int, first: int) -> Times:
    """FrameTimeVector: each value is the time since the frame before, in ms; the first is not used."""
    vector = get_numbers(dataset, "FrameTimeVector")
    if vector is None:
        return None
    if len(vector) != count:
        raise BadValueError(f"FrameTimeVector has {len(vector)} values for {count} frames.")
    if min(vector[1:], default=1.0) <= 0:
        raise BadValueError("FrameTimeVector has a step that is not positive.")
    if first:
        raise BadValueError("FrameTimeVector of a later part of a concatenation says not when the part begins.")
    return [time * MS for time in accumulate((0.0, *vector[1:]))]


def _constant(dataset: Any, count: int, first: int) -> Times:
    return _regular(dataset, "FrameTime", (count, first), seconds_of=lambda value: value * MS)


def _rate(dataset: Any, count: int, first: int) -> Times:
    for keyword in ("CineRate", "RecommendedDisplayFrameRate"):
        if (times := _regular(dataset, keyword, (count, first), seconds_of=lambda value: 1 / value)) is not None:
            return times
    return None


def _duration(dataset: Any, count: int, first: int) -> Times:
    return _regular(dataset, "ActualFrameDuration", (count, first), seconds_of=lambda value: value * MS)


def _regular(dataset: Any, keyword: str, frames: tuple[int, int], *, seconds_of: Callable[[float], float]) -> Times:
    value = get_number(dataset, keyword)
    if value is None:
        return None
    if value <= 0:
        raise BadValueError(f"{keyword} is {value:g}.")
    count, first = frames
    return [(first + index) * seconds_of(value) for index in range(count)]


def _phases(dataset: Any, count: int, _: int) -> Times:
    """Dynamic nuclear medicine: phases of frames of one duration each, with a delay before each (PS3.3 C.8.4.14)."""
    phases = dataset.get("PhaseInformationSequence")
    numbers, slices = get_numbers(dataset, "PhaseVector"), get_numbers(dataset, "TimeSliceVector")
    if not phases or numbers is None or slices is None or len(numbers) != count or len(slices) != count:
        return None
    starts, steps, now = [], [], 0.0
    for phase in phases:
        step = (get_number(phase, "ActualFrameDuration") or 0.0) * MS
        if step <= 0:
            raise BadValueError("ActualFrameDuration of a phase is not positive.")
        now += (get_number(phase, "PhaseDelay") or 0.0) * MS
        starts.append(now)
        steps.append(step)
        now += step * (get_number(phase, "NumberOfFramesInPhase") or 0.0)
    if not all(1 <= number <= len(starts) for number in numbers):
        raise BadValueError("PhaseVector names a phase that is not described.")
    return [starts[int(phase) - 1] + (part - 1) * steps[int(phase) - 1]
            for phase, part in zip(numbers, slices, strict=True)]


def _gates(dataset: Any, count: int, _: int) -> Times:
    """Gated nuclear medicine: time slots of one length (PS3.3 C.8.4.15)."""
    gates = get_group(dataset, "GatedInformationSequence")
    data = get_group(gates, "DataInformationSequence") if gates is not None else None
    step, slots = get_number(data, "FrameTime") if data is not None else None, get_numbers(dataset, "TimeSlotVector")
    if not step or slots is None or len(slots) != count:
        return None
    if step < 0:
        raise BadValueError(f"FrameTime is {step:g}.")
    return [(slot - 1) * step * MS for slot in slots]


def parse_date_time(text: str) -> float | None:
    """Seconds of a DICOM DT (or TM behind eight digits of date); None where it is none. A stated zone is not needed."""
    digits, _, fraction = text.split("+")[0].split("-")[0].strip().partition(".")
    if not digits.isdigit() or len(digits) not in (8, 10, 12, 14) or (fraction and not fraction.isdigit()):
        return None
    try:
        moment = datetime.strptime(digits.ljust(14, "0"), "%Y%m%d%H%M%S")  # noqa: DTZ007 - only differences are used
    except ValueError:
        return None
    return (moment - datetime(1900, 1, 1)) / timedelta(seconds=1) + float(f"0.{fraction or 0}")  # noqa: DTZ001
