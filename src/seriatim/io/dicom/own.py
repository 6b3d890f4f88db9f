"""What each DICOM file of a series has of its own (place, number, times), from bytes whose meaning is beyond doubt."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from seriatim.io.dicom.enhanced import as_trait
from seriatim.io.dicom.header import digest_patient
from seriatim.io.dicom.mosaic import MOSAIC_TAGS
from seriatim.io.dicom.plane import Trait
from seriatim.io.dicom.walk import Head, Own

MANY_VALUES = 4096
DECIMAL = rb"[+-]?[0-9]{1,9}(?:\.[0-9]{0,15})?(?:[eE][+-]?[0-9]{1,2})?"
UID = re.compile(rb"[0-9.]{1,64}\0?").fullmatch
NUMBER = re.compile(rb"[+-]?[0-9]{1,9}(?:\.[0-9]{0,12})? ?").fullmatch
NONZERO = re.compile(rb"[+-]?(?=[0-9.]*[1-9])[0-9]{1,9}(?:\.[0-9]{0,12})? ?").fullmatch
INTEGER = re.compile(rb"[+-]?[0-9]{1,9} ?").fullmatch
TIME = re.compile(rb"[0-9]{2,14}(?:\.[0-9]{1,6})? ?").fullmatch
NAME = re.compile(rb"[A-Za-z0-9._^-]{1,64} ?").fullmatch
POSITION = re.compile(rb"\\".join([DECIMAL] * 3) + rb" ?").fullmatch


class UnclearError(Exception):
    """A value whose meaning is not beyond doubt: pydicom must read it."""


@dataclass(slots=True)
class OwnValues:
    """What a Plane has of its file's own: fields, traits, and rescale slope and intercept (None: it has none)."""

    fields: dict[str, Any] = field(default_factory=dict)
    traits: dict[str, Trait] = field(default_factory=dict)
    slope: float | None = None
    intercept: float | None = None

    def add(self, other: OwnValues) -> OwnValues:
        """The values of two parts of one file; no element is in both."""
        slope = self.slope if other.slope is None else other.slope
        intercept = self.intercept if other.intercept is None else other.intercept
        return OwnValues({**other.fields, **self.fields}, {**other.traits, **self.traits}, slope, intercept)


def _position(value: bytes) -> tuple[float, ...]:
    return tuple([float(part) for part in value.split(b"\\")])


def _uid(value: bytes) -> str:
    return value.rstrip(b"\0").decode("ascii")


def _number(value: bytes) -> Trait:
    return round(float(value), 4)


def _uid_trait(value: bytes) -> Trait:
    return as_trait(_uid(value))


def _patient(value: bytes) -> str:
    return digest_patient(value.decode("ascii").rstrip())


@dataclass(frozen=True, slots=True)
class Rule:
    """How the bytes of an element are read: its VR, what they must match, and whether they often repeat."""

    name: str
    vr: bytes
    matches: Callable[[bytes], Any]
    convert: Callable[[bytes], Any]
    repeats: bool = False


FIELDS: Mapping[int, Rule] = {
    0x00080018: Rule("sop_instance_uid", b"UI", UID, _uid),
    0x0020000D: Rule("study_uid", b"UI", UID, _uid, repeats=True),
    0x0020000E: Rule("series_uid", b"UI", UID, _uid, repeats=True),
    0x00200013: Rule("number", b"IS", INTEGER, int),
    0x00200032: Rule("position", b"DS", POSITION, _position),
    0x00100020: Rule("patient", b"LO", NAME, _patient, repeats=True),
}
TRAITS: Mapping[int, Rule] = {
    0x00200052: Rule("FrameOfReferenceUID", b"UI", UID, _uid_trait, repeats=True),
    0x00200011: Rule("SeriesNumber", b"IS", INTEGER, _number, repeats=True),
    0x00200012: Rule("AcquisitionNumber", b"IS", INTEGER, _number, repeats=True),
    0x00200100: Rule("TemporalPositionIdentifier", b"IS", INTEGER, _number, repeats=True),
    0x00080032: Rule("AcquisitionTime", b"TM", TIME, _number),
    0x00080033: Rule("ContentTime", b"TM", TIME, _number),
    0x0008002A: Rule("AcquisitionDateTime", b"DT", TIME, _number),
    0x00181060: Rule("TriggerTime", b"DS", NUMBER, _number),
    0x00541300: Rule("FrameReferenceTime", b"DS", NUMBER, _number),
}
SCALES: Mapping[int, Rule] = {
    0x00281053: Rule("slope", b"DS", NONZERO, float, repeats=True),
    0x00281052: Rule("intercept", b"DS", NUMBER, float, repeats=True),
}
UNUSED = (0x00020003, *(tag for tag in MOSAIC_TAGS if tag >= 0x00291000))
"""The copy of the SOP Instance UID, and the CSA header, which counts in mosaics only: their planes have a frame."""
OWN_TAGS = frozenset([*FIELDS, *TRAITS, *SCALES, *UNUSED])


class OwnReader:
    """Reads the values that files have of their own; what repeats is read once and shared."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, tuple[bytes, bytes]], Any] = {}
        self._shared: dict[tuple[int, ...], tuple[list[Own], OwnValues]] = {}

    def read(self, head: Head) -> OwnValues:
        """The values of one file.

        Raises:
            UnclearError: one is not of the plain form that leaves no doubt.
        """
        values = self._read_part(head.single)
        parts = tuple(map(id, head.shared))
        known = self._shared.get(parts)
        if known is None:
            if len(self._shared) >= MANY_VALUES:
                self._shared.clear()
            merged = self._read_part({tag: raw for part in head.shared for tag, raw in part.items()})
            known = self._shared[parts] = (head.shared, merged)  # the parts are kept, and so their ids stay theirs
        return values.add(known[1])

    def _read_part(self, own: Own) -> OwnValues:
        values = OwnValues()
        fields, traits, read = values.fields, values.traits, self._read
        for tag, raw in own.items():
            if (rule := FIELDS.get(tag)) is not None:
                fields[rule.name] = read(tag, raw, rule)
            elif (rule := TRAITS.get(tag)) is not None:
                if raw[1]:
                    traits[rule.name] = read(tag, raw, rule)
            elif (rule := SCALES.get(tag)) is not None:
                setattr(values, rule.name, read(tag, raw, rule))
        return values

    def _read(self, tag: int, raw: tuple[bytes, bytes], rule: Rule) -> Any:
        if rule.repeats and (known := self._known.get((tag, raw))) is not None:
            return known
        vr, value = raw
        if vr not in (rule.vr, b"") or not rule.matches(value):
            raise UnclearError
        result = rule.convert(value)
        if rule.repeats:
            if len(self._known) >= MANY_VALUES:
                self._known.clear()
            self._known[tag, raw] = result
        return result
