"""The writers: what is written reads back the same, and the same input gives the same bytes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest

from seriatim.io.write import (
    Clip,
    CtSlices,
    Identity,
    make_uid,
    video_available,
    write_ct_series,
    write_ultrasound,
    write_video,
)

IDENTITY = Identity(patient="SYN-0001", study_uid=make_uid("study"), series_uid=make_uid("series"))


def make_slices(values: np.ndarray) -> CtSlices:
    count = len(values)
    return CtSlices(
        values_hu=values,
        positions_mm=np.column_stack([np.full(count, -100.5), np.full(count, 20.25), np.arange(count) * 5.0]),
        spacing_mm=(0.5, 0.75),
        thickness_mm=5.0,
        names=[f"{number}.dcm" for number in range(count)],
        numbers=list(range(count, 0, -1)),
        sop_instance_uids=[make_uid(number) for number in range(count)],
    )


def make_clip(rows: int = 20, columns: int = 30) -> Clip:
    ramp = np.add.outer(np.arange(rows), np.arange(columns)) * 3
    frames = np.stack([(ramp + 5 * number) % 250 for number in range(9)]).astype(np.uint8)
    return Clip(frames=frames, frames_per_second=25)


def test_uids_are_valid_and_depend_on_every_part() -> None:
    uids = {make_uid("a", 1), make_uid("a", 2), make_uid("a1"), make_uid("b", 1)}
    assert len(uids) == 4
    assert all(pydicom.uid.UID(uid).is_valid and len(uid) <= 64 for uid in uids)
    assert make_uid("a", 1) == make_uid("a", 1)


def test_ct_reads_back_the_same_values_and_geometry(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(-1024, 3072, size=(3, 7, 5)).astype(np.int16)
    write_ct_series(tmp_path / "series", make_slices(values), identity=IDENTITY)
    for number in range(3):
        dataset = pydicom.dcmread(tmp_path / "series" / f"{number}.dcm")
        read = dataset.pixel_array.astype(int) * int(dataset.RescaleSlope) + int(dataset.RescaleIntercept)
        assert np.array_equal(read, values[number])
        assert list(dataset.ImagePositionPatient) == [-100.5, 20.25, 5.0 * number]
        assert list(dataset.PixelSpacing) == [0.5, 0.75]
        assert dataset.InstanceNumber == 3 - number
        assert dataset.SOPInstanceUID == dataset.file_meta.MediaStorageSOPInstanceUID == make_uid(number)


def test_ct_holds_every_element_its_standard_requires(tmp_path: Path) -> None:
    """Types 1 and 2 of the CT Image IOD's mandatory modules (DICOM PS3.3 A.3)."""
    write_ct_series(tmp_path, make_slices(np.zeros((1, 4, 4), np.int16)), identity=IDENTITY)
    dataset = pydicom.dcmread(tmp_path / "0.dcm")
    required = (
        "PatientName PatientID PatientBirthDate PatientSex StudyInstanceUID StudyDate StudyTime "
        "ReferringPhysicianName StudyID AccessionNumber Modality SeriesInstanceUID SeriesNumber "
        "FrameOfReferenceUID PositionReferenceIndicator Manufacturer AcquisitionNumber InstanceNumber PixelSpacing "
        "ImageOrientationPatient ImagePositionPatient SliceThickness SamplesPerPixel PhotometricInterpretation "
        "Rows Columns BitsAllocated BitsStored HighBit PixelRepresentation PixelData ImageType RescaleIntercept "
        "RescaleSlope RescaleType KVP SOPClassUID SOPInstanceUID "
    )
    assert [name for name in required.split() if name not in dataset] == []


def test_values_beyond_twelve_bits_are_clipped_not_wrapped(tmp_path: Path) -> None:
    write_ct_series(tmp_path, make_slices(np.array([[[-2000, 5000]]], np.int16)), identity=IDENTITY)
    dataset = pydicom.dcmread(tmp_path / "0.dcm")
    assert (dataset.pixel_array.astype(int) + int(dataset.RescaleIntercept)).tolist() == [[-1024, 3071]]


def test_slices_of_unequal_number_are_refused() -> None:
    slices = make_slices(np.zeros((2, 4, 4), np.int16))
    with pytest.raises(ValueError, match="2 positions"):
        CtSlices(
            values_hu=slices.values_hu, positions_mm=slices.positions_mm[:1], spacing_mm=(1, 1), thickness_mm=1,
            names=slices.names, numbers=slices.numbers, sop_instance_uids=slices.sop_instance_uids,
        )


def test_ultrasound_reads_back_the_same_frames_and_times(tmp_path: Path) -> None:
    clip = make_clip()
    write_ultrasound(tmp_path / "new" / "clip.dcm", clip, identity=IDENTITY, sop_instance_uid=make_uid("clip"))
    dataset = pydicom.dcmread(tmp_path / "new" / "clip.dcm")
    assert np.array_equal(dataset.pixel_array, clip.frames)
    assert float(dataset[dataset.FrameIncrementPointer].value) == 40.0
    region = dataset.SequenceOfUltrasoundRegions[0]
    assert (region.RegionLocationMaxX1, region.RegionLocationMaxY1) == (29, 19)
    assert region.PhysicalDeltaX == pytest.approx(clip.spacing_mm / 10)


@pytest.mark.skipif(not video_available(), reason="needs PyAV, the extra video")
def test_video_keeps_frames_and_rate_and_repeats_byte_for_byte(tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    clip = make_clip()
    written = set()
    for _ in range(6):
        write_video(tmp_path / "one.mp4", clip)
        written.add((tmp_path / "one.mp4").read_bytes())
    assert len(written) == 1
    with av.open(str(tmp_path / "one.mp4")) as container:
        assert container.streams.video[0].average_rate == 25
        frames = np.stack([frame.to_ndarray(format="gray") for frame in container.decode(video=0)])
    assert frames.shape == clip.frames.shape
    assert np.abs(frames.astype(int) - clip.frames).mean() < 6


@pytest.mark.skipif(not video_available(), reason="needs PyAV, the extra video")
def test_video_of_odd_size_is_refused_with_the_repair(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Pad or crop"):
        write_video(tmp_path / "odd.mp4", make_clip(21, 30))
