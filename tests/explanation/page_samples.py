"""Series and explanations for the tests of pages, made up."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from seriatim.explanation.anomaly import FrameExplanation
from seriatim.explanation.explanation import Explanation
from seriatim.series import Code, Series, Volume
from seriatim.series.findings import find
from seriatim.series.series import Instance

UID = "1.2.840.113619.2.55.3"
HOSTILE = "</script><img src=x onerror=alert(1)>\u202e\x1b[31m'\"&amp;"


def volume_of(
    explanation: Explanation | FrameExplanation, array: np.ndarray, *, modality: str = "CT", **changes: object
) -> Volume:
    """A volume of ``array`` (S,H,W[,3]) with the UIDs and positions of an explanation; square pixels of 1 mm."""
    space = explanation.axis == "space"
    instances = tuple(
        Instance(path=Path("doe_john.dcm"), sop_instance_uid=uid, frame=None, position=float(position))
        for uid, position in zip(explanation.sop_instance_uids, explanation.positions, strict=True)
    )  # fmt: skip
    affine = np.diag([-1.0, -1.0, 5.0, 1.0]) if space else None
    series = Series(
        study_uid="1.2", series_uid=explanation.series_uid, modality=modality, axis=explanation.axis, format="dicom",
        path=Path("studies/doe_john.dcm"), instances=instances, rows=array.shape[1], columns=array.shape[2],
        affine=affine, spacing_mm=(1.0, 1.0, 5.0) if space else None,
        findings=(find(Code.UNEVEN_SPACING, "doe_john.dcm: the distance of slices is 4.8 to 5.2 mm"),),
    )  # fmt: skip
    return Volume(array=array, affine=affine, positions=explanation.positions, series=series, **changes)


def explanation_of(count: int = 12, shown: int = 4, **changes: object) -> Explanation:
    """An explanation of ``count`` slices of which the first, the one in the middle and others are shown."""
    rng = np.random.default_rng(0)
    attention = 0.1 + 0.9 * np.exp(-0.5 * ((np.arange(count) - count // 2) / 1.5) ** 2)
    attention /= attention.sum()
    order = np.argsort(-attention, kind="stable")[:shown]
    fields = {
        "series_uid": UID, "label": "bleed", "probability": 0.87, "prediction": "bleed", "threshold": 0.4,
        "axis": "space", "unit": "mm", "positions": np.arange(count) * 5.0 - 30, "attention": attention,
        "attributions": {"gradient_input": rng.normal(size=count), "attention": attention},
        "slice_scores": {"bleed": rng.random(count)},
        "sop_instance_uids": tuple(f"{UID}.{index}" for index in range(count)),
        "top": tuple(int(one) for one in order), "images": np.zeros((shown, 8, 8), dtype=np.uint8),
        "heat": np.full((shown, 8, 8), 0.9, dtype=np.float32), "letters": ("R", "L", "A", "P"), "model_name": "demo",
        "model_digest": "a" * 64, "findings": ("UNEVEN_SPACING",),
    }
    return Explanation(**{**fields, **changes})


def ramp_of(count: int, *, size: int = 64, low: float = -1000, high: float = 1500) -> np.ndarray:
    """Slices int16 whose values rise from left to right; the slice's number stands as 20 more HU each."""
    row = np.linspace(low, high, size)
    return np.stack([np.tile(row + 20 * number, (size, 1)) for number in range(count)]).astype(np.int16)
