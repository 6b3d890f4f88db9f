"""Concatenations: one multi-frame instance split over several files (PS3.3 C.7.6.16.2.2.4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from seriatim.io.dicom.values import BadValueError, get_integer, get_text
from seriatim.series.findings import Code, find

if TYPE_CHECKING:
    from seriatim.io.dicom.plane import Plane

CONCATENATION_KEYWORDS = ("ConcatenationUID", "InConcatenationNumber", "InConcatenationTotalNumber",
                          "ConcatenationFrameOffsetNumber")


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Which part of which concatenation a file is.

    ``total`` is 0 where it is not stated; ``offset`` is the number of its first frame from 0, -1 where not
    stated.
    """

    uid: str
    number: int
    total: int
    offset: int
    frames: int


def find_part(dataset: Any, frames: int) -> Part | None:
    """The part of a concatenation that a file is; None where it is whole."""
    uid = get_text(dataset, "ConcatenationUID")
    if not uid:
        return None
    try:
        return Part(uid=uid, number=get_integer(dataset, "InConcatenationNumber", 1), frames=frames,
                    total=get_integer(dataset, "InConcatenationTotalNumber", 0),
                    offset=get_integer(dataset, "ConcatenationFrameOffsetNumber", -1))
    except BadValueError:
        return None


def mark_missing_parts(planes: Sequence[Plane]) -> list[Plane]:
    """The planes, with the finding GAP at those of a concatenation that is not whole."""
    parts: dict[str, set[Part]] = {}
    for plane in planes:
        if plane.part is not None:
            parts.setdefault(plane.part.uid, set()).add(plane.part)
    reasons = {uid: reason for uid, own in parts.items() if (reason := _what_is_missing(own))}
    return [
        replace(plane, findings=(*plane.findings, find(Code.GAP, reasons[plane.part.uid])))
        if plane.part is not None and plane.part.uid in reasons else plane
        for plane in planes
    ]


def _what_is_missing(parts: set[Part]) -> str:
    """Why the parts are not the whole: a number that is missing, or frames before a part; "" where they are."""
    numbers = {part.number for part in parts}
    total = max(*(part.total for part in parts), *numbers)
    if missing := sorted(set(range(1, min(total, 10_000) + 1)) - numbers):
        shown = ", ".join(str(number) for number in missing[:5])
        return f"Part {shown} of {total} of a concatenation is missing. Copy the series again."
    frames = 0
    for part in sorted(parts, key=lambda part: part.number):
        if part.offset not in (-1, frames):
            return f"Part {part.number} of a concatenation starts at frame {part.offset}, {frames} come before it."
        frames += part.frames
    return ""
