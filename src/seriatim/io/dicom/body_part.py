"""Body Part Examined (0018,0015) as one of a few regions: sites spell parts in many ways, and free text may be a name.

The terms are those of PS3.16 Annex L, and what scanners write besides.
"""

from __future__ import annotations

import re
from typing import Any

from seriatim.io.dicom.values import get_text

REGIONS: dict[str, tuple[str, ...]] = {
    "head": ("HEAD", "BRAIN", "SKULL", "CRANIUM", "CEREBRUM", "CEREBELLUM", "NEURO", "ORBIT", "EYE", "EAR", "IAC",
             "SINUS", "FACE", "FACIAL", "JAW", "MANDIBLE", "MAXILLA", "TMJ", "NOSE", "MOUTH", "PITUITARY", "SELLA",
             "TEMPORALBONE", "KOPF", "TETE", "CABEZA", "SCHAEDEL"),
    "neck": ("NECK", "THYROID", "LARYNX", "PHARYNX", "CAROTID", "HALS", "COU"),
    "chest": ("CHEST", "THORAX", "LUNG", "LUNGS", "HEART", "CARDIAC", "CORONARY", "MEDIASTINUM", "STERNUM", "RIB",
              "RIBS", "ESOPHAGUS", "AORTA", "BRUSTKORB", "TORAX", "CLAVICLE"),
    "breast": ("BREAST", "MAMMA"),
    "abdomen": ("ABDOMEN", "LIVER", "KIDNEY", "KIDNEYS", "PANCREAS", "SPLEEN", "GALLBLADDER", "STOMACH", "COLON",
                "ADRENAL", "BOWEL", "BILEDUCT", "RENAL"),
    "pelvis": ("PELVIS", "HIP", "BLADDER", "PROSTATE", "UTERUS", "OVARY", "RECTUM", "SACRUM", "COCCYX", "BECKEN",
               "SIJOINT"),
    "spine": ("SPINE", "CSPINE", "TSPINE", "LSPINE", "CTSPINE", "TLSPINE", "LSSPINE", "CERVICALSPINE", "LUMBARSPINE",
              "THORACICSPINE", "WHOLESPINE"),
    "arm": ("ARM", "SHOULDER", "ELBOW", "WRIST", "HAND", "FINGER", "THUMB", "FOREARM", "HUMERUS", "SCAPULA",
            "UPPERLIMB", "UPPEREXTREMITY", "RADIUS", "ULNA"),
    "leg": ("LEG", "KNEE", "ANKLE", "FOOT", "TOE", "FEMUR", "TIBIA", "FIBULA", "CALF", "THIGH", "PATELLA",
            "LOWERLIMB", "LOWEREXTREMITY", "CALCANEUS", "HEEL"),
}
_REGION_OF = {term: region for region, terms in REGIONS.items() for term in terms}
_JOINTS = re.compile(r"[/,;+&\\]|\bAND\b|\bWITH\b")


def get_body_parts(dataset: Any) -> tuple[str, ...]:
    """The regions that the file says it shows, sorted; empty where it tells none, or none that is known."""
    text = get_text(dataset, "BodyPartExamined").upper()
    whole = _region(text)
    if whole:
        return (whole,)
    return tuple(sorted({region for part in _JOINTS.split(text) if (region := _region(part))}))


def _region(text: str) -> str:
    """The region of one term, however it is spaced: ``C SPINE``, ``C-SPINE`` and ``CSPINE`` are one."""
    return _REGION_OF.get(re.sub(r"[^A-Z]", "", text), "")
