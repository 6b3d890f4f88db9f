"""A strict, quick walk over the top of a DICOM file: the elements that are asked for, and where the pixel data lies.

Only what is beyond doubt is walked (PS3.5 chapter 7, PS3.10 chapter 7): a preamble with file meta information, tags in
ascending order, known VRs, lengths that fit. All else is left to pydicom, which knows the many ways of being wrong.
Bytes that were met before are not parsed again: files of one series share most of their header.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from struct import error as StructError
from typing import Any

from seriatim.io.dicom.steps import LAST_META, PIXEL_TAGS, STEPS, UNDEFINED, UnusualError, skip_sequence

SYNTAX, CHARACTER_SET, GROUP_LENGTH = 0x00020010, 0x00080005, 0x00020000
SYNTAXES = re.compile(rb"1\.2\.840\.10008\.1\.2(\.[0-9.]+)?\0?")
DEFLATED = b"1.2.840.10008.1.2.1.99"
ENCODINGS = {b"1.2.840.10008.1.2": "implicit", b"1.2.840.10008.1.2.2": "big"}
META_GROUP = b"\x02\x00"
START = 132
FEW_TAKEN, MANY_KNOWN, MOST_PATIENCE = 6, 4096, 16

Own = dict[int, tuple[bytes, bytes]]
"""VR (b"" in implicit VR) and value by tag."""


class HeadTooShortError(Exception):
    """The header goes on after the bytes at hand."""


@dataclass(slots=True, kw_only=True)
class Head:
    """The top of a DICOM file, down to its pixel data.

    ``fixed`` are the wanted elements as they stand in the file, one after the other: equal bytes mean equal values. In
    place of each element of its own a file has, stand its tag and VR; ``single`` and the ``shared`` have the VR and
    value of these. The shared it has with files before it: they are the same objects. ``pixel_length`` is UNDEFINED for
    encapsulated pixel data.
    """

    preamble: bytes
    syntax: bytes
    encoding: str
    fixed: bytes
    single: Own
    shared: list[Own]
    pixel_tag: int
    pixel_vr: bytes
    pixel_start: int
    pixel_length: int

    @property
    def own(self) -> Own:
        """VR and value by tag of all elements that the file has of its own."""
        return {tag: raw for part in (self.single, *self.shared) for tag, raw in part.items()}


@dataclass(frozen=True, slots=True)
class _Run:
    """Elements that stood one after the other in two files with the same bytes, and what they say."""

    content: bytes
    fixed: bytes
    own: Own
    first: int
    last: int


_Element = tuple[int, bytes, int, int, bytes | None]
"""Tag, VR, bytes before the value, bytes in all, what stands for it among the fixed (b"": itself, None: nothing)."""


@dataclass(slots=True)
class _Walk:
    """One walk: what was found so far, and the (tag, start, end) of the elements that were taken one by one."""

    fixed: list[bytes] = field(default_factory=list)
    single: Own = field(default_factory=dict)
    shared: list[Own] = field(default_factory=list)
    last: int = 0
    taken: list[tuple[int, int, int]] = field(default_factory=list)


class HeadWalker:
    """Walks the heads of many files, remembering what it met."""

    def __init__(self, wanted: frozenset[int], own: frozenset[int]) -> None:
        """``wanted``: the tags to hand out. ``own``: the tags to hand out that differ between the files of a series."""
        self._wanted = wanted | {CHARACTER_SET}
        self._own = own | {SYNTAX}
        self._runs: dict[str, dict[bytes, _Run]] = {encoding: {} for encoding in STEPS}
        self._elements: dict[str, dict[bytes, _Element]] = {encoding: {} for encoding in STEPS}
        self._before = b""
        self._usual = self._patience = self._wait = 0
        self._since = MOST_PATIENCE

    def walk(self, data: bytes) -> Head | None:
        """The head that starts ``data``; None where it is unusual: then pydicom must read the file.

        Raises:
            HeadTooShortError: ``data`` ends before the pixel data starts.
        """
        try:
            head, walk = self._walk(data, self._runs)
        except UnusualError:
            return None
        except StructError as error:
            raise HeadTooShortError from error
        self._consider(data, head.encoding, taken=len(walk.taken))
        return head

    def _consider(self, data: bytes, encoding: str, *, taken: int) -> None:
        """Learn where more elements were taken one by one than before: another series began. Then ever less often."""
        self._since += 1
        if taken > self._usual + 2 and self._since > MOST_PATIENCE:
            self._patience = self._wait = self._since = 0
        self._usual = taken
        if taken <= FEW_TAKEN or self._patience > MOST_PATIENCE:
            return
        if self._wait:
            self._wait -= 1
            return
        self._wait, self._patience = self._patience, 2 * self._patience + 1
        self._learn(data, encoding)

    def _walk(self, data: bytes, runs: Mapping[str, dict[bytes, _Run]]) -> tuple[Head, _Walk]:
        if data[128:START] != b"DICM":
            raise UnusualError
        walk = _Walk()
        place = self._walk_elements(data, START, ("meta", runs.get("meta", {})), walk)
        if place + 8 > len(data):
            raise HeadTooShortError
        value = next((part[SYNTAX][1] for part in (walk.single, *walk.shared) if SYNTAX in part), b"")
        syntax = value.rstrip(b"\0")
        if not SYNTAXES.fullmatch(value) or syntax == DEFLATED:
            raise UnusualError
        encoding = ENCODINGS.get(syntax, "explicit")
        if encoding == "implicit" and data[place + 4 : place + 6].isalpha():  # explicit after all, or a huge length
            raise UnusualError
        walk.last = LAST_META
        place = self._walk_elements(data, place, (encoding, runs.get(encoding, {})), walk)
        tag, vr, start, end = STEPS[encoding](data, place)
        length = UNDEFINED if end == UNDEFINED else end - start
        head = Head(preamble=data[:128], syntax=syntax, encoding=encoding, fixed=b"".join(walk.fixed),
                    single=walk.single, shared=walk.shared, pixel_tag=tag, pixel_vr=vr, pixel_start=start,
                    pixel_length=length)
        return head, walk

    def _walk_elements(self, data: bytes, place: int, known: tuple[str, dict[bytes, _Run]], walk: _Walk) -> int:
        """Walk the file meta information, or the data set after it; the place where what comes next starts.

        An element may end behind the data: then nothing comes next, and the next step finds the head too short.
        """
        encoding, runs = known
        elements, fixed, last = self._elements[encoding], walk.fixed, walk.last
        while True:
            start = data[place : place + 8]
            run = runs.get(start)
            if run is not None and run.first > last and data.startswith(run.content, place):
                fixed.append(run.fixed)
                if run.own:
                    walk.shared.append(run.own)
                last = run.last
                place += len(run.content)
                continue
            element = elements.get(start) or self._parse(data, place, encoding)
            if element is None:
                walk.last = last
                return place
            tag, vr, offset, size, mark = element
            if tag <= last:
                raise UnusualError
            last, end = tag, place + size
            walk.taken.append((tag, place, end))
            if mark:
                walk.single[tag] = (vr, data[place + offset : end])
                fixed.append(mark)
            elif mark is not None:
                fixed.append(data[place:end])
            place = end

    def _parse(self, data: bytes, place: int, encoding: str) -> _Element | None:
        """The element at a place, remembered where its first 8 bytes say all; None where this part of the file ends."""
        if encoding == "meta" and data[place : place + 2] != META_GROUP:
            return None
        tag, vr, start, end = STEPS[encoding](data, place)
        if tag in PIXEL_TAGS:
            return None
        if tag == GROUP_LENGTH and (vr, end - start) != (b"UL", 4):
            raise UnusualError
        mark = self._mark(tag, vr, data[place : place + 4])
        if end == UNDEFINED:
            return tag, vr, start - place, skip_sequence(data, start, (tag, vr), encoding) - place, mark
        element = tag, vr, start - place, end - place, mark
        if start == place + 8:
            _bound(self._elements[encoding])[data[place:start]] = element
        return element

    def _mark(self, tag: int, vr: bytes, start: bytes) -> bytes | None:
        """What stands for an element among the fixed: its tag and VR, b"" for the element itself, None for nothing."""
        if tag in self._own:
            return start + vr + b"\xff\xff"
        return b"" if tag in self._wanted or GROUP_LENGTH < tag <= LAST_META else None

    def _learn(self, data: bytes, encoding: str) -> None:
        """Remember what this file shares with the one that was learned from before."""
        before, self._before = self._before, data
        if not before:
            return
        shared = {before[start:end] for _, start, end in self._walk(before, {})[1].taken}
        for elements in _runs_of(self._walk(data, {})[1].taken, data, shared):
            self._remember(data, elements, "meta" if elements[0][0] <= LAST_META else encoding)

    def _remember(self, data: bytes, elements: list[tuple[int, int, int]], encoding: str) -> None:
        (first, start, _), (last, _, end) = elements[0], elements[-1]
        fixed, own = [], {}
        for tag, place, stop in elements:
            _, vr, value, _ = STEPS[encoding](data, place)
            mark = self._mark(tag, vr, data[place : place + 4])
            if mark:
                own[tag] = (vr, data[value:stop])
            if mark is not None:
                fixed.append(mark or data[place:stop])
        run = _Run(data[start:end], b"".join(fixed), own, first, last)
        _bound(self._runs[encoding])[run.content[:8]] = run


def _bound(known: dict[bytes, Any]) -> dict[bytes, Any]:
    """What is known, forgotten where it is too much."""
    if len(known) >= MANY_KNOWN:
        known.clear()
    return known


def _runs_of(
    elements: list[tuple[int, int, int]], data: bytes, shared: set[bytes]
) -> Iterator[list[tuple[int, int, int]]]:
    """The longest stretches of two or more elements whose bytes are among the shared; none leaves its group 0002."""
    run: list[tuple[int, int, int]] = []
    for element in elements:
        tag, start, end = element
        fits = data[start:end] in shared
        if run and (not fits or (run[-1][0] <= LAST_META < tag)):
            if len(run) > 1:
                yield run
            run = []
        if fits:
            run.append(element)
    if len(run) > 1:
        yield run
