"""Whose study it is: the patient's and the study's attributes of a source, in a form that a DICOM object may hold.

The objects have to carry them, or no archive files them with the images. They stand nowhere else: not in file names,
logs or tables.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from seriatim.errors import InputError

MOST_CHARACTERS = 1024
"""Names and identifiers are kept as long as they are, since an archive compares them, up to what none could be."""
LONG_STRING = 64
"""The characters of an LO (PS3.5 table 6.2-1); what only describes is cut there."""
TIME = re.compile(r"[0-2]\d([0-5]\d([0-6]\d(\.\d{1,6})?)?)?")
AGE = re.compile(r"\d{3}[DWMY]")


def _keep(text: str) -> str:
    return text


def _cut(text: str) -> str:
    return text[:LONG_STRING].rstrip()


def _date(text: str) -> str:
    """A date as DICOM writes it, "" for what is none; dots and dashes were legal or are common."""
    digits = re.sub(r"[.\-/]", "", text)
    try:
        return datetime.strptime(digits, "%Y%m%d").strftime("%Y%m%d") if len(digits) == 8 else ""  # noqa: DTZ007
    except ValueError:
        return ""


def _time(text: str) -> str:
    plain = text.replace(":", "")
    return plain if TIME.fullmatch(plain) else ""


def _one_of(*terms: str) -> Callable[[str], str]:
    return lambda text: text.upper() if text.upper() in terms else ""


def _age(text: str) -> str:
    return text if AGE.fullmatch(text) else ""


def _number(text: str) -> str:
    try:
        value = float(text)
    except ValueError:
        return ""
    return f"{value:.10g}"[:16] if math.isfinite(value) and 0 < value < 1e4 else ""


RULES: Mapping[str, Callable[[str], str]] = {
    "PatientName": _keep, "PatientID": _keep, "IssuerOfPatientID": _keep, "PatientBirthDate": _date,
    "PatientSex": _one_of("M", "F", "O"), "PatientAge": _age, "PatientSize": _number, "PatientWeight": _number,
    "PatientIdentityRemoved": _one_of("YES", "NO"), "DeidentificationMethod": _cut,
    "StudyDate": _date, "StudyTime": _time, "AccessionNumber": _keep, "StudyID": _keep,
    "ReferringPhysicianName": _keep, "StudyDescription": _cut,
}
"""The attributes of the Patient, General Study and Patient Study modules that are copied (PS3.3 C.7.1.1, C.7.2)."""
ALWAYS = ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "AccessionNumber",
          "StudyID", "ReferringPhysicianName")
"""Of type 2: there even where nothing is known."""


def read_identity(dataset: Any) -> dict[str, str]:
    """The attributes of ``RULES`` that a header has, by keyword; those of type 2 always. What is illegal is empty.

    Raises:
        InputError: a name or an identifier is longer than any could be.
    """
    values = {keyword: rule(_text(dataset, keyword)) for keyword, rule in RULES.items()}
    long = [keyword for keyword, value in values.items() if len(value) > MOST_CHARACTERS]
    if long:
        raise InputError(f"BAD_VALUE: {long[0]} has more than {MOST_CHARACTERS} characters. Export the series again.")
    if values["PatientIdentityRemoved"] == "YES" and not values["DeidentificationMethod"]:
        values["DeidentificationMethod"] = _cut(_deidentified_by(dataset)) or "not stated"  # required beside YES
    return {keyword: value for keyword, value in values.items() if value or keyword in ALWAYS}


def apply_identity(dataset: Dataset, identity: Mapping[str, str]) -> None:
    """Make an object one of this patient and study, whatever stood there."""
    for keyword in RULES:
        if keyword in dataset:
            delattr(dataset, keyword)
    for keyword, value in identity.items():
        setattr(dataset, keyword, value)
    dataset.SpecificCharacterSet = "ISO_IR 192"


def _deidentified_by(dataset: Any) -> str:
    """The meanings of DeidentificationMethodCodeSequence, which a source may have in place of a text."""
    try:
        return ", ".join(_text(item, "CodeMeaning") for item in dataset.get("DeidentificationMethodCodeSequence") or ())
    except Exception:  # noqa: BLE001 - pydicom raises many kinds for a broken value
        return ""


def _text(dataset: Any, keyword: str) -> str:
    """The value as text without control characters, "" where it is missing or broken."""
    try:
        value = dataset.get(keyword)
        if isinstance(value, bytes):  # of another VR than the attribute's
            value = value.decode("utf-8", "replace")
        parts = list(value) if isinstance(value, MultiValue) else [value]
        text = "\\".join("" if part is None else str(part) for part in parts)
    except Exception:  # noqa: BLE001 - pydicom raises many kinds for a broken value
        return ""
    return "".join(sign for sign in text if unicodedata.category(sign) not in ("Cc", "Cs")).strip()
