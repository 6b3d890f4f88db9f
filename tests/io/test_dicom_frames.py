"""Multi-frame objects: times of clips, concatenations, nuclear medicine, enhanced volumes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dicom_files import AXIAL, item, make_enhanced, make_slice, make_stack, random_stack, save, save_stack
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from seriatim.io import find_series, read_volume
from seriatim.series import Code, Series

CINE = {"Modality": "XA", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.12.1", "ImageOrientationPatient": None,
        "RescaleIntercept": 0}


def codes(series: Series) -> list[str]:
    return [str(finding.code) for finding in series.findings]


def make_cine(count: int = 4, **values: Any) -> Dataset:
    return make_slice(random_stack(count), None, **{**CINE, "NumberOfFrames": count, **values})


@pytest.mark.parametrize(("values", "times", "told"), [
    ({"FrameTime": 40}, [0, 0.04, 0.08, 0.12], []),
    ({"FrameTimeVector": [0, 10, 20, 30]}, [0, 0.01, 0.03, 0.06], []),
    ({"FrameTimeVector": [7, 10, 20, 30]}, [0, 0.01, 0.03, 0.06], []),
    ({"FrameTimeVector": [0, 10, 20], "FrameTime": 40}, [0, 0.04, 0.08, 0.12], ["BAD_VALUE"]),
    ({"FrameTimeVector": [0, 10, 0, 30], "CineRate": 20}, [0, 0.05, 0.1, 0.15], ["BAD_VALUE"]),
    ({"FrameTimeVector": [0, 10, -5, 30]}, [0, 1, 2, 3], ["BAD_VALUE", "MISSING_GEOMETRY"]),
    ({"FrameTimeVector": [0, 10, 20, 30], "FrameTime": 40, "FrameIncrementPointer": 0x00181063},
     [0, 0.04, 0.08, 0.12], []),
    ({"FrameTime": 0, "RecommendedDisplayFrameRate": 10}, [0, 0.1, 0.2, 0.3], ["BAD_VALUE"]),
    ({"FrameTime": -40}, [0, 1, 2, 3], ["BAD_VALUE", "MISSING_GEOMETRY"]),
    ({"CineRate": 0, "ActualFrameDuration": 50}, [0, 0.05, 0.1, 0.15], ["BAD_VALUE"]),
    ({"PageNumberVector": [1, 2, 3, 4], "FrameIncrementPointer": 0x00182001}, [0, 1, 2, 3], ["MISSING_GEOMETRY"]),
])
def test_frames_lie_at_their_times(tmp_path: Path, values: dict[str, Any], times: list[float], told: list[str]) -> None:
    save(make_cine(**values), tmp_path / "cine.dcm")
    (series,) = find_series(tmp_path).series
    assert series.usable
    assert (series.axis, codes(series)) == ("time", told)
    np.testing.assert_allclose(series.positions, times, atol=1e-9)
    np.testing.assert_array_equal(read_volume(series).array, random_stack(4))


def make_enhanced_cine(moments: list[str], **values: Any) -> Dataset:
    dataset = make_cine(len(moments), **values)
    frames = []
    for moment in moments:
        frame = Dataset()
        frame.FrameContentSequence = item(FrameReferenceDateTime=moment)
        frames.append(frame)
    dataset.PerFrameFunctionalGroupsSequence = Sequence(frames)
    return dataset


def test_frames_of_an_enhanced_clip_lie_where_they_were_acquired(tmp_path: Path) -> None:
    moments = ["20260101235959.9", "20260102000000.1+0100", "20260102000000.600000"]
    save(make_enhanced_cine(moments, FrameTime=40), tmp_path / "cine.dcm")
    (series,) = find_series(tmp_path).series
    np.testing.assert_allclose(series.positions, [0, 0.2, 0.7], atol=1e-6)


def part_of(dataset: Dataset, number: int, offset: int, total: int | None = None) -> Dataset:
    dataset.ConcatenationUID, dataset.InConcatenationNumber = "1.2.3.77", number
    dataset.ConcatenationFrameOffsetNumber = offset
    if total is not None:
        dataset.InConcatenationTotalNumber = total
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.77.{number}"
    return dataset


def make_parts(stored: np.ndarray, total: int | None) -> list[Dataset]:
    positions = [(0.0, 0.0, 3.0 * index) for index in range(len(stored))]
    return [
        part_of(make_enhanced(stored[start : start + 2], np.array(positions[start : start + 2]), [{}, {}], [1, 1]),
                number + 1, start, total)
        for number, start in enumerate(range(0, len(stored), 2))
    ]


def test_the_parts_of_a_concatenation_are_one_volume(tmp_path: Path) -> None:
    stored = random_stack(6)
    for name, dataset in zip("bca", make_parts(stored, 3), strict=True):
        save(dataset, tmp_path / f"{name}.dcm")
    (series,) = find_series(tmp_path).series
    assert series.usable
    np.testing.assert_array_equal(read_volume(series).array, stored)


@pytest.mark.parametrize(("missing", "total"), [(0, 3), (1, 3), (2, 3), (0, None), (1, None)])
def test_a_part_that_is_missing_is_told(tmp_path: Path, missing: int, total: int | None) -> None:
    parts = make_parts(random_stack(6), total)
    del parts[missing]
    for number, dataset in enumerate(parts):
        save(dataset, tmp_path / f"{number}.dcm")
    (series,) = find_series(tmp_path).series
    assert not series.usable
    assert f"Part {missing + 1} of" in series.reason


def test_a_clip_in_parts_is_one_clip(tmp_path: Path) -> None:
    stored = random_stack(4)
    for number in range(2):
        frames = stored[2 * number : 2 * number + 2]
        dataset = make_slice(frames, None, **{**CINE, "NumberOfFrames": 2, "FrameTime": 40})
        save(part_of(dataset, number + 1, 2 * number, 2), tmp_path / f"{9 - number}.dcm")
    (series,) = find_series(tmp_path).series
    np.testing.assert_allclose(series.positions, [0, 0.04, 0.08, 0.12], atol=1e-9)
    np.testing.assert_array_equal(read_volume(series).array, stored)


def make_nuclear(count: int, image_type: str, **values: Any) -> Dataset:
    base = {"Modality": "NM", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.20", "ImageOrientationPatient": None,
            "RescaleIntercept": 0, "NumberOfFrames": count, "ImageType": f"ORIGINAL\\PRIMARY\\{image_type}"}
    return make_slice(random_stack(count), None, **{**base, **values})


def test_a_gated_reconstruction_is_a_volume_per_slot_in_slice_order(tmp_path: Path) -> None:
    detector = item(ImagePositionPatient=[0.0, 0.0, 50.0], ImageOrientationPatient=list(AXIAL))
    values = {"DetectorInformationSequence": detector, "SpacingBetweenSlices": -4.0, "SliceVector": [1, 2, 3, 1, 2, 3],
              "TimeSlotVector": [1, 1, 1, 2, 2, 2]}
    save(make_nuclear(6, "RECON GATED TOMO\\EMISSION", **values), tmp_path / "one.dcm")
    found = find_series(tmp_path).series
    assert [one.volume for one in found] == ["t 1", "t 2"]
    np.testing.assert_allclose(found[0].positions, [42, 46, 50])
    np.testing.assert_array_equal(read_volume(found[1]).array, random_stack(6)[5:2:-1])


def test_a_dynamic_study_is_a_clip_per_detector_with_the_times_of_its_phases(tmp_path: Path) -> None:
    phases = Sequence([*item(ActualFrameDuration=1000, NumberOfFramesInPhase=2, PhaseDelay=0),
                       *item(ActualFrameDuration=5000, NumberOfFramesInPhase=1, PhaseDelay=500)])
    values = {"PhaseInformationSequence": phases, "DetectorVector": [1, 1, 1, 2, 2, 2],
              "PhaseVector": [1, 1, 2, 1, 1, 2], "TimeSliceVector": [1, 2, 1, 1, 2, 1]}
    save(make_nuclear(6, "DYNAMIC\\EMISSION", **values), tmp_path / "one.dcm")
    found = find_series(tmp_path).series
    assert len(found) == 2
    for index, clip in enumerate(found):
        np.testing.assert_allclose(clip.positions, [0, 1, 2.5])
        np.testing.assert_array_equal(read_volume(clip).array, random_stack(6)[3 * index : 3 * index + 3])


def test_a_reconstruction_without_a_place_is_no_clip(tmp_path: Path) -> None:
    save(make_nuclear(4, "RECON TOMO\\EMISSION"), tmp_path / "one.dcm")
    (series,) = find_series(tmp_path).series
    assert series.reason.startswith("MISSING_GEOMETRY")
    (kept,) = find_series(tmp_path, {Code.MISSING_GEOMETRY: "keep"}).series
    np.testing.assert_array_equal(read_volume(kept).array, random_stack(4))


def test_enhanced_frames_without_a_place_are_no_clip(tmp_path: Path) -> None:
    dataset = make_enhanced(random_stack(4), np.zeros((4, 3)), [{}] * 4, [1] * 4)
    for frame in dataset.PerFrameFunctionalGroupsSequence:
        del frame.PlanePositionSequence
    dataset.FrameTime = 40
    save(dataset, tmp_path / "one.dcm")
    (series,) = find_series(tmp_path).series
    assert series.reason.startswith("MISSING_GEOMETRY")


def test_planes_of_an_ultrasound_volume_are_ordered_in_the_frame_of_the_probe(tmp_path: Path) -> None:
    stored = random_stack(4)
    dataset = make_enhanced(stored, np.zeros((4, 3)), [{}] * 4, [1] * 4)
    dataset.Modality, dataset.SOPClassUID = "US", "1.2.840.10008.5.1.4.1.1.6.2"
    shared = dataset.SharedFunctionalGroupsSequence[0]
    del shared.PlaneOrientationSequence
    shared.PlaneOrientationVolumeSequence = item(ImageOrientationVolume=list(AXIAL))
    for place, frame in zip([3, 1, 0, 2], dataset.PerFrameFunctionalGroupsSequence, strict=True):
        del frame.PlanePositionSequence
        frame.PlanePositionVolumeSequence = item(ImagePositionVolume=[0.0, 0.0, 2.0 * place])
    save(dataset, tmp_path / "one.dcm")
    (series,) = find_series(tmp_path).series
    assert series.usable
    assert "MISSING_GEOMETRY" in codes(series)
    np.testing.assert_array_equal(read_volume(series).array, stored[[2, 1, 3, 0]])


def test_more_frames_than_can_be_are_refused_without_making_them(tmp_path: Path) -> None:
    save(make_cine(NumberOfFrames=2_000_000_000), tmp_path / "one.dcm")
    (series,) = find_series(tmp_path).series
    assert not series.usable
    assert len(series.instances) == 1


MAPPING = {"RealWorldValueFirstValueMapped": 0, "RealWorldValueLastValueMapped": 4095}


@pytest.mark.parametrize("where", ["file", "shared", "frame"])
def test_a_real_world_value_mapping_is_used_where_it_is_the_only_truth(tmp_path: Path, where: str) -> None:
    stored = random_stack(3)
    positions = np.array([(0.0, 0.0, 3.0 * index) for index in range(3)])
    dataset = make_enhanced(stored, positions, [{}] * 3, [1] * 3)
    mapping = item(RealWorldValueSlope=0.5, RealWorldValueIntercept=-3.0, **MAPPING)
    for frame in dataset.PerFrameFunctionalGroupsSequence:
        del frame.PixelValueTransformationSequence
    groups = {"file": [dataset], "shared": dataset.SharedFunctionalGroupsSequence,
              "frame": dataset.PerFrameFunctionalGroupsSequence}[where]
    for group in groups:
        group.RealWorldValueMappingSequence = mapping
    save(dataset, tmp_path / "one.dcm")
    volume = read_volume(find_series(tmp_path).series[0])
    np.testing.assert_allclose(volume.array, stored * 0.5 - 3.0)


def test_a_table_of_real_world_values_is_used(tmp_path: Path) -> None:
    stored = np.array([[[4, 5], [6, 7]], [[3, 9], [5, 5]]], dtype="<u2")
    mapping = item(RealWorldValueFirstValueMapped=4, RealWorldValueLastValueMapped=7,
                   RealWorldValueLUTData=[1.5, 2.5, -4.0, 8.0])
    save_stack(make_stack(stored, RescaleSlope=None, RescaleIntercept=None, RealWorldValueMappingSequence=mapping),
               tmp_path)
    volume = read_volume(find_series(tmp_path).series[0])
    np.testing.assert_allclose(volume.array, [[[1.5, 2.5], [-4, 8]], [[1.5, 8], [2.5, 2.5]]])


def test_the_rescale_goes_before_a_real_world_value_mapping(tmp_path: Path) -> None:
    stored = random_stack(3)
    mapping = item(RealWorldValueSlope=0.5, RealWorldValueIntercept=0.0, **MAPPING)
    save_stack(make_stack(stored, RealWorldValueMappingSequence=mapping), tmp_path)
    np.testing.assert_array_equal(read_volume(find_series(tmp_path).series[0]).array, stored.astype(int) - 1024)


SCATTERED = (3, 1, 0, 5, 4, 2)


def make_scattered(stored: np.ndarray) -> Dataset:
    """An enhanced object whose frames stand in an order that says nothing, and whose dimension index lies."""
    positions = np.array([(0.0, 0.0, 3.0 * place) for place in SCATTERED])
    traits = [{"FrameContentSequence": item(DimensionIndexValues=[index + 1])} for index in range(len(stored))]
    dataset = make_enhanced(stored, positions, traits, [1] * len(stored))
    dataset.DimensionIndexSequence = item(DimensionIndexPointer=0x00200032)
    return dataset


@pytest.mark.parametrize(("uid", "modality"), [
    ("13.1.3", "MG"), ("77.1.5.4", "OPT"), ("2.2", "CT"), ("2.1", "CT"), ("130", "PT"), ("13.1.1", "XA"), ("4.4", "MR"),
])
def test_every_kind_of_volume_is_ordered_by_position(tmp_path: Path, uid: str, modality: str) -> None:
    stored = random_stack(6)
    dataset = make_scattered(stored)
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = f"1.2.840.10008.5.1.4.1.1.{uid}"
    dataset.Modality = modality
    save(dataset, tmp_path / "one.dcm")
    (series,) = find_series(tmp_path).series
    assert (series.axis, codes(series)) == ("space", [])
    np.testing.assert_array_equal(read_volume(series).array, stored[np.argsort(SCATTERED)])


def test_a_parametric_map_is_an_image_of_real_numbers(tmp_path: Path) -> None:
    values = (random_stack(6) / 7).astype("<f4")
    dataset = make_scattered(random_stack(6))
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.30"
    for name in ("PixelData", "BitsStored", "HighBit", "PixelRepresentation"):
        delattr(dataset, name)
    dataset.BitsAllocated, dataset.FloatPixelData = 32, values.tobytes()
    for frame in dataset.PerFrameFunctionalGroupsSequence:
        del frame.PixelValueTransformationSequence
    mapping = item(RealWorldValueSlope=2.0, RealWorldValueIntercept=1.0)
    dataset.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence = mapping
    save(dataset, tmp_path / "one.dcm")
    volume = read_volume(find_series(tmp_path).series[0])
    np.testing.assert_allclose(volume.array, values[np.argsort(SCATTERED)] * 2 + 1, rtol=1e-6)
