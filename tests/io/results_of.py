"""Results with known numbers about small DICOM series, for the tests of DICOM results."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from seriatim.io import find_series
from seriatim.io.results import Algorithm, SeriesResult, SliceMaps
from seriatim.series import Prediction, Series

DIGEST = "ab" * 32
LABEL = "intracranial bleed"
"""Neither a code of 14 signs nor one word."""


def find_one(path: Path) -> Series:
    """The one usable series below a path."""
    (series,) = find_series(path).series
    assert series.usable, series.reason
    return series


def predict(series: Series, **changed: Any) -> Prediction:
    """A scored series with numbers that float32 cannot hold."""
    count = len(series.instances)
    rng = np.random.default_rng(0)
    attention = rng.random(count)
    told: dict[str, Any] = {
        "study_uid": series.study_uid, "series_uid": series.series_uid, "path": series.path,
        "modality": series.modality, "volume": series.volume, "status": "scored", "slices": count,
        "frames": tuple(one.frame for one in series.instances), "prediction": "1", "positions": series.positions,
        "sop_instance_uids": tuple(one.sop_instance_uid for one in series.instances),
        "probabilities": {LABEL: 0.8123456789012345}, "attention": attention / attention.sum(),
        "slice_scores": {LABEL: rng.random(count)},
    }
    return Prediction(**{**told, **changed})


def make_result(series: Series, *, predicted: dict[str, Any] | None = None, **changed: Any) -> SeriesResult:
    """A result with both kinds of maps and a picture; key images are the last slice and the first."""
    prediction = predict(series, **(predicted or {}))
    count, last = len(series.instances), len(series.instances) - 1
    rng = np.random.default_rng(1)
    assert prediction.attention is not None
    even = np.broadcast_to(prediction.attention[:, None, None].astype(np.float32), (count, 3, 3))
    shown = tuple(sorted({0, last}))
    told: dict[str, Any] = {
        "series": series, "prediction": prediction, "answer": "binary", "thresholds": {LABEL: 0.5},
        "thresholds_from": "validation", "top": (last, 0) if last else (0,), "chosen_by": "the ends",
        "algorithm": Algorithm(name="tiny", version="0.1", digest=DIGEST, parameters=("task diagnosis",)),
        "maps": (SliceMaps(kind="attention", indices=tuple(range(count)), values=even),
                 SliceMaps(kind="gradcam", indices=shown, label=LABEL, values=rng.random(
                     (len(shown), series.rows, series.columns)).astype(np.float32))),
        "picture": rng.integers(0, 255, (40, 60, 3), dtype=np.uint8),
    }
    return SeriesResult(**{**told, **changed})


def read_results(folder: Path) -> dict[str, Dataset]:
    """The objects in a folder, by kind."""
    return {path.stem: pydicom.dcmread(path) for path in sorted(folder.glob("*.dcm"))}


def real_values(dataset: Dataset) -> np.ndarray:
    """(frames, rows, columns) of a map: what its stored values mean."""
    (mapping,) = dataset.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence
    pixels = dataset.pixel_array.reshape(-1, dataset.Rows, dataset.Columns)
    return np.asarray(mapping.RealWorldValueSlope * pixels + mapping.RealWorldValueIntercept)


def find_items(dataset: Dataset, value_type: str, name: str | None = None) -> list[Dataset]:
    """All content items of a type below, in order; of one concept where it is named by its code."""
    found = []
    for item in dataset.get("ContentSequence", ()):
        named = item.get("ConceptNameCodeSequence")
        if item.ValueType == value_type and (name is None or (named and named[0].CodeValue == name)):
            found.append(item)
        found += find_items(item, value_type, name)
    return found


def check_valid(paths: list[Path]) -> None:
    """Fail on any error that dciodvfy (Debian dicom3tools) tells; skip where it is not installed."""
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy of dicom3tools is not installed")
    assert paths
    for path in paths:
        run = subprocess.run(["dciodvfy", "-new", str(path)], capture_output=True, text=True, timeout=60, check=False)
        lines = (run.stdout + run.stderr).splitlines()
        assert not [line for line in lines if line.startswith("Error")], path.name
        assert any(line in ("ComprehensiveSR", "KeyObjectSelectionDocument", "ParametricMap", "SCImage")
                   for line in lines), lines
