"""What each DICOM file of a series has of its own (place, number, times), from bytes whose meaning is beyond doubt."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from seriatim.io.dicom_enhanced import as_trait
from seriatim.io.dicom_header import digest_patient
from seriatim.io.dicom_mosaic import MOSAIC_TAGS
from seriatim.io.dicom_plane import Trait
from seriatim.io.dicom_walk import Own

MANY_VALUES = 4096
DECIMAL = rb"[+-]?[0-9]{1,9}(?:\.[0-9]{0,15})?(?:[eE][+-]?[0-9]{1,2})?"
UID = re.compile(rb"[0-9.]{1,64}\0?").fullmatch
NUMBER = re.compile(rb"[+-]?[0-9]{1,9}(?:\.[0-9]{0,12})? ?").fullmatch
INTEGER = re.compile(rb"[+-]?[0-9]{1,9} ?").fullmatch
TIME = re.compile(rb"[0-9]{2,14}(?:\.[0-9]{1,6})? ?").fullmatch
NAME = re.compile(rb"[A-Za-z0-9._^-]{1,64} ?").fullmatch
POSITION = re.compile(rb"\\".join([DECIMAL] * 3) + rb" ?").fullmatch


class UnclearError(Exception):
    """A value whose meaning is not beyond doubt: pydicom must read it."""


@dataclass(frozen=True, slots=True)
class OwnValues:
    """Fields of a Plane, and traits of it, that its file has of its own."""

    fields: dict[str, Any] = field(default_factory=dict)
    traits: dict[str, Trait] = field(default_factory=dict)


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


Check = Callable[[bytes], Any]
Rule = tuple[str, bytes, Check, Callable[[bytes], Any], bool]
"""Name of the field or trait, its VR, what the bytes must match, how they are read, and whether they often repeat."""

FIELDS: Mapping[int, Rule] = {
    0x00080018: ("sop_instance_uid", b"UI", UID, _uid, False),
    0x0020000D: ("study_uid", b"UI", UID, _uid, True),
    0x0020000E: ("series_uid", b"UI", UID, _uid, True),
    0x00200013: ("number", b"IS", INTEGER, int, False),
    0x00200032: ("position", b"DS", POSITION, _position, False),
    0x00100020: ("patient", b"LO", NAME, _patient, True),
}
TRAITS: Mapping[int, Rule] = {
    0x00200052: ("FrameOfReferenceUID", b"UI", UID, _uid_trait, True),
    0x00200011: ("SeriesNumber", b"IS", INTEGER, _number, True),
    0x00200012: ("AcquisitionNumber", b"IS", INTEGER, _number, True),
    0x00200100: ("TemporalPositionIdentifier", b"IS", INTEGER, _number, True),
    0x00080032: ("AcquisitionTime", b"TM", TIME, _number, False),
    0x00080033: ("ContentTime", b"TM", TIME, _number, False),
    0x0008002A: ("AcquisitionDateTime", b"DT", TIME, _number, False),
    0x00181060: ("TriggerTime", b"DS", NUMBER, _number, False),
    0x00541300: ("FrameReferenceTime", b"DS", NUMBER, _number, False),
}
SCALES = (0x00281052, 0x00281053)
"""Rescale Intercept and Slope: they leave no mark on a plane, as long as they are numbers and the slope is not 0."""
UNUSED = (0x00020003, *(tag for tag in MOSAIC_TAGS if tag >= 0x00291000))
"""The copy of the SOP Instance UID, and the CSA header, which counts in mosaics only: their planes have a frame."""
OWN_TAGS = frozenset([*FIELDS, *TRAITS, *SCALES, *UNUSED])


class OwnReader:
    """Reads the values that files have of their own; what repeats is read once and shared."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, bytes], Any] = {}

    def read(self, own: Own) -> OwnValues:
        """The values of one file.

        Raises:
            UnclearError: one is not of the plain form that leaves no doubt.
        """
        values = OwnValues()
        for tag, (vr, value) in own.items():
            if (rule := FIELDS.get(tag)) is not None:
                values.fields[rule[0]] = self._read(tag, vr, value, rule)
            elif (rule := TRAITS.get(tag)) is not None:
                if value:
                    values.traits[rule[0]] = self._read(tag, vr, value, rule)
            elif tag in SCALES:
                _check_scale(vr, value)
        return values

    def _read(self, tag: int, vr: bytes, value: bytes, rule: Rule) -> Any:
        _, expected, matches, convert, repeats = rule
        if vr not in (expected, b""):
            raise UnclearError
        if repeats and (known := self._known.get((tag, value))) is not None:
            return known
        if not matches(value):
            raise UnclearError
        result = convert(value)
        if repeats:
            if len(self._known) >= MANY_VALUES:
                self._known.clear()
            self._known[tag, value] = result
        return result


def _check_scale(vr: bytes, value: bytes) -> None:
    if vr not in (b"DS", b"") or not NUMBER(value) or not float(value):
        raise UnclearError
