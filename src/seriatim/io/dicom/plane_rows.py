"""Planes as rows and back, exactly: what the files of a series share is kept once, beside what each has of its own."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import fields
from operator import attrgetter, is_
from pathlib import Path
from typing import Any, TypeAlias

from seriatim.io.dicom.plane import Plane, Trait
from seriatim.io.isolation.wire import from_plain, to_plain

SCHEMA = "CREATE TABLE shared (id INTEGER PRIMARY KEY, text TEXT NOT NULL);"
OWN: Mapping[str, Any] = {"path": "", "frame": None, "sop_instance_uid": "", "position": None, "time_s": None,
                          "number": 0, "traits": {}}
"""The fields that differ from plane to plane. Of the traits, those that do."""
SHARED = tuple(one.name for one in fields(Plane) if one.name not in OWN)
MANY = 1024
"""Shared parts that are remembered; one that was forgotten is kept a second time, or read again."""
MANY_OWN_TRAITS = 8
Template: TypeAlias = tuple[Mapping[str, Any], Mapping[str, Trait]]
PlaneRow: TypeAlias = tuple[int, int | None, str, tuple[float, ...] | None, float | None, int, Mapping[str, Trait]]
"""The number of the shared part; frame, SOP Instance UID, position, time, instance number; traits of its own."""
encode = json.JSONEncoder(separators=(",", ":"), default=to_plain).encode
"""JSON of plain values, tuples and numpy numbers included."""
_shared_values = attrgetter(*SHARED)


class PlaneRows:
    """Makes rows of planes one after the other, those of one series best beside each other."""

    def __init__(self, database: sqlite3.Connection) -> None:
        """``database`` has the table of ``SCHEMA``."""
        self._database = database
        self._numbers: dict[str, int] = {}
        self._templates: dict[int, Template] = {}
        self._last: tuple[tuple[Any, ...], Mapping[str, Trait], int] = ((None,), {}, 0)

    def pack(self, plane: Plane) -> PlaneRow:
        """The row of a plane, without its path.

        Raises:
            WireError: a value is of another type than a Plane's.
        """
        values, traits = _shared_values(plane), plane.traits
        last, before, number = self._last
        own = {name: value for name, value in traits.items() if before.get(name) is not value}
        # the very objects, since equal is not the same for 0.0 and -0.0
        if not (all(map(is_, values, last)) and len(traits) == len(before) and len(own) <= MANY_OWN_TRAITS
                and own.keys() <= before.keys()):
            number, own = self._share(values, traits), {}
            self._last = values, traits, number
        return number, plane.frame, plane.sop_instance_uid, plane.position, plane.time_s, plane.number, own

    def unpack(self, path: Path, row: PlaneRow) -> Plane:
        """The plane of ``pack``, whose row may have gone through JSON."""
        number, frame, uid, position, time_s, instance, own = row
        shared, traits = self._templates.get(number) or self._read(number)
        return Plane(path=path, frame=frame, sop_instance_uid=uid, time_s=time_s, number=instance, **shared,
                     position=None if position is None else tuple(position), traits={**traits, **own})

    def _share(self, values: tuple[Any, ...], traits: Mapping[str, Trait]) -> int:
        text = encode(to_plain([values, traits]))
        known = self._numbers.get(text)
        if known is None:
            if len(self._numbers) >= MANY:
                self._numbers.clear()
            known = self._database.execute("INSERT INTO shared (text) VALUES (?)", (text,)).lastrowid or 0
            self._read(known)  # what could not be read again is told now
            self._numbers[text] = known
        return known

    def _read(self, number: int) -> Template:
        ((text,),) = self._database.execute("SELECT text FROM shared WHERE id = ?", (number,))
        values, traits = json.loads(text)
        plane = from_plain(Plane, {**OWN, **dict(zip(SHARED, values, strict=True)), "traits": traits})
        if len(self._templates) >= MANY:
            self._templates.clear()
        self._templates[number] = dict(zip(SHARED, _shared_values(plane), strict=True)), plane.traits
        return self._templates[number]
