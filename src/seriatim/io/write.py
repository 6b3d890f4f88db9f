"""Write series: CT slices and ultrasound clips as DICOM, clips as video. The same input gives the same bytes."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, UltrasoundMultiFrameImageStorage

RESCALE_INTERCEPT_HU = -1024
MAX_HU = 3071
X264_REPEATABLE = "bframes=0:rc-lookahead=0:mbtree=0"
"""x264's lookahead reads unset memory at some sizes (34 x 34, 100 x 100), and its bytes then differ from run to run."""
DATE, TIME = "20260101", "120000"


def make_uid(*parts: object) -> str:
    """A UID that is a function of ``parts`` alone, under 2.25 (DICOM PS3.5 B.2: an integer of 128 bits)."""
    digest = hashlib.sha256("\x1f".join(str(part) for part in parts).encode()).digest()
    return f"2.25.{int.from_bytes(digest[:16], 'big')}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who and what a series belongs to. ``patient`` must be a made-up identifier; ``model`` says how it was made."""

    patient: str
    study_uid: str
    series_uid: str
    description: str = ""
    model: str = "synthetic"


@dataclass(frozen=True, slots=True, kw_only=True)
class CtSlices:
    """Axial CT slices in any order.

    ``values_hu`` is integer (S,H,W) in HU; ``positions_mm`` (S,3) is ImagePositionPatient in LPS; ``spacing_mm`` is
    (row, column); ``names``, ``numbers`` and ``sop_instance_uids`` are file name, InstanceNumber and UID per slice.
    """

    values_hu: NDArray[np.int16]
    positions_mm: NDArray[np.float64]
    spacing_mm: tuple[float, float]
    thickness_mm: float
    names: Sequence[str]
    numbers: Sequence[int]
    sop_instance_uids: Sequence[str]

    def __post_init__(self) -> None:
        count = len(self.values_hu)
        columns = (self.positions_mm, self.names, self.numbers, self.sop_instance_uids)
        if self.values_hu.ndim != 3 or any(len(column) != count for column in columns):
            raise ValueError(f"Slices {self.values_hu.shape} need {count} positions, names, numbers and UIDs.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Clip:
    """Frames of a clip: uint8 (S,H,W) grey, in order of time."""

    frames: NDArray[np.uint8]
    frames_per_second: int
    spacing_mm: float = 0.5

    def __post_init__(self) -> None:
        if self.frames.ndim != 3 or self.frames.dtype != np.uint8:
            raise ValueError(f"A clip is uint8 (S,H,W), not {self.frames.dtype} {self.frames.shape}.")


def write_ct_series(folder: Path, slices: CtSlices, *, identity: Identity) -> None:
    """Write one CT Image file per slice (DICOM PS3.3 A.3) into ``folder``, which is made."""
    folder.mkdir(parents=True, exist_ok=True)
    for index, name in enumerate(slices.names):
        dataset = _start_dataset(identity, CTImageStorage, slices.sop_instance_uids[index])
        _add_ct_geometry(dataset, slices, index, identity)
        _add_ct_pixels(dataset, slices.values_hu[index])
        dataset.save_as(folder / name, enforce_file_format=True)


def write_ultrasound(path: Path, clip: Clip, *, identity: Identity, sop_instance_uid: str) -> None:
    """Write a clip as one Ultrasound Multi-frame Image file (DICOM PS3.3 A.7), 8 bits, uncompressed."""
    dataset = _start_dataset(identity, UltrasoundMultiFrameImageStorage, sop_instance_uid)
    frame_time_ms = 1000 / clip.frames_per_second
    dataset.Modality = "US"
    dataset.ImageType = ["ORIGINAL", "PRIMARY"]
    dataset.InstanceNumber = 1
    dataset.PatientOrientation = ""
    dataset.NumberOfFrames = len(clip.frames)
    dataset.FrameIncrementPointer = 0x00181063
    dataset.FrameTime = f"{frame_time_ms:.6g}"
    dataset.CineRate = clip.frames_per_second
    dataset.RecommendedDisplayFrameRate = clip.frames_per_second
    dataset.LossyImageCompression = "00"
    dataset.SequenceOfUltrasoundRegions = [_make_region(clip)]
    _add_pixels(dataset, clip.frames, bits_stored=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)


def video_available() -> bool:
    """Whether PyAV (the extra ``video``) is installed, so that ``write_video`` works."""
    return importlib.util.find_spec("av") is not None


def write_video(path: Path, clip: Clip) -> None:
    """Write a clip as H.264 video, nearly lossless (CRF 10); rows and columns must be even.

    Raises:
        ValueError: an odd number of rows or columns, which H.264's 4:2:0 cannot hold.
    """
    import av

    _, rows, columns = clip.frames.shape
    if rows % 2 or columns % 2:
        raise ValueError(f"A video needs even rows and columns, not {rows} x {columns}. Pad or crop the frames.")
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream("libx264", rate=clip.frames_per_second)
        stream.width, stream.height, stream.pix_fmt = columns, rows, "yuv420p"
        stream.options = {"crf": "10", "preset": "fast", "flags": "+bitexact", "x264-params": X264_REPEATABLE}
        stream.codec_context.thread_count = 1  # the bytes must not depend on the machine's cores
        for image in clip.frames:
            for packet in stream.encode(av.VideoFrame.from_ndarray(image, format="gray")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)


def _start_dataset(identity: Identity, sop_class: str, sop_instance_uid: str) -> Dataset:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = sop_class
    dataset.file_meta.MediaStorageSOPInstanceUID = sop_instance_uid
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.SOPClassUID, dataset.SOPInstanceUID = sop_class, sop_instance_uid
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = identity.study_uid, identity.series_uid
    dataset.PatientName = dataset.PatientID = identity.patient
    dataset.PatientBirthDate = dataset.PatientSex = ""
    dataset.StudyDate, dataset.StudyTime = DATE, TIME
    dataset.AccessionNumber = dataset.StudyID = dataset.ReferringPhysicianName = ""
    dataset.SeriesNumber = 1
    dataset.SeriesDescription = identity.description
    dataset.Manufacturer, dataset.ManufacturerModelName = "seriatim", identity.model
    return dataset


def _add_ct_geometry(dataset: Dataset, slices: CtSlices, index: int, identity: Identity) -> None:
    dataset.Modality = "CT"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.InstanceNumber = int(slices.numbers[index])
    dataset.AcquisitionNumber = 1
    dataset.PatientPosition = "HFS"
    dataset.BodyPartExamined = "HEAD"
    dataset.FrameOfReferenceUID = make_uid("frame of reference", identity.series_uid)
    dataset.PositionReferenceIndicator = ""
    dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    dataset.ImagePositionPatient = [f"{value:.4f}" for value in slices.positions_mm[index]]
    dataset.PixelSpacing = [f"{value:.6f}" for value in slices.spacing_mm]
    dataset.SliceThickness = f"{slices.thickness_mm:.4f}"
    dataset.KVP = 120
    dataset.WindowCenter, dataset.WindowWidth = 40, 80
    dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = RESCALE_INTERCEPT_HU, 1, "HU"


def _add_ct_pixels(dataset: Dataset, values_hu: NDArray[np.int16]) -> None:
    stored = np.clip(values_hu, RESCALE_INTERCEPT_HU, MAX_HU).astype(np.int32) - RESCALE_INTERCEPT_HU
    _add_pixels(dataset, stored.astype("<u2"), bits_stored=12)


def _add_pixels(dataset: Dataset, stored: NDArray[np.generic], *, bits_stored: int) -> None:
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows, dataset.Columns = stored.shape[-2:]
    dataset.BitsAllocated = stored.dtype.itemsize * 8
    dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = bits_stored, bits_stored - 1, 0
    data = stored.tobytes()
    dataset.PixelData = data + b"\0" * (len(data) % 2)


def _make_region(clip: Clip) -> Dataset:
    """The calibrated tissue region (DICOM PS3.3 C.8.5.5): all of the image, in centimetres per pixel."""
    region = Dataset()
    region.RegionSpatialFormat, region.RegionDataType, region.RegionFlags = 1, 1, 0
    region.RegionLocationMinX0, region.RegionLocationMinY0 = 0, 0
    region.RegionLocationMaxX1, region.RegionLocationMaxY1 = clip.frames.shape[2] - 1, clip.frames.shape[1] - 1
    region.PhysicalUnitsXDirection = region.PhysicalUnitsYDirection = 3
    region.PhysicalDeltaX = region.PhysicalDeltaY = clip.spacing_mm / 10
    return region
