"""Codes: DICOM's and SNOMED's where they exist, else those of the private scheme 99SERIATIM."""

from __future__ import annotations

import hashlib
import re
from typing import Any

from highdicom.coding_schemes import CodingSchemeIdentificationItem
from highdicom.sr import CodedConcept
from pydicom.sr.codedict import codes

from seriatim import __version__

SCHEME = "99SERIATIM"
MEANING_CHARACTERS = 64
PLAIN = re.compile(r"[A-Za-z0-9_.-]{1,14}")


def private(value: str, meaning: str) -> CodedConcept:
    """A concept of the private scheme."""
    return CodedConcept(value=value, scheme_designator=SCHEME, meaning=meaning)


def standard(value: str, scheme: str, meaning: str) -> CodedConcept:
    """A concept of a scheme that DICOM knows."""
    return CodedConcept(value=value, scheme_designator=scheme, meaning=meaning)


PROBABILITY = standard("122157", "DCM", "Probability")
THRESHOLD = standard("122411", "DCM", "Threshold Value")
FAMILY = standard("123110", "DCM", "Artificial Intelligence")
COMMENT = standard("121106", "DCM", "Comment")
GRADCAM = standard("130403", "DCM", "Gradient-weighted class activation")
PRESENT = standard("52101004", "SCT", "Present")
ABSENT = standard("272519000", "SCT", "Absent")
YES = standard("373066001", "SCT", "Yes")
NO = standard("373067005", "SCT", "No")
SOURCE = standard("260753009", "SCT", "Source")
SOURCE_FOR_PROCESSING = standard("121322", "DCM", "Source image for image processing operation")
NO_UNITS = standard("1", "UCUM", "no units")

ATTENTION = private("attention", "Attention weight of the image in the score")
SURPRISE_SHARE = private("surprise_share", "Share of the image in all surprise of the series")
ANOMALY_SCORE = private("anomaly_score", "Anomaly score, 0.5 at the threshold, no probability")
VALUE = private("value", "Predicted value, in the unit of the training labels")
DISAGREEMENT = private("disagreement", "Standard deviation of several models' probabilities")
CALIBRATED = private("calibrated", "Calibrated on validation data")
UNCALIBRATED = private("uncalibrated", "Not calibrated")
DECISION = private("decision", "Decision at the threshold value")
LIKELIEST = private("likeliest", "Likeliest of the classes")


def finding(label: str) -> CodedConcept:
    """The class that a model was trained to tell, as a concept: ``F-`` and the label, or and a digest of it."""
    code = label if PLAIN.fullmatch(label) else hashlib.sha256(label.encode("utf-8", "replace")).hexdigest()[:14]
    return private(f"F-{code}", shorten(label) or "class")


def attribution(code: str, title: str) -> CodedConcept:
    """What a method says an image did for the class, by the method's name, as far as a code may be long."""
    return private(code[:16], shorten(f"Attribution of the image by {title}"))


def modality(name: str) -> CodedConcept:
    """A DICOM modality as a concept of CID 29; of one without a code "Other"."""
    known = {concept.value: concept for concept in _concepts_of(codes.cid29)}
    concept = known.get(name)
    return standard("OT", "DCM", "Other") if concept is None else CodedConcept.from_code(concept)


def procedure(name: str) -> CodedConcept:
    """The procedure that is reported on, by modality (CID 100); an imaging procedure where none is meant for it."""
    xray = ("43468-8", "LN", "XR unspecified body region")
    found = {
        "CT": ("25045-6", "LN", "CT unspecified body region"), "MR": ("25056-3", "LN", "MRI unspecified body region"),
        "PT": ("44136-0", "LN", "PET unspecified body region"), "NM": ("49118-3", "LN", "NM unspecified body region"),
        "CR": xray, "DX": xray,
    }.get(name, ("363679005", "SCT", "Imaging procedure"))
    return standard(*found)


def scheme() -> CodingSchemeIdentificationItem:
    """Who is responsible for the private codes."""
    return CodingSchemeIdentificationItem(
        designator=SCHEME, name="Concepts of seriatim", version=__version__, responsible_organization="seriatim"
    )


def shorten(text: str, characters: int = MEANING_CHARACTERS) -> str:
    """Text on one line without what DICOM reads as a separator, of at most so many characters."""
    plain = " ".join("".join(sign if sign.isprintable() and sign != "\\" else " " for sign in text).split())
    return plain if len(plain) <= characters else f"{plain[: characters - 3]}..."


def _concepts_of(group: Any) -> list[Any]:
    return [getattr(group, name) for name in group.dir()]
