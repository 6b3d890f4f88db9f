"""Series in time per slice location, from 4D DICOM, enhanced, mosaic, NIfTI and NRRD."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from dicom_files import item, make_enhanced, make_slice, make_stack, random_stack, save, save_stack
from pydicom.uid import generate_uid

from seriatim.io import find_series, frames_over_time, read_volume
from seriatim.series import Code

TIMES, SLICES = 3, 4


def make_4d(folder: Path, values: list[dict[str, Any]], **common: Any) -> np.ndarray:
    """(T,S,H,W) stored values; the files of volume t have ``values[t]``, in an order that says nothing."""
    stored = np.stack([random_stack(SLICES, seed=seed) for seed in range(len(values))])
    for time, own in enumerate(values):
        datasets = make_stack(stored[time], RescaleIntercept=0, **{**common, **own})
        for index, dataset in enumerate(datasets):
            dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
            dataset.InstanceNumber = index * len(values) + time + 1
        save_stack(datasets, folder / f"{7 - time}")
    return stored


@pytest.mark.parametrize(("values", "times"), [
    ([{"TriggerTime": 0}, {"TriggerTime": 33.5}, {"TriggerTime": 80}], [0, 0.0335, 0.08]),
    ([{"FrameReferenceTime": 5000}, {"FrameReferenceTime": 9000}, {"FrameReferenceTime": 20000}], [0, 4, 15]),
    ([{"AcquisitionTime": "235958.5"}, {"AcquisitionTime": "235959.5"}, {"AcquisitionTime": "000001"}], [0, 1, 2.5]),
    ([{"AcquisitionTime": "080000", "ContentTime": text} for text in ("080010", "080020", "080130.25")],
     [0, 10, 80.25]),
    ([{"AcquisitionDateTime": text} for text in ("20260101010000", "20260101010002", "20260101010004")], [0, 2, 4]),
])
def test_each_slice_location_is_a_clip_at_its_times(
    tmp_path: Path, values: list[dict[str, Any]], times: list[float]
) -> None:
    stored = make_4d(tmp_path, values, Modality="MR")
    assert [one.axis for one in find_series(tmp_path).series] == ["space"] * TIMES
    clips = find_series(tmp_path, sequence="frames").series
    assert [clip.volume for clip in clips] == [f"slice {index + 1}" for index in range(SLICES)]
    for index, clip in enumerate(clips):
        assert (clip.axis, clip.affine) == ("time", None)
        np.testing.assert_allclose(clip.positions, times, atol=1e-3)
        np.testing.assert_array_equal(read_volume(clip).array, stored[:, index])
        assert not [finding for finding in clip.findings if finding.code == "MISSING_GEOMETRY"]


@pytest.mark.parametrize(("common", "times"), [
    ({"Modality": "MR", "RepetitionTime": 2500.0}, [0, 2.5, 5]), ({"Modality": "MR", "RepetitionTime": 4.0}, [0, 1, 2]),
    ({"Modality": "CT"}, [0, 1, 2]),
])
def test_volumes_without_times_are_counted_and_it_is_told(
    tmp_path: Path, common: dict[str, Any], times: list[float]
) -> None:
    make_4d(tmp_path, [{"TemporalPositionIdentifier": index + 1} for index in range(TIMES)], **common)
    for clip in find_series(tmp_path, sequence="frames").series:
        np.testing.assert_allclose(clip.positions, times)
        (finding,) = [one for one in clip.findings if one.code == "MISSING_GEOMETRY"]
        assert finding.action == "keep"


def test_echoes_are_no_film(tmp_path: Path) -> None:
    values = [{"EchoTime": echo, "TriggerTime": time} for echo in (10.0, 20.0) for time in (0.0, 50.0)]
    stored = make_4d(tmp_path, values, Modality="MR")
    clips = find_series(tmp_path, sequence="frames").series
    assert len(clips) == 2 * SLICES
    np.testing.assert_array_equal(read_volume(clips[SLICES]).array, stored[2:, 0])
    assert [clip.volume for clip in clips][SLICES] == "echo 2, slice 1"


def test_a_volume_without_partner_stays_a_volume(tmp_path: Path) -> None:
    save_stack(make_stack(random_stack(SLICES)), tmp_path)
    (series,) = find_series(tmp_path, sequence="frames").series
    assert series.axis == "space"
    assert frames_over_time([series]) == []


def test_frames_of_an_enhanced_object_follow_their_offsets(tmp_path: Path) -> None:
    stored = random_stack(TIMES * SLICES)
    positions = np.array([(0.0, 0.0, 3.0 * (frame % SLICES)) for frame in range(len(stored))])
    offsets = [2.0, 0.0, 0.75]
    traits = [{"TemporalPositionSequence": item(TemporalPositionTimeOffset=offsets[frame // SLICES])}
              for frame in range(len(stored))]
    save(make_enhanced(stored, positions, traits, [1] * len(stored)), tmp_path / "one.dcm")
    clips = find_series(tmp_path, sequence="frames").series
    assert len(clips) == SLICES
    for index, clip in enumerate(clips):
        np.testing.assert_allclose(clip.positions, [0, 0.75, 2])
        np.testing.assert_array_equal(read_volume(clip).array, stored.reshape(TIMES, SLICES, 6, 5)[[1, 2, 0], index])


@pytest.mark.parametrize(("unit", "step"), [("sec", 2.5), ("msec", 0.0025), ("unknown", 1.0)])
def test_the_volumes_of_a_nifti_file_are_its_repetition_apart(tmp_path: Path, unit: str, step: float) -> None:
    stored = np.random.default_rng(0).integers(0, 999, (5, 6, SLICES, TIMES)).astype(np.int16)
    image = nib.Nifti1Image(stored, np.diag([1.0, 1.0, -3.0, 1.0]))
    image.header.set_zooms((1.0, 1.0, 3.0, 2.5))
    image.header.set_xyzt_units("mm", unit)
    nib.save(image, tmp_path / "bold.nii.gz")
    volumes = find_series(tmp_path).series
    clips = find_series(tmp_path, sequence="frames").series
    assert len(clips) == SLICES
    for index, clip in enumerate(clips):
        np.testing.assert_allclose(clip.positions, np.arange(TIMES) * step)
        expected = np.stack([read_volume(volume).array[index] for volume in volumes])
        np.testing.assert_array_equal(read_volume(clip).array, expected)


def test_the_volumes_of_an_nrrd_file_are_counted(tmp_path: Path) -> None:
    stored = np.random.default_rng(0).integers(0, 999, (TIMES, SLICES, 6, 5)).astype(np.int16)
    header = (f"NRRD0004\ntype: short\ndimension: 4\nspace: left-posterior-superior\nsizes: 5 6 {SLICES} {TIMES}\n"
              "space directions: (1,0,0) (0,1,0) (0,0,3) none\nkinds: domain domain domain list\nendian: little\n"
              "encoding: raw\nspace origin: (0,0,0)\n\n")
    (tmp_path / "dynamic.nrrd").write_bytes(header.encode() + stored.tobytes())
    clips = find_series(tmp_path, sequence="frames").series
    volumes = find_series(tmp_path).series
    assert len(volumes) == TIMES
    assert len(clips) == SLICES
    for index, clip in enumerate(clips):
        expected = np.stack([read_volume(volume).array[index] for volume in volumes])
        np.testing.assert_array_equal(read_volume(clip).array, expected)


@pytest.mark.parametrize("damage", ["truncate", "remove the last slice"])
def test_a_film_that_lacks_a_volume_is_refused(tmp_path: Path, damage: str) -> None:
    make_4d(tmp_path, [{"TriggerTime": 40 * time} for time in range(TIMES)], Modality="MR")
    one = max((tmp_path / "6").iterdir())
    if damage == "truncate":
        one.write_bytes(one.read_bytes()[:-8])
    else:
        one.unlink()
    clips = [series for series in find_series(tmp_path, sequence="frames").series if series.axis == "time"]
    assert len(clips) == SLICES
    assert all(clip.reason.startswith("GAP: 1 of 3 volumes") for clip in clips)
    kept = find_series(tmp_path, {Code.GAP: "keep"}, sequence="frames").series
    for clip in (series for series in kept if series.axis == "time"):
        assert clip.usable
        np.testing.assert_allclose(clip.positions, [0, 0.08])


def test_several_pictures_of_one_place_say_how_to_read_them_as_a_film(tmp_path: Path) -> None:
    slices = [
        make_slice(pixels, (0, 0, 5), TriggerTime=40.0 * index, InstanceNumber=index + 1)
        for index, pixels in enumerate(random_stack(6))
    ]
    save_stack(slices, tmp_path)
    found = find_series(tmp_path).series
    assert len(found) == 6
    assert all("One slice location, 6 times" in str(one.findings[0]) and one.usable for one in found)
    (film,) = find_series(tmp_path, sequence="frames").series
    assert len(film.instances) == 6


@pytest.mark.parametrize(("own", "names"), [
    ([{"PatientID": "A"}, {"PatientID": "B"}], ["patient 1, slice 1", "patient 2, slice 1"]),
    ([{"StudyInstanceUID": "1.2.3"}, {"StudyInstanceUID": "1.2.5"}], ["slice 1", "slice 1"]),
])
def test_no_clip_mixes_patients_or_studies_of_one_folder(
    tmp_path: Path, own: list[dict[str, Any]], names: list[str]
) -> None:
    files: list[set[Path]] = []
    for index, values in enumerate(own):
        make_4d(tmp_path / str(index), [{"TriggerTime": 10 + index}, {"TriggerTime": 90 + index}], Modality="MR",
                PatientName="", **values)
        (tmp_path / "all").mkdir(exist_ok=True)
        files.append(set())
        for path in sorted((tmp_path / str(index)).rglob("*.dcm")):
            files[-1].add(path.rename(tmp_path / "all" / f"{index}-{path.parent.name}-{path.name}"))
    clips = find_series(tmp_path / "all", sequence="frames").series
    assert len(clips) == 2 * SLICES
    assert [clip.volume for clip in clips if clip.volume.endswith("slice 1")] == names
    for clip in clips:
        assert len(clip.instances) == 2
        assert any({instance.path for instance in clip.instances} <= own_files for own_files in files)
