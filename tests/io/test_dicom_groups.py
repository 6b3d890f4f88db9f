"""Files whose UIDs are missing or shared: no two patients in one volume, and no series torn apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dicom_files import make_stack, random_stack, save_stack
from pydicom.dataset import Dataset

from seriatim.errors import InputError
from seriatim.io import find_series, read_volume
from seriatim.io.dicom import groups
from seriatim.series import Code, Series

SHIFT = (-7.0, -3.0, 31.2)


def stack(seed: int, **values: Any) -> list[Dataset]:
    return make_stack(random_stack(6, seed=seed), **values)


def usable(path: Path) -> list[Series]:
    return [series for series in find_series(path).series if series.usable]


def assert_whole(series: Series, seed: int) -> None:
    np.testing.assert_array_equal(read_volume(series).array, random_stack(6, seed=seed).astype(int) - 1024)


@pytest.mark.parametrize("missing", [("SeriesInstanceUID",), ("SeriesInstanceUID", "StudyInstanceUID")])
def test_files_without_a_series_uid_are_a_series_per_folder(tmp_path: Path, missing: tuple[str, ...]) -> None:
    values = dict.fromkeys(missing, "")
    for seed, name, origin in ((1, "a", (0.0, 0.0, 0.0)), (2, "b", (0.0, 0.0, 15.0))):  # b goes on where a ends
        save_stack(stack(seed, origin=origin, **values), tmp_path / name, seed=seed)
    first, second = usable(tmp_path)
    assert_whole(first, 1)
    assert_whole(second, 2)
    assert first.series_uid.startswith("2.25.")
    assert first.study_uid == "1.2.3" or first.study_uid.startswith("2.25.")
    assert first.series_uid != second.series_uid
    assert [(finding.code, finding.action) for finding in first.findings] == [(Code.BAD_VALUE, "keep")]
    assert "SeriesInstanceUID" in first.findings[0].message
    (alone,) = usable(tmp_path / "a")
    assert (alone.series_uid, alone.study_uid) == (first.series_uid, first.study_uid)
    for index, path in enumerate(sorted((tmp_path / "a").iterdir(), reverse=True)):
        path.rename(tmp_path / "a" / f"{index}")
    assert usable(tmp_path / "a")[0].series_uid == first.series_uid


def test_a_file_without_a_series_uid_that_goes_while_the_folder_is_searched_ends_no_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_stack(stack(1, SeriesInstanceUID=""), tmp_path / "nameless")
    save_stack(stack(2), tmp_path / "other")
    gone = sorted((tmp_path / "nameless").iterdir())[3]
    monkeypatch.setattr(groups, "_find_strays", lambda _: gone.unlink(missing_ok=True) or ())  # after headers were read
    nameless, other = find_series(tmp_path).series
    assert_whole(other, 2)
    assert gone in {instance.path for instance in nameless.instances}
    with pytest.raises(InputError):
        read_volume(nameless)


def test_a_missing_study_uid_is_made_and_leaves_the_series_whole(tmp_path: Path) -> None:
    datasets = stack(1, StudyInstanceUID="")
    save_stack(datasets[:3], tmp_path / "a")
    save_stack(datasets[3:], tmp_path / "b")
    (series,) = usable(tmp_path)
    assert_whole(series, 1)
    assert series.series_uid == "1.2.3.4"
    assert series.study_uid.startswith("2.25.")


@pytest.mark.parametrize("folders", [("x", "x"), ("x", "y")])
@pytest.mark.parametrize("uid", ["1.2.3.4", ""])
def test_two_patients_are_never_one_series(tmp_path: Path, folders: tuple[str, str], uid: str) -> None:
    for seed, folder, origin in ((1, folders[0], (0.0, 0.0, 0.0)), (2, folders[1], (0.0, 0.0, 15.0))):
        datasets = stack(seed, origin=origin, PatientID=f"SECRET-{seed}", SeriesInstanceUID=uid)
        for index, dataset in enumerate(datasets):
            dataset.SOPInstanceUID = f"1.2.3.4.{seed}.{index}"
        for path in save_stack(datasets, tmp_path / "new").iterdir():
            (tmp_path / folder).mkdir(exist_ok=True)
            path.rename(tmp_path / folder / f"{seed}{path.name}")
    found = sorted(usable(tmp_path), key=lambda series: series.positions[0])
    assert len(found) == 2
    for series, seed in zip(found, (1, 2), strict=True):
        assert_whole(series, seed)
    assert len({(series.series_uid, series.volume) for series in found}) == 2
    told = " ".join([str(finding) for series in found for finding in series.findings] + [one.volume for one in found])
    assert "SECRET" not in told


def test_files_that_name_no_patient_stay_with_the_only_one(tmp_path: Path) -> None:
    datasets = stack(1)
    datasets[2].PatientID = ""
    (series,) = usable(save_stack(datasets, tmp_path))
    assert_whole(series, 1)
    assert series.findings == ()


@pytest.mark.parametrize("origin", [(-10.0, -20.0, 30.0), SHIFT])
@pytest.mark.parametrize("sop_uids", ["shared", "own"])
def test_two_series_with_one_constant_uid_are_one_per_folder(
    tmp_path: Path, origin: tuple[float, float, float], sop_uids: str
) -> None:
    save_stack(stack(1), tmp_path / "a", seed=1)
    datasets = stack(2, origin=origin)
    for index, dataset in enumerate(datasets if sop_uids == "own" else ()):
        dataset.SOPInstanceUID = f"1.2.3.4.2.{index}"
    save_stack(datasets, tmp_path / "b", seed=1)
    first, second = usable(tmp_path)
    assert_whole(first, 1)
    assert_whole(second, 2)
    assert [series.path.name for series in (first, second)] == ["a", "b"]
    assert [series.volume for series in (first, second)] == ["folder 1", "folder 2"]
    assert [(finding.code, finding.action) for finding in first.findings] == [(Code.BAD_VALUE, "keep")]


def test_in_one_folder_they_stay_refused(tmp_path: Path) -> None:
    for seed in (1, 2):
        for index, dataset in enumerate(stack(seed)):
            dataset.SOPInstanceUID = f"1.2.3.4.{seed}.{index}"
            dataset.save_as(tmp_path / f"{seed}-{index}.dcm", enforce_file_format=True)
    (series,) = find_series(tmp_path).series
    assert series.reason.startswith("DUPLICATE_POSITION")


@pytest.mark.parametrize("missing", [0, 2])
def test_a_gap_between_the_folders_of_one_series_is_still_a_gap(tmp_path: Path, missing: int) -> None:
    datasets = make_stack(random_stack(9))
    parts = (datasets[:4], datasets[5:]) if missing == 0 else (datasets[::2], datasets[1::2][:1] + datasets[1::2][2:])
    for name, part in zip("ab", parts, strict=True):
        save_stack(part, tmp_path / name)
    (series,) = find_series(tmp_path).series
    assert series.reason.startswith("GAP")


def test_series_of_two_studies_stay_apart(tmp_path: Path) -> None:
    save_stack(stack(1), tmp_path / "a")
    save_stack(stack(2, StudyInstanceUID="1.2.9"), tmp_path / "b")
    for series, seed in zip(usable(tmp_path), (1, 2), strict=True):
        assert_whole(series, seed)
