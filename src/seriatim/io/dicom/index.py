"""The planes of many DICOM files: pydicom reads the first file of each kind, the files like it are filled in.

Two files are of one kind where every element that `dicom_header` looks at has the same bytes, apart from those that a
file has of its own (`dicom_own`). Every file that is of no known kind, or in any way unusual, is read by
`dicom_header.read_planes`: both ways give the same planes.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, BinaryIO

from seriatim.io.dicom.consistency import share_stored
from seriatim.io.dicom.extent import ITEM, NATIVE, follows, skip_items
from seriatim.io.dicom.header import TAGS, read_planes
from seriatim.io.dicom.own import OWN_TAGS, TRAITS, OwnReader, OwnValues, UnclearError
from seriatim.io.dicom.plane import Plane, Trait
from seriatim.io.dicom.steps import UNDEFINED
from seriatim.io.dicom.walk import Head, HeadTooShortError, HeadWalker
from seriatim.io.source import open_file, read_head

LONG_HEAD_BYTES = 1 << 18
MANY_KINDS = 4096
PIXEL_VRS = frozenset({b"", b"OB", b"OW"})
OWN_TRAITS = frozenset(rule.name for rule in TRAITS.values())
NAMES = tuple(one.name for one in fields(Plane))


@dataclass(slots=True)
class _Kind:
    """What the planes of alike files share, and the traits of the last of them, which the next often has too."""

    shared: dict[str, Any]
    traits: dict[str, Trait]
    own_traits: dict[str, Trait]
    last_traits: dict[str, Trait]

    def fill(self, path: Path, own: OwnValues) -> Plane:
        if own.traits != self.own_traits:
            self.own_traits, self.last_traits = own.traits, {**self.traits, **own.traits}
        values = {**self.shared, **own.fields, "path": path, "traits": self.last_traits}
        if own.slope is not None or own.intercept is not None:
            stored = self.shared["stored"]
            values["stored"] = share_stored(stored.photometric, stored.layout, (own.slope, own.intercept))
        if self.shared["position"] is None:  # there is none, or what it needs is missing
            values["position"] = None
        return Plane(**values)


class PlaneReader:
    """Reads the planes of file after file, knowing those before."""

    def __init__(self) -> None:
        self._walker = HeadWalker(frozenset(TAGS), OWN_TAGS)
        self._own = OwnReader()
        self._kinds: dict[tuple[object, ...], _Kind] = {}

    def read(self, path: Path, head: bytes, size: int) -> list[Plane]:
        """The planes of a file that starts with ``head`` and has ``size`` bytes (0: not known).

        Raises:
            NotAnImageError: the file holds no image.
            OSError: it cannot be read.
        """
        found = self._find(path, head, size)
        if found is None:
            return read_planes(path)
        key, own = found
        kind = self._kinds.get(key)
        if kind is not None:
            return [kind.fill(path, own)]
        planes = read_planes(path)
        if len(planes) == 1 and planes[0].frame is None and not _has_excess(key[-1], planes[0]):
            self._learn(key, planes[0], own)
        return planes

    def _find(self, path: Path, data: bytes, size: int) -> tuple[tuple[object, ...], OwnValues] | None:
        """What kind of file it is, and what it has of its own; None where that is not beyond doubt."""
        try:
            head = self._walker.walk(data)
        except HeadTooShortError:
            if not len(data) < size or len(data) >= LONG_HEAD_BYTES:
                return None
            return self._find(path, read_head(path, LONG_HEAD_BYTES)[0], size)
        if head is None or not _is_whole(path, head, (data, size)):
            return None
        try:
            own = self._own.read(head)
        except UnclearError:
            return None
        return (head.fixed, head.preamble, head.syntax, head.pixel_tag, head.pixel_vr, head.pixel_length), own

    def _learn(self, key: tuple[object, ...], plane: Plane, own: OwnValues) -> None:
        shared = {name: getattr(plane, name) for name in NAMES}
        traits = {name: value for name, value in plane.traits.items() if name not in OWN_TRAITS}
        kind = _Kind(shared=shared, traits=traits, own_traits={}, last_traits=traits)
        if kind.fill(plane.path, own) != plane:  # our way of reading is not pydicom's here
            return
        if len(self._kinds) >= MANY_KINDS:
            self._kinds.clear()
        self._kinds[key] = kind


def _has_excess(length: object, plane: Plane) -> bool:
    """True where there is more pixel data than the picture needs: what it holds must be seen of each file."""
    allocated = plane.stored.layout[0] or 0
    needed = plane.rows * plane.columns * (3 if plane.colour else 1) * allocated // 8
    return isinstance(length, int) and length != UNDEFINED and length > needed + 1


def _is_whole(path: Path, head: Head, content: tuple[bytes, int]) -> bool:
    """True where the pixel data is all there, by a rule that depends on nothing but its length (see dicom_extent)."""
    data, size = content
    start, length = head.pixel_start, head.pixel_length
    first = data[start : start + 4]
    if head.pixel_vr not in PIXEL_VRS or len(first) < 4:
        return False
    if length == UNDEFINED:
        with open_file(path) as file:
            file.seek(start)
            return skip_items(file, size) and _ends_well(file, head)
    if head.syntax.decode() not in NATIVE or first == ITEM or start + length > size:
        return False
    if start + length == size:
        return True
    with open_file(path) as file:
        file.seek(start + length)
        return _ends_well(file, head)


def _ends_well(file: BinaryIO, head: Head) -> bool:
    tail = file.read(8)
    return not tail.strip(b"\0") or follows(tail, little=head.encoding != "big")
