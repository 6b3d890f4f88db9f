"""Values from DICOM headers, read with suspicion: what is missing is None, what is broken is a BadValueError."""

from __future__ import annotations

import hashlib
import logging
import math
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pydicom import config

SHOWN_CHARACTERS = 40
WORD = re.compile(r"(?!(?:nan|inf|infinity|e)\b)[^\W\d_]+", re.IGNORECASE)
"""What is never shown of a broken number: in a damaged header it could be a name."""
IDENTIFIERS = frozenset({"StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "TransferSyntaxUID"})
PLAIN_UID = re.compile(r"(?=[^\d]*\d)[\w.-]{1,128}", re.ASCII)
"""What is shown of a UID as it is: also the identifiers of anonymisers, ``ID_6431af929``; no name and no sentence."""
MODALITIES = frozenset({
    "ANN", "AR", "AS", "ASMT", "AU", "BDUS", "BI", "BMD", "CD", "CF", "CFM", "CP", "CR", "CS", "CT", "CTPROTOCOL",
    "DD", "DF", "DG", "DM", "DMS", "DOC", "DS", "DX", "EC", "ECG", "EEG", "EMG", "EOG", "EPS", "ES", "FA", "FID", "FS",
    "GM", "HC", "HD", "IO", "IOL", "IVOCT", "IVUS", "KER", "KO", "LEN", "LP", "LS", "M3D", "MA", "MG", "MR", "MS",
    "NM", "OAM", "OCT", "OP", "OPM", "OPR", "OPT", "OPTBSV", "OPTENF", "OPV", "OSS", "OT", "PA", "PLAN", "POS", "PR",
    "PT", "PX", "REG", "RESP", "RF", "RG", "RTDOSE", "RTIMAGE", "RTINTENT", "RTPLAN", "RTRAD", "RTRECORD", "RTSEGANN",
    "RTSTRUCT", "RWV", "SEG", "SM", "SMR", "SR", "SRF", "ST", "STAIN", "TEXTUREMAP", "TG", "US", "VA", "VF", "XA",
    "XAPROTOCOL", "XC",
})
"""The defined terms, PS3.3 C.7.3.1.1.1, those that were retired too."""

logging.getLogger("pydicom").setLevel(logging.CRITICAL)  # it warns too, and its log repeats values of the header


class BadValueError(Exception):
    """A header value that cannot be used; the message names the attribute and the value."""


@contextmanager
def reading() -> Iterator[None]:
    """Read as it is: no validation of values, and no warnings of pydicom, which could show them."""
    with warnings.catch_warnings(), config.disable_value_validation():
        warnings.simplefilter("ignore")
        yield


def get_text(dataset: Any, keyword: str | int) -> str:
    """The value of a keyword or a tag as text, "" where it is missing or broken; several are joined by a backslash.

    A UID that is none, and could be a name, is replaced by one made of it.
    """
    text = _get_text(dataset, keyword)
    if keyword not in IDENTIFIERS or not text or PLAIN_UID.fullmatch(text):
        return text
    return f"2.25.{int.from_bytes(hashlib.sha256(text.encode('utf-8', 'replace')).digest()[:16], 'big')}"


def get_modality(dataset: Any) -> str:
    """The modality, OT (other) where it is missing or none of DICOM's: it is shown, and free text could be a name."""
    modality = get_text(dataset, "Modality").upper()
    return modality if modality in MODALITIES else "OT"


def _get_text(dataset: Any, keyword: str | int) -> str:
    try:
        value = dataset.get(keyword)
        value = value if isinstance(keyword, str) or value is None else value.value
    except Exception:  # noqa: BLE001 - pydicom raises many kinds for a broken value
        return ""
    if value is None:
        return ""
    if isinstance(value, str):
        return value.strip(" \0")
    try:
        return "\\".join(str(part).strip(" \0") for part in value)
    except TypeError:
        return str(value).strip(" \0")


def get_numbers(dataset: Any, keyword: str, count: int | None = None) -> tuple[float, ...] | None:
    """Finite numbers of a multi-valued attribute; None where it is missing or empty.

    Raises:
        BadValueError: a value is not a finite number, or there are not ``count`` of them.
    """
    if keyword not in dataset:
        return None
    try:
        value = dataset.get(keyword)
        if value is None or value == "" or (hasattr(value, "__len__") and len(value) == 0):
            return None
        parts = [value] if isinstance(value, int | float | str) or not hasattr(value, "__iter__") else list(value)
        numbers = tuple(float(part) for part in parts)
    except Exception as error:
        raise BadValueError(f"{keyword} is {_show(dataset, keyword)}, not a number.") from error
    if not all(math.isfinite(number) for number in numbers):
        raise BadValueError(f"{keyword} is {_show(dataset, keyword)}, which is not finite.")
    if count is not None and len(numbers) != count:
        raise BadValueError(f"{keyword} has {len(numbers)} values, expected {count}.")
    return numbers


def get_number(dataset: Any, keyword: str, default: float | None = None) -> float | None:
    """The finite number of an attribute of one value, ``default`` where it is missing or empty.

    Raises:
        BadValueError: it is not a finite number, or there are several.
    """
    numbers = get_numbers(dataset, keyword)
    if numbers and len(numbers) > 1:
        raise BadValueError(f"{keyword} has {len(numbers)} values, expected 1.")
    return numbers[0] if numbers else default


def get_integer(dataset: Any, keyword: str, default: int) -> int:
    """A whole number, ``default`` where it is missing."""
    number = get_number(dataset, keyword)
    return default if number is None else int(number)


def get_group(dataset: Any, keyword: str) -> Any:
    """The first item of a sequence, None where there is none."""
    try:
        items = dataset.get(keyword)
    except Exception:  # noqa: BLE001 - pydicom raises many kinds for a broken value
        return None
    return items[0] if items else None


def _show(dataset: Any, keyword: str) -> str:
    try:
        value = getattr(dataset.get_item(keyword), "value", None)
    except Exception:  # noqa: BLE001 - only for showing
        value = None
    text = value.decode("ascii", "replace") if isinstance(value, bytes) else str(value)
    return repr(WORD.sub("...", text)[:SHOWN_CHARACTERS])
