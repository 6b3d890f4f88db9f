"""Synthetic head CT: valid DICOM, right HU, true slices, and an order that only the positions tell."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pydicom
import pytest

from seriatim.synth import Summary, synthesize
from seriatim.synth.bleeds import SUBTYPES
from seriatim.synth.head_ct import MAX_SLICES, MIN_SLICES, draw_subtypes, make_head_ct
from seriatim.synth.truth import is_positive, patient_of

COUNT, SIZE = 12, 64


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Summary]:
    folder = tmp_path_factory.mktemp("heads") / "set"
    return folder, synthesize("head-ct", folder, count=COUNT, seed=3, size=SIZE)


@pytest.fixture(scope="module")
def labels(made: tuple[Path, Summary]) -> list[dict[str, str]]:
    with (made[0] / "labels.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def truth(made: tuple[Path, Summary]) -> dict[str, dict[str, str]]:
    with (made[0] / "slices.csv").open(newline="") as file:
        return {row["sop_instance_uid"]: row for row in csv.DictReader(file)}


def read_in_order(folder: Path) -> list[pydicom.Dataset]:
    return sorted((pydicom.dcmread(path) for path in folder.iterdir()), key=lambda d: d.ImagePositionPatient[2])


def bleeding_index() -> int:
    return next(index for index in range(COUNT) if is_positive(3, "head-ct", patient_of(index)))


def test_tables_have_the_promised_columns_and_agree_with_the_summary(made, labels, truth) -> None:
    assert list(labels[0]) == ["path", "patient", "study_uid", "series_uid", "bleed", *SUBTYPES, "split"]
    first = next(iter(truth.values()))
    assert list(first) == ["series_uid", "sop_instance_uid", "index", "position_mm", "bleed", *SUBTYPES]
    assert made[1] == Summary(
        series=COUNT,
        patients=len({row["patient"] for row in labels}),
        positive=sum(row["bleed"] == "1" for row in labels),
        slices=len(truth),
        positive_slices=sum(row["bleed"] == "1" for row in truth.values()),
    )


def test_files_are_valid_ct_that_belong_together(made, labels, truth) -> None:
    for row in labels:
        datasets = read_in_order(made[0] / row["path"])
        assert {d.SOPClassUID for d in datasets} == {pydicom.uid.CTImageStorage}
        assert {d.SeriesInstanceUID for d in datasets} == {row["series_uid"]}
        assert {d.StudyInstanceUID for d in datasets} == {row["study_uid"]}
        assert {d.file_meta.TransferSyntaxUID for d in datasets} == {pydicom.uid.ExplicitVRLittleEndian}
        assert len({d.FrameOfReferenceUID for d in datasets}) == 1
        assert all(d.pixel_array.shape == (SIZE, SIZE) and d.BitsAllocated == 16 for d in datasets)
        assert all(pydicom.uid.UID(d.SOPInstanceUID).is_valid for d in datasets)
        assert 20 <= len(datasets) <= 32


def test_slice_truth_follows_the_positions(made, labels, truth) -> None:
    for row in labels:
        datasets = read_in_order(made[0] / row["path"])
        rows = [truth[d.SOPInstanceUID] for d in datasets]
        assert [int(one["index"]) for one in rows] == list(range(len(rows)))
        heights = [float(d.ImagePositionPatient[2]) for d in datasets]
        assert [float(one["position_mm"]) for one in rows] == heights
        steps = np.diff(heights)
        assert np.allclose(steps, steps[0], atol=1e-3)
        assert 4.5 < steps[0] < 5.7


def test_names_and_numbers_and_file_contents_carry_no_order(made, labels) -> None:
    for row in labels:
        by_name = [pydicom.dcmread(path) for path in sorted((made[0] / row["path"]).iterdir())]
        heights = np.array([float(d.ImagePositionPatient[2]) for d in by_name])
        numbers = np.array([d.InstanceNumber for d in by_name])
        assert sorted(numbers) == list(range(1, len(numbers) + 1))
        order = heights.argsort()
        for values in (np.arange(len(heights)), numbers, [d.SOPInstanceUID for d in by_name]):
            ranks = np.argsort(np.argsort(np.array(values)))[order]
            assert abs(np.corrcoef(ranks, np.arange(len(ranks)))[0, 1]) < 0.7
        assert not any("SliceLocation" in d for d in by_name)


def test_hounsfield_units_are_those_of_tissue(made, labels) -> None:
    for row in labels:
        dataset = read_in_order(made[0] / row["path"])[14]
        values = dataset.pixel_array * float(dataset.RescaleSlope) + float(dataset.RescaleIntercept)
        assert np.median(values[:4]) == pytest.approx(-1000, abs=15)
        middle = values[SIZE // 2 - 8 : SIZE // 2 + 8, SIZE // 2 - 8 : SIZE // 2 + 8]
        assert 5 < np.median(middle) < 75
        assert values.max() > 500


@pytest.mark.parametrize("index", range(COUNT))
def test_truth_slices_hold_the_blood_and_others_do_not(index: int) -> None:
    series = make_head_ct(3, index, size=SIZE)
    shown = np.flatnonzero(series.bleeding)
    assert bool(len(shown)) == is_positive(3, "head-ct", patient_of(index))
    if not len(shown):
        return
    assert MIN_SLICES <= len(shown) <= MAX_SLICES
    assert np.array_equal(shown, np.arange(shown[0], shown[-1] + 1))
    assert np.array_equal(series.bleeding, np.any(list(series.bleeds.values()), axis=0))
    healthy = make_head_ct(3, index, size=SIZE, healthy=True).values_hu.astype(int)
    added_hu = series.values_hu - healthy
    assert np.array_equal((added_hu > 8).any(axis=(1, 2)), series.bleeding)
    assert added_hu.min() > -5
    filled = (added_hu > 20) & (healthy > -10) & (healthy < 50)
    assert np.array_equal(filled.any(axis=(1, 2)), series.bleeding)
    assert 50 < np.median(series.values_hu[filled]) < 78


def test_brightness_of_one_voxel_does_not_give_the_class_away() -> None:
    """Calcifications and bone are brighter than blood in both classes."""
    peaks = {True: [], False: []}
    for index in range(COUNT):
        values = make_head_ct(3, index, size=SIZE).values_hu[10:18, 20:44, 20:44]
        peaks[is_positive(3, "head-ct", patient_of(index))].append(values.max())
    assert max(peaks[False]) > np.median(peaks[True])


def test_every_subtype_occurs() -> None:
    seen = {subtype for patient in range(20) for subtype in draw_subtypes(0, patient)}
    assert seen == set(SUBTYPES)


def test_scans_of_one_patient_differ_but_share_the_label(labels) -> None:
    pair = [row for row in labels if row["patient"] == labels[10]["patient"]]
    assert len(pair) == 2
    assert pair[0]["series_uid"] != pair[1]["series_uid"]
    assert pair[0]["bleed"] == pair[1]["bleed"]
    assert pair[0]["split"] == pair[1]["split"]
