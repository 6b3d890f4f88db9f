"""Volumes of one series that only numbers tell apart, and stacks that lie between one another's slices."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dicom_files import make_stack, random_stack, save
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from seriatim.io import find_series, read_volume
from seriatim.series import Code, Series


def number(slices: list[Dataset], first: int) -> list[Dataset]:
    """The slices with UIDs of their own and instance numbers from ``first``."""
    for index, dataset in enumerate(slices):
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        dataset.InstanceNumber = first + index
    return slices


def find(slices: list[Dataset], folder: Path) -> tuple[Series, ...]:
    for index in np.random.default_rng(3).permutation(len(slices)):
        save(slices[index], folder / f"{index}.dcm")
    return find_series(folder).series


def values_of(series: Series) -> np.ndarray:
    return read_volume(series).array + 1024


def repeat(count: int, size: int) -> tuple[np.ndarray, list[list[Dataset]]]:
    """``count`` volumes at the same positions, numbered volume after volume."""
    stored = np.stack([random_stack(size, seed=seed) for seed in range(count)])
    return stored, [number(make_stack(part), 1 + index * size) for index, part in enumerate(stored)]


def test_a_scan_that_was_stopped_gives_its_whole_volumes_and_a_short_one(tmp_path: Path) -> None:
    stored, volumes = repeat(4, 7)
    slices = [one for volume in volumes for one in volume][:-3]
    found = find(slices, tmp_path)
    assert [len(series.instances) for series in found] == [7, 7, 7, 4]
    for series, values in zip(found, stored, strict=True):
        np.testing.assert_array_equal(values_of(series), values[: len(series.instances)])
    assert {finding.code for finding in found[3].findings} == {Code.SHORT_COVERAGE}


@pytest.mark.parametrize("lost", [1, 9, 12, 20])
def test_a_lost_slice_never_moves_those_of_other_volumes(tmp_path: Path, lost: int) -> None:
    stored, volumes = repeat(3, 7)
    slices = [one for volume in volumes for one in volume]
    found = find([one for one in slices if one.InstanceNumber != lost], tmp_path)
    for series in found:
        if not series.usable:
            continue
        array = values_of(series)
        assert any(np.array_equal(array, values[start : start + len(array)]) for values in stored for start in (0, 1))
    assert not all(series.usable and not series.findings for series in found)


def test_a_lost_slice_where_numbers_count_position_after_position(tmp_path: Path) -> None:
    stored, volumes = repeat(3, 6)
    for time, volume in enumerate(volumes):
        for place, dataset in enumerate(volume):
            dataset.InstanceNumber = 1 + place * 3 + time
    del volumes[1][2]
    found = find([one for volume in volumes for one in volume], tmp_path)
    assert [series.usable for series in found] == [True, False, True]
    assert found[1].reason.startswith("GAP")
    np.testing.assert_array_equal(values_of(found[2]), stored[2])


@pytest.mark.parametrize("values", [({"AcquisitionNumber": 1}, {"AcquisitionNumber": 2}), ({}, {})])
@pytest.mark.parametrize("backwards", [False, True])
def test_two_stacks_between_one_another_are_two_volumes(
        tmp_path: Path, values: tuple[dict[str, Any], ...], backwards: bool) -> None:
    first, second = random_stack(12), random_stack(4, seed=1)
    slices = number(make_stack(first, step_mm=5.0, origin=(0.0, 0.0, 0.0), **values[0]), 1)
    others = make_stack(second, step_mm=5.0, origin=(0.0, 0.0, 17.5), **values[1])
    slices += number(others[::-1] if backwards and values[0] else others, 13)
    found = find(slices, tmp_path)
    assert [series.findings for series in found] == [(), ()]
    np.testing.assert_array_equal(values_of(found[0]), first)
    np.testing.assert_array_equal(values_of(found[1]), second)


@pytest.mark.parametrize("lost", [None, 10])
def test_the_passes_of_an_interleaved_acquisition_stay_one_volume(tmp_path: Path, lost: int | None) -> None:
    stored = random_stack(12)
    slices = number(make_stack(stored), 1)
    for place, dataset in enumerate(slices):
        dataset.AcquisitionNumber = place % 2 + 1
        dataset.InstanceNumber = place // 2 + 1 + 6 * (place % 2)
    (series,) = find([one for place, one in enumerate(slices) if place != lost], tmp_path)
    if lost is None:
        np.testing.assert_array_equal(values_of(series), stored)
    else:
        assert series.reason.startswith("GAP")


def test_an_echo_time_that_wavers_from_slice_to_slice_splits_nothing(tmp_path: Path) -> None:
    stored = random_stack(12)
    slices = number(make_stack(stored), 1)
    for place, dataset in enumerate(slices):
        dataset.EchoTime = 2.1 if place % 2 else 2.104
    (series,) = find(slices, tmp_path)
    np.testing.assert_array_equal(values_of(series), stored)


def test_a_volume_without_a_b_value_is_not_called_by_one(tmp_path: Path) -> None:
    slices = number(make_stack(random_stack(5), DiffusionBValue=1000.0), 1)
    slices += number(make_stack(random_stack(5, seed=1)), 6)
    assert {series.volume for series in find(slices, tmp_path)} == {"b 1000", "no b"}


def test_projections_that_share_uid_and_place_with_a_slice_are_no_copies_of_it(tmp_path: Path) -> None:
    slices = make_stack(random_stack(5))
    projections = make_stack(random_stack(1, seed=1), ImageType="DERIVED\\SECONDARY\\MIP")
    found = find([*slices, *projections], tmp_path)
    assert sorted(len(series.instances) for series in found) == [1, 5]
    assert not any(finding.code == Code.DUPLICATE_SLICE for series in found for finding in series.findings)


def test_a_stopped_scan_of_a_named_time_keeps_the_volumes_before(tmp_path: Path) -> None:
    stored, volumes = repeat(4, 7)
    for time, volume in enumerate(volumes):
        for dataset in volume:
            dataset.TemporalPositionIdentifier, dataset.InstanceNumber = time + 1, 1
    found = find([one for volume in volumes for one in volume][:-5], tmp_path)
    assert [len(series.instances) for series in found] == [7, 7, 7, 2]
    for series, values in zip(found[:3], stored, strict=False):
        np.testing.assert_array_equal(values_of(series), values)
    assert found[3].findings
