"""Kinds of DICOM objects: what is read, what is left out, and what the reason says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dicom_files import make_slice, make_stack, random_stack, save, save_stack
from pydicom.uid import generate_uid

from seriatim.io import find_series, read_volume
from seriatim.io.dicom.values import reading
from seriatim.series import Code, Series

CAPTURE = "1.2.840.10008.5.1.4.1.1.7"


def codes(series: Series) -> set[str]:
    return {str(finding.code) for finding in series.findings}


def only(path: Path, **actions: Any) -> Series:
    (series,) = find_series(path, {Code[name]: action for name, action in actions.items()}).series
    return series


@pytest.mark.parametrize("image_type", [
    "DERIVED\\SECONDARY\\MPR", "DERIVED\\SECONDARY\\AXIAL\\CT_SOM5 MPR", "DERIVED\\SECONDARY\\REFORMATTED\\AVERAGE",
    "ORIGINAL\\PRIMARY\\PROJECTION IMAGE\\MIP", "DERIVED\\SECONDARY\\MINIP",
    "DERIVED\\SECONDARY\\CSA MPR\\\\CSAPARALLEL",
    "DERIVED\\SECONDARY\\VOLUME RENDERING", "DERIVED\\SECONDARY\\VRT",
])
def test_a_reformat_is_left_out_and_can_be_kept(tmp_path: Path, image_type: str) -> None:
    stored = random_stack(5)
    save_stack(make_stack(stored, ImageType=image_type), tmp_path)
    refused = only(tmp_path)
    assert not refused.usable
    assert refused.reason.startswith("DERIVED")
    kept = read_volume(only(tmp_path, DERIVED="keep"))
    assert kept.affine is not None
    np.testing.assert_array_equal(kept.array, stored.astype(int) - 1024)


def test_slices_that_are_called_original_and_a_reformat_are_read_and_told(tmp_path: Path) -> None:
    save_stack(make_stack(random_stack(5), ImageType="ORIGINAL\\PRIMARY\\MPR"), tmp_path)
    series = only(tmp_path)
    assert series.usable
    assert codes(series) == {"DERIVED"}
    assert not only(tmp_path, DERIVED="refuse").usable


@pytest.mark.parametrize("image_type", [
    "DERIVED\\SECONDARY\\AXIAL", "DERIVED\\PRIMARY", "ORIGINAL\\PRIMARY\\M\\ND\\MPRAGE",
    "DERIVED\\PRIMARY\\DIFFUSION\\ADC", "DERIVED\\PRIMARY\\M\\ND\\NORM\\DIS3D",
])
def test_derived_alone_is_no_reformat(tmp_path: Path, image_type: str) -> None:
    save_stack(make_stack(random_stack(4), ImageType=image_type), tmp_path)
    assert only(tmp_path).usable


def test_a_reformat_never_joins_the_slices_it_was_saved_with(tmp_path: Path) -> None:
    slices = make_stack(random_stack(5))
    reformats = make_stack(random_stack(5, seed=1), origin=(-10.0, -20.0, 42.5), ImageType="DERIVED\\SECONDARY\\MPR")
    for dataset in reformats:
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    save_stack([*slices, *reformats], tmp_path)
    found = find_series(tmp_path).series
    assert sorted((len(one.instances), one.usable) for one in found) == [(5, False), (5, True)]


@pytest.mark.parametrize("values", [
    {"SOPClassUID": CAPTURE, "ImageOrientationPatient": None},
    {"ImageType": "DERIVED\\SECONDARY\\SCREEN SAVE", "ImageOrientationPatient": None},
    {"ImageType": "ORIGINAL\\SECONDARY\\DOSE_INFO", "ImageOrientationPatient": None},
    {"ImageType": "DERIVED\\SECONDARY\\OTHER\\CT_SOM5 PROT", "ImageOrientationPatient": None},
])
def test_captures_and_dose_screens_are_rows_of_their_own(tmp_path: Path, values: dict[str, Any]) -> None:
    save_stack(make_stack(random_stack(4)), tmp_path)
    for index in range(2):
        save(make_slice(random_stack(1, seed=index)[0], None, **values), tmp_path / f"capture{index}.dcm")
    found = find_series(tmp_path).series
    assert [len(one.instances) for one in found if one.usable] == [4]
    left = [one for one in found if not one.usable]
    assert [len(one.instances) for one in left] == [1, 1]
    assert all(one.reason.startswith("NOT_A_SERIES: A screen capture") for one in left)


def test_a_capture_with_a_place_is_a_slice(tmp_path: Path) -> None:
    """Some software saves reconstructed slices as secondary captures; their position makes them slices."""
    save_stack(make_stack(random_stack(4), SOPClassUID=CAPTURE), tmp_path)
    assert only(tmp_path).usable


@pytest.mark.parametrize(("uid", "name"), [
    ("1.2.840.10008.5.1.4.1.1.66.4", "Segmentation Storage"),
    ("1.2.840.10008.5.1.4.1.1.88.59", "Key Object Selection Document Storage"),
    ("1.2.840.10008.5.1.4.1.1.104.1", "Encapsulated PDF Storage"),
    ("1.2.840.10008.5.1.4.1.1.9.1.1", "12-lead ECG Waveform Storage"),
    ("1.2.840.10008.5.1.4.1.1.4.2", "MR Spectroscopy Storage"),
])
def test_what_is_no_image_is_left_out_by_its_name(tmp_path: Path, uid: str, name: str) -> None:
    save(make_slice(random_stack(1)[0], (0, 0, 0), SOPClassUID=uid), tmp_path / "one.dcm")
    (skipped,) = find_series(tmp_path).skipped
    assert skipped.reason == f"not an image: {name}"


def test_a_private_kind_with_an_image_is_read_and_one_without_is_named(tmp_path: Path) -> None:
    stored = random_stack(4)
    save_stack(make_stack(stored, SOPClassUID="1.2.840.113619.4.3"), tmp_path)
    empty = make_slice(stored[0], None, SOPClassUID="1.3.12.2.1107.5.9.1", Rows=None, Columns=None, PixelData=None)
    save(empty, tmp_path / "csa.dcm")
    found = find_series(tmp_path)
    np.testing.assert_array_equal(read_volume(found.series[0]).array, stored.astype(int) - 1024)
    assert [one.reason for one in found.skipped] == ["DICOM without an image (Siemens CSA Non-Image Storage)"]


def test_a_sop_class_that_is_no_uid_is_never_shown(tmp_path: Path) -> None:
    dataset = make_slice(random_stack(1)[0], None, Rows=None, Columns=None, PixelData=None)
    with reading():
        dataset.add_new(0x00080016, "UI", "Doe^Jane")
        dataset.save_as(tmp_path / "one.dcm", enforce_file_format=True)
    (skipped,) = find_series(tmp_path).skipped
    assert "Doe" not in skipped.reason


@pytest.mark.parametrize(("values", "syntax", "ratio"), [
    ({"LossyImageCompression": "01", "LossyImageCompressionRatio": ["2.5", "10"]}, "", 10.0),
    ({"LossyImageCompression": "01"}, "", None),
    ({"LossyImageCompression": "00"}, "1.2.840.10008.1.2.4.81", None),
])
def test_loss_is_told_with_its_ratio(tmp_path: Path, values: dict[str, Any], syntax: str, ratio: float | None) -> None:
    from seriatim.io.dicom.kinds import check_kind

    dataset = make_slice(random_stack(1)[0], (0, 0, 0), **values)
    if syntax:
        dataset.file_meta.TransferSyntaxUID = syntax
    (finding,) = check_kind(dataset)
    assert (finding.code, finding.action) == ("LOSSY", "keep")
    assert finding.numbers.get("ratio") == ratio


@pytest.mark.parametrize(("values", "told"), [
    ({"BurnedInAnnotation": "YES"}, True), ({"BurnedInAnnotation": "NO"}, False), ({}, False),
    ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.6.1", "Modality": "US"}, True),
    ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.6.1", "Modality": "US", "BurnedInAnnotation": "NO"}, False),
])
def test_burned_in_text_is_told_where_it_may_be(tmp_path: Path, values: dict[str, Any], told: bool) -> None:
    save(make_slice(random_stack(1)[0], None, ImageOrientationPatient=None, **values), tmp_path / "one.dcm")
    series = only(tmp_path)
    assert ("BURNED_IN_TEXT" in codes(series)) is told
    assert all(finding.action == "keep" for finding in series.findings if finding.code == "BURNED_IN_TEXT")


@pytest.mark.parametrize("start", [
    bytes.fromhex("3080 0609 2a864886f70d010703 a080 3080"), bytes.fromhex("30820400 0609 2a864886f70d010703 a08203f1"),
])
def test_a_secure_dicom_file_is_told_as_encrypted(tmp_path: Path, start: bytes) -> None:
    (tmp_path / "one.dcm").write_bytes(start + bytes(range(256)) * 4)
    (skipped,) = find_series(tmp_path).skipped
    assert skipped.reason.startswith("ENCRYPTED")
