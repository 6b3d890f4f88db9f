"""Small clips and anomaly runs, as several tests need them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from seriatim.experiment import AnomalyExperiment, read_experiment
from seriatim.training import train
from tiny_runs import write_rows

sys.path.append(str(Path(__file__).parent / "io"))
from dicom_files import make_slice, make_stack, save

FRAMES = 18
CAUSAL: list[dict[str, Any]] = [
    {"kind": "causal", "epochs": 2, "hidden": 8, "components": 6}, {"kind": "gaussian"}, {"kind": "memory", "size": 40},
    {"kind": "future", "epochs": 2, "size": 16, "channels": 4},
]


def draw_clip(seed: int, *, rows: int = 37, columns: int = 51) -> np.ndarray:
    rng = np.random.default_rng(seed)
    shade = 110 + 60 * np.sin(rng.uniform(0, 6) + 0.5 * np.arange(FRAMES))[:, None, None]
    return np.asarray(np.clip(shade + rng.normal(0, 12, (FRAMES, rows, columns)), 0, 255), dtype=np.uint8)


def write_clip(folder: Path, frames: np.ndarray) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number, frame in enumerate(frames):
        Image.fromarray(frame).save(folder / f"{number}.png")
    return folder


def train_run(
    folder: Path, methods: list[dict[str, Any]], *, task: dict[str, Any] | None = None, slices: bool = False,
    **preprocessing: Any,
) -> Path:
    """A run of six clips, or with ``slices`` of six CT series whose slices are written as DICOM."""
    rows = []
    for number in range(6):
        (write_slices if slices else write_clip)(folder / "clips" / f"c{number}", draw_clip(number))
        rows.append({"path": f"clips/c{number}", "patient": f"p{number}", "split": "train" if number < 3 else "val"})
    write_rows(folder / "labels.csv", rows)
    content = {"name": "live", "data": {"manifest": str(folder / "labels.csv")},
               "preprocessing": {"kind": "ct" if slices else "intensity", "size": 32, **preprocessing},
               "network": {"encoder": {"kind": "small_cnn", "widths": [8, 16]}},
               "task": {"kind": "anomaly", "methods": methods, "false_alarm_rate": 0.2, **(task or {})},
               "training": {"accelerator": "cpu"}}
    (folder / "anomaly.yaml").write_text(yaml.safe_dump(content))
    experiment = read_experiment(folder / "anomaly.yaml")
    assert isinstance(experiment, AnomalyExperiment)
    train(experiment, folder / "run")
    return folder / "run"


def write_slices(folder: Path, stored: np.ndarray) -> Path:
    """One file per slice, named in ascending position; stored 1024 and more is water and denser."""
    stack = make_stack((1000 + stored.astype(np.uint16)).astype("<u2"), SeriesInstanceUID=f"1.2.3.{stored[0, 0, 0]}")
    for number, dataset in enumerate(stack):
        dataset.SOPInstanceUID = f"{dataset.SeriesInstanceUID}.{number + 1}"
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        save(dataset, folder / f"IM{number}.dcm")
    return folder


def write_cine(path: Path, frames: np.ndarray, **values: Any) -> None:
    dataset = make_slice(
        frames, None, SOPClassUID="1.2.840.10008.5.1.4.1.1.3.1", Modality="US", ImageOrientationPatient=None,
        RescaleSlope=None, RescaleIntercept=None, NumberOfFrames=len(frames), BitsAllocated=8, BitsStored=8, HighBit=7,
        SamplesPerPixel=1, PhotometricInterpretation="MONOCHROME2", PixelRepresentation=0,
        PixelData=frames.tobytes(), **values,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    save(dataset, path)
