"""What kind of DICOM object a file is, from its header: an image to read, or something to leave out with its reason."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any, Literal

from pydicom.uid import UID

from seriatim.io.dicom.values import BadValueError, get_number, get_numbers, get_text
from seriatim.series.findings import Code, Finding, find

Role = Literal["", "localizer", "capture", "derived"]
"""What a picture is to its series: a slice (""), or a picture that never joins the slices."""

KIND_KEYWORDS = ("SOPClassUID", "Modality", "ImageType", "Rows", "Columns", "VolumeBasedCalculationTechnique",
                 "BurnedInAnnotation", "LossyImageCompression", "LossyImageCompressionRatio", "ImagePositionPatient",
                 "SharedFunctionalGroupsSequence", "RescaleSlope", "RescaleIntercept")
"""The attributes that this module needs; a reader of headers must not leave them out."""

IMAGE = "1.2.840.10008.5.1.4.1.1."
CAPTURE = f"{IMAGE}7"
WHOLE_SLIDE = (f"{IMAGE}77.1.6",)
NOT_IMAGES = ("9.", "11.", "66", "67", "88.", "104.", "200.", "201.", "481.3", "481.4", "481.5", "481.6", "481.7",
              "481.8", "481.9", "481.10", "481.11", "4.2", "77.1.5.3", "78.", "79.", "80.", "91.1", "131", "90.",
              "34.7", "34.8", "68.")
PRIVATE_NAMES = {
    "1.3.12.2.1107.5.9.1": "Siemens CSA Non-Image Storage",
    "1.3.46.670589.2.3.1.1": "Philips Specialised XA Storage",
    "1.3.46.670589.5.0.1": "Philips Private Volume Storage",
    "1.3.46.670589.5.0.2": "Philips Private 3D Object Storage",
    "1.3.46.670589.5.0.3": "Philips Private Surface Storage",
    "1.3.46.670589.5.0.4": "Philips Private Composite Object Storage",
    "1.3.46.670589.11.0.0.12.1": "Philips Private MR Spectrum Storage",
    "1.3.46.670589.11.0.0.12.2": "Philips Private MR Series Data Storage",
    "1.3.46.670589.11.0.0.12.4": "Philips Private MR Examcard Storage",
    "1.2.840.113619.4.2": "GE Private MR Image Storage",
    "1.2.840.113619.4.3": "GE Private CT Image Storage",
    "1.2.840.113619.4.26": "GE Private 3D Model Storage",
    "1.2.840.113619.4.27": "GE Private Nuclear Medicine Storage",
    "1.2.840.113619.4.30": "GE Private PET Raw Data Storage",
}
VOLUMETRIC = frozenset({"CT", "MR", "PT", "NM"})
OFTEN_LABELLED = (f"{IMAGE}3.1", f"{IMAGE}6.1", f"{IMAGE}77.1.1", f"{IMAGE}77.1.2.", f"{IMAGE}77.1.4")
"""Ultrasound, endoscopy, slide and photograph: like captures, they often show names (PS3.15 E.3.1)."""
LOSSY_SYNTAXES = frozenset(
    f"1.2.840.10008.1.2.4.{last}" for last in (*range(50, 57), 81, *range(100, 109), 111)
)
"""Syntaxes that always lose something (111 packs a lossy JPEG). Others may: LossyImageCompression says so."""
LOCALIZER_WORDS = frozenset({"LOCALIZER", "SCOUT", "TOPOGRAM", "SCANOGRAM"})
CAPTURE_PHRASES = (" SCREEN SAVE ", " SCREENSAVE ", " SCREENSHOT ", " SCREEN CAPTURE ", " DOSE INFO ", " DOSE REPORT ",
                   " DOSE SCREEN ", " PATIENT PROTOCOL ", " CT SOM5 PROT ")
REFORMAT_PHRASES = (" MPR ", " MPVR ", " REFORMATTED ", " MIP ", " MINIP ", " MNIP ", " 3DMIP ", " VRT ", " SSD ",
                    " CPR ", " CURVED ", " PROJECTION IMAGE ", " VOLUME RENDERING ", " VOLUME RENDERED ",
                    " SURFACE RENDERING ", " SURFACE RENDERED ", " MAX IP ", " MIN IP ")
PLANAR_PHRASES = frozenset({" MPR ", " MPVR ", " REFORMATTED "})
"""Reformats that are slices of the anatomy, no projections of it."""
REFORMAT_TECHNIQUES = frozenset({"MAX_IP", "MIN_IP", "VOLUME_RENDER", "SURFACE_RENDER", "MPR", "CURVED_MPR"})
UID_TEXT = re.compile(r"[0-9.]{1,64}")


class NotAnImageError(Exception):
    """The file is DICOM without an image, or cannot be parsed; the message is the reason."""


class BrokenImageError(NotAnImageError):
    """The file cannot be parsed, and may have been an image."""


def check_kind(dataset: Any) -> list[Finding]:
    """The findings of a header about what the object is and how its values are stored.

    Raises:
        NotAnImageError: the object holds no image.
    """
    require_image(dataset)
    return [*_check_role(dataset), *_check_rescale(dataset), *_check_loss(dataset), *_check_text(dataset)]


def require_image(dataset: Any) -> None:
    """Raise NotAnImageError, with the kind by name, where the object is no image. A private kind with rows is one."""
    meta = getattr(dataset, "file_meta", None)
    sop_class = get_text(dataset, "SOPClassUID") or (get_text(meta, "MediaStorageSOPClassUID") if meta else "")
    kind = sop_class.removeprefix(IMAGE)
    if kind != sop_class and kind.startswith(NOT_IMAGES):
        raise NotAnImageError(f"not an image: {name_of(sop_class)}")
    if sop_class == "1.2.840.10008.1.3.10":
        raise NotAnImageError("not an image: DICOMDIR")
    if "Rows" not in dataset or "Columns" not in dataset:
        broken = not sop_class or kind != sop_class
        raise (BrokenImageError if broken else NotAnImageError)(f"DICOM without an image ({name_of(sop_class)})")


def name_of(sop_class: str) -> str:
    """The name of a SOP class; of one without a known name its UID, and never other text of a header."""
    if not sop_class:
        return "no SOP Class UID"
    if sop_class in PRIVATE_NAMES:
        return PRIVATE_NAMES[sop_class]
    if not UID_TEXT.fullmatch(sop_class):
        return "a SOP Class UID that is none"
    name = UID(sop_class).name
    return f"SOP class {sop_class}" if name == sop_class else name


def role_of(dataset: Any) -> Role:
    """What a picture is to its series, by SOP class and the words of ImageType (PS3.3 C.7.6.1.1.2), never by free text.

    ``DERIVED`` alone is no reformat: many scanners call plain slices derived.
    """
    words = _words(get_text(dataset, "ImageType"))
    if any(f" {word} " in words for word in LOCALIZER_WORDS):
        return "localizer"
    if get_text(dataset, "Modality").upper() not in VOLUMETRIC:
        return ""
    unplaced = "ImagePositionPatient" not in dataset and "SharedFunctionalGroupsSequence" not in dataset
    sop_class = get_text(dataset, "SOPClassUID")
    if any(phrase in words for phrase in CAPTURE_PHRASES) or (_is_capture(sop_class) and unplaced):
        return "capture"
    technique = get_text(dataset, "VolumeBasedCalculationTechnique").upper()
    if any(phrase in words for phrase in REFORMAT_PHRASES) or technique in REFORMAT_TECHNIQUES:
        return "derived"
    return ""


def _is_called_original(dataset: Any) -> bool:
    """True where ImageType says ORIGINAL, PRIMARY and MPR, as some scanners call oblique slices; not of projections."""
    words = _words(get_text(dataset, "ImageType"))
    found = [phrase for phrase in REFORMAT_PHRASES if phrase in words]
    technique = get_text(dataset, "VolumeBasedCalculationTechnique").upper()
    return (words.startswith(" ORIGINAL | PRIMARY ") and set(found) <= PLANAR_PHRASES
            and technique not in REFORMAT_TECHNIQUES)


def _words(image_type: str) -> str:
    """The words of all values with a space at either side of each; ``|`` ends a value."""
    return " " + re.sub(r"[\s_/+-]+", " ", image_type.upper().replace("\\", " | ")) + " "


def _is_capture(sop_class: str) -> bool:
    return sop_class == CAPTURE or sop_class.startswith(f"{CAPTURE}.")


def _check_role(dataset: Any) -> list[Finding]:
    if get_text(dataset, "SOPClassUID").startswith(WHOLE_SLIDE):
        return [find(Code.UNSUPPORTED, "A whole slide image is tiles of one picture, not a sequence.")]
    role = role_of(dataset)
    if role == "capture":
        modality = get_text(dataset, "Modality").upper()  # one of a closed list
        message = f"A screen capture, a dose screen or a text page of a {modality} study is no slice of it."
        return [find(Code.NOT_A_SERIES, message)]
    if role == "derived" and _is_called_original(dataset):
        message = ("ImageType calls the slices a reformat and original at once: they are read as slices of their own, "
                   "and may be averages of others.")
        return [replace(find(Code.DERIVED, message), action="keep")]
    if role == "derived":
        message = ("A reformat or a projection that was computed from another series (ImageType). Use the series it "
                   "was made from, or keep it: --on DERIVED=keep.")
        return [find(Code.DERIVED, message)]
    return []


def _check_rescale(dataset: Any) -> list[Finding]:
    try:
        slope = get_number(dataset, "RescaleSlope", 1.0)
        get_number(dataset, "RescaleIntercept", 0.0)
    except BadValueError as error:
        return [find(Code.BAD_VALUE, str(error))]
    return [find(Code.BAD_VALUE, "RescaleSlope is 0: every pixel would have one value.")] if slope == 0 else []


def _check_loss(dataset: Any) -> list[Finding]:
    meta = getattr(dataset, "file_meta", None)
    syntax = get_text(meta, "TransferSyntaxUID") if meta else ""
    if get_text(dataset, "LossyImageCompression") not in ("01", "1") and syntax not in LOSSY_SYNTAXES:
        return []
    try:
        ratios = get_numbers(dataset, "LossyImageCompressionRatio") or ()
    except BadValueError:
        ratios = ()
    ratio = max(ratios, default=0.0)
    if ratio <= 1:
        return [find(Code.LOSSY, "The pixels were compressed with loss.")]
    return [find(Code.LOSSY, f"The pixels were compressed with loss, to 1/{ratio:.3g} of their size.", ratio=ratio)]


def _check_text(dataset: Any) -> list[Finding]:
    stated = get_text(dataset, "BurnedInAnnotation").upper()
    if stated == "YES":
        message = "The header says that text is burned into the pixels: it may name a patient."
        return [find(Code.BURNED_IN_TEXT, message)]
    sop_class = get_text(dataset, "SOPClassUID")
    if stated == "NO" or not (_is_capture(sop_class) or sop_class.startswith(OFTEN_LABELLED)):
        return []
    message = "Pictures of this kind often hold names, and the header does not say that the pixels are free of them."
    return [find(Code.BURNED_IN_TEXT, message)]
