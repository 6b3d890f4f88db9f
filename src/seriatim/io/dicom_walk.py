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

from seriatim.io.dicom_steps import LAST_META, PIXEL_TAGS, STEPS, UNDEFINED, UnusualError, skip_sequence

SYNTAX, CHARACTER_SET, GROUP_LENGTH = 0x00020010, 0x00080005, 0x00020000
SYNTAXES = re.compile(rb"1\.2\.840\.10008\.1\.2(\.[0-9.]+)?\0?")
DEFLATED = b"1.2.840.10008.1.2.1.99"
ENCODINGS = {b"1.2.840.10008.1.2": "implicit", b"1.2.840.10008.1.2.2": "big"}
META_GROUP = b"\x02\x00"
START = 132
MANY_PARSED, MANY_RUNS, LONGEST_WAIT = 24, 1024, 4096

Own = dict[int, tuple[bytes, bytes]]
"""VR (b"" in implicit VR) and value by tag."""


class HeadTooShortError(Exception):
    """The header goes on after the bytes at hand."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """The top of a DICOM file, down to its pixel data.

    ``fixed`` are the wanted elements as they stand in the file, one after the other: equal bytes mean equal values. In
    place of each element of its own a file has, stand its tag and VR; ``own`` has the VR and value of these.
    ``pixel_length`` is UNDEFINED for encapsulated pixel data.
    """

    preamble: bytes
    syntax: bytes
    encoding: str
    fixed: bytes
    own: Own
    pixel_tag: int
    pixel_vr: bytes
    pixel_start: int
    pixel_length: int


@dataclass(frozen=True, slots=True)
class _Run:
    """Elements that stood one after the other in two files with the same bytes, and what they say."""

    content: bytes
    fixed: bytes
    own: Own
    first: int
    last: int


@dataclass(slots=True)
class _Walk:
    """One walk: what was found so far, and the (tag, start, end) of the elements that were parsed one by one."""

    fixed: list[bytes] = field(default_factory=list)
    own: Own = field(default_factory=dict)
    last: int = 0
    parsed: list[tuple[int, int, int]] = field(default_factory=list)


class HeadWalker:
    """Walks the heads of many files, remembering what it met."""

    def __init__(self, wanted: frozenset[int], own: frozenset[int]) -> None:
        """``wanted``: the tags to hand out. ``own``: the tags to hand out that differ between the files of a series."""
        self._wanted = wanted | {CHARACTER_SET}
        self._own = own | {SYNTAX}
        self._runs: dict[str, dict[bytes, _Run]] = {}
        self._before = b""
        self._patience = self._wait = 0

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
        if len(walk.parsed) <= MANY_PARSED:
            self._patience = self._wait = 0
        elif self._wait:
            self._wait -= 1
        else:
            self._learn(data, head.encoding)
        return head

    def _walk(self, data: bytes, runs: Mapping[str, dict[bytes, _Run]]) -> tuple[Head, _Walk]:
        if data[128:START] != b"DICM":
            raise UnusualError
        walk = _Walk()
        place = self._walk_elements(data, START, ("meta", runs.get("meta", {})), walk)
        _, value = walk.own.pop(SYNTAX, (b"", b""))
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
        head = Head(preamble=data[:128], syntax=syntax, encoding=encoding, fixed=b"".join(walk.fixed), own=walk.own,
                    pixel_tag=tag, pixel_vr=vr, pixel_start=start, pixel_length=length)
        return head, walk

    def _walk_elements(self, data: bytes, place: int, known: tuple[str, dict[bytes, _Run]], walk: _Walk) -> int:
        """Walk the file meta information, or the data set after it; the place where what comes next starts."""
        encoding, runs = known
        step, meta = STEPS[encoding], encoding == "meta"
        while True:
            run = runs.get(data[place : place + 8])
            if run is not None and run.first > walk.last and data.startswith(run.content, place):
                walk.fixed.append(run.fixed)
                walk.own.update(run.own)
                walk.last = run.last
                place += len(run.content)
                continue
            if meta and data[place : place + 2] != META_GROUP:
                return place
            tag, vr, start, end = step(data, place)
            if tag in PIXEL_TAGS:
                return place
            if tag <= walk.last or (tag == GROUP_LENGTH and (vr, end - start) != (b"UL", 4)):
                raise UnusualError
            if end == UNDEFINED:
                end = skip_sequence(data, start, (tag, vr), encoding)
            if end > len(data):
                raise HeadTooShortError
            self._take(data, (place, start, end), (tag, vr), walk)
            walk.last, place = tag, end

    def _take(self, data: bytes, places: tuple[int, int, int], element: tuple[int, bytes], walk: _Walk) -> None:
        place, start, end = places
        tag, vr = element
        walk.parsed.append((tag, place, end))
        if tag in self._own:
            walk.own[tag] = (vr, data[start:end])
            walk.fixed.append(data[place : place + 4] + vr + b"\xff\xff")
        elif tag in self._wanted or GROUP_LENGTH < tag <= LAST_META:
            walk.fixed.append(data[place:end])

    def _learn(self, data: bytes, encoding: str) -> None:
        """Remember what this file shares with the one before; wait longer each time, where that does not help."""
        before, self._before = self._before, data
        self._wait, self._patience = self._patience // 2, min(2 * self._patience + 1, LONGEST_WAIT)
        if not before:
            return
        shared = {before[start:end] for _, start, end in self._walk(before, {})[1].parsed}
        for elements in _runs_of(self._walk(data, {})[1].parsed, data, shared):
            self._remember(data, elements, "meta" if elements[0][0] <= LAST_META else encoding)

    def _remember(self, data: bytes, elements: list[tuple[int, int, int]], encoding: str) -> None:
        walk = _Walk()
        for tag, place, end in elements:
            _, vr, start, _ = STEPS[encoding](data, place)
            self._take(data, (place, start, end), (tag, vr), walk)
        content = data[elements[0][1] : elements[-1][2]]
        run = _Run(content, b"".join(walk.fixed), walk.own, elements[0][0], elements[-1][0])
        runs = self._runs.setdefault(encoding, {})
        if len(runs) >= MANY_RUNS:
            runs.clear()
        runs[content[:8]] = run


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
