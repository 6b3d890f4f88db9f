"""Small DICOM files with known truth, for the tests of this room."""

from __future__ import annotations

import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
CORONAL = (1.0, 0.0, 0.0, 0.0, 0.0, -1.0)
SAGITTAL = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)


def make_slice(pixels: np.ndarray, position: Iterable[float] | None, **values: Any) -> Dataset:
    """A CT slice; ``values`` override attributes, None removes one."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = CTImageStorage
    dataset.SOPInstanceUID = generate_uid()
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "1.2.3", "1.2.3.4"
    dataset.FrameOfReferenceUID = "1.2.3.9"
    dataset.Modality, dataset.ImageType = "CT", ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.PatientName, dataset.PatientID = "Secret^Person", "SECRET-ID"
    dataset.ImageOrientationPatient = list(AXIAL)
    if position is not None:
        dataset.ImagePositionPatient = [float(part) for part in position]
    dataset.PixelSpacing, dataset.SliceThickness = [0.5, 0.75], 9.0
    dataset.Rows, dataset.Columns = pixels.shape[-2:] if pixels.ndim < 4 else pixels.shape[1:3]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit, dataset.PixelRepresentation = 15, int(pixels.dtype.kind == "i")
    dataset.RescaleSlope, dataset.RescaleIntercept = 1, -1024
    dataset.PixelData = pixels.tobytes()
    for name, value in values.items():
        if value is None:
            delattr(dataset, name)
        else:
            setattr(dataset, name, value)
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    return dataset


def save(dataset: Dataset, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)
    return path


def make_stack(stored: np.ndarray, *, orientation: tuple[float, ...] = AXIAL, step_mm: float = 2.5,
               origin: tuple[float, float, float] = (-10.0, -20.0, 30.0), **values: Any) -> list[Dataset]:
    """A stack of slices along the normal of ``orientation``, row by row as stored."""
    axes = np.array(orientation).reshape(2, 3)
    normal = np.cross(axes[0], axes[1])
    return [
        make_slice(pixels, np.array(origin) + index * step_mm * normal, ImageOrientationPatient=list(orientation),
                   InstanceNumber=index + 1, SOPInstanceUID=f"1.2.3.4.{index + 1}", **values)
        for index, pixels in enumerate(stored)
    ]


def save_stack(datasets: Iterable[Dataset], folder: Path, *, seed: int | None = None) -> Path:
    """Write one file per slice; with a seed, names and instance numbers carry no order."""
    datasets = list(datasets)
    rng = random.Random(seed)
    names = [f"IM{index:04}" for index in range(len(datasets))]
    if seed is not None:
        rng.shuffle(names)
        for dataset in datasets:
            dataset.InstanceNumber = rng.randint(1, 10_000)
    for name, dataset in zip(names, datasets, strict=True):
        save(dataset, folder / f"{name}.dcm")
    return folder


def random_stack(count: int = 8, rows: int = 6, columns: int = 5, seed: int = 0) -> np.ndarray:
    """(S,H,W) uint16 stored values."""
    return np.random.default_rng(seed).integers(0, 4000, (count, rows, columns)).astype("<u2")


def item(**values: Any) -> Sequence:
    """A sequence of one item."""
    dataset = Dataset()
    for name, value in values.items():
        setattr(dataset, name, value)
    return Sequence([dataset])


def make_enhanced(
    stored: np.ndarray, positions: np.ndarray, traits: list[dict[str, Any]], slopes: list[float]
) -> Dataset:
    """An enhanced MR object: (N,H,W) frames with their own positions, echo times and slopes."""
    dataset = make_slice(stored, None, SOPClassUID="1.2.840.10008.5.1.4.1.1.4.1", Modality="MR", PixelSpacing=None,
                         ImageOrientationPatient=None, RescaleSlope=None, RescaleIntercept=None,
                         NumberOfFrames=len(stored))
    shared, frames = Dataset(), []
    shared.PlaneOrientationSequence = item(ImageOrientationPatient=list(AXIAL))
    shared.PixelMeasuresSequence = item(PixelSpacing=[0.5, 0.75], SliceThickness=9.0)
    for position, values, slope in zip(positions, traits, slopes, strict=True):
        frame = Dataset()
        frame.PlanePositionSequence = item(ImagePositionPatient=[float(part) for part in position])
        frame.PixelValueTransformationSequence = item(RescaleSlope=slope, RescaleIntercept=0, RescaleType="US")
        for name, value in values.items():
            setattr(frame, name, value)
        frames.append(frame)
    dataset.SharedFunctionalGroupsSequence = Sequence([shared])
    dataset.PerFrameFunctionalGroupsSequence = Sequence(frames)
    return dataset
