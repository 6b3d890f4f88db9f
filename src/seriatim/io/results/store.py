"""Result files on disk: named without identifiers, put in place whole, and never over another's without a word."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pydicom
from pydicom.dataset import Dataset

from seriatim.errors import ConfigError, OutputError
from seriatim.io.dicom.values import get_text, reading
from seriatim.io.results.result import MANUFACTURER

Outcome = Literal["written", "kept", "replaced"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """One file: ``kept`` was there already, the same object; ``replaced`` another result of ours that was there."""

    path: Path
    sop_instance_uid: str
    outcome: Outcome


def require_highdicom() -> None:
    """Raise ConfigError where the extra is not installed; and keep the library from telling values of a header."""
    try:
        import highdicom  # noqa: F401
    except ImportError as error:
        message = 'DICOM results need highdicom. Install it: pip install "seriatim[dicom-results]".'
        raise ConfigError(message) from error
    logging.getLogger("highdicom").setLevel(logging.CRITICAL)


def store(dataset: Dataset, path: Path) -> Written:
    """Write an object; the same one, told by its SOP Instance UID, is left as it was.

    Raises:
        OutputError: the folder cannot be written, or a file that is none of our results has the name.
    """
    uid = str(dataset.SOPInstanceUID)
    there = _uid_of_ours(path)
    if there == uid:
        return Written(path=path, sop_instance_uid=uid, outcome="kept")
    partial = path.with_name(path.name + ".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with reading():  # identifiers of the source may be longer than DICOM allows, and stay what they are
            dataset.save_as(partial, enforce_file_format=True)
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        message = f"{path} cannot be written: {error.strerror}. Free space, or choose another folder."
        raise OutputError(message) from error
    return Written(path=path, sop_instance_uid=uid, outcome="replaced" if there else "written")


def _uid_of_ours(path: Path) -> str:
    """The SOP Instance UID of the result at a path, "" where there is no file."""
    if not path.exists():
        return ""
    try:
        with reading():
            found = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["SOPInstanceUID", "Manufacturer"])
        uid = get_text(found, "SOPInstanceUID") if get_text(found, "Manufacturer") == MANUFACTURER else ""
    except Exception:  # noqa: BLE001 - whatever it is, it is no result of ours
        uid = ""
    if not uid:
        raise OutputError(f"{path} is there and is no result of seriatim. Choose another folder.")
    return uid
