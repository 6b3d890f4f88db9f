"""NIfTI, NRRD and MetaImage: the same anatomy gives the same sequence as DICOM does."""

from __future__ import annotations

import gzip
import itertools
import struct
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK
from dicom_files import AXIAL, CORONAL, SAGITTAL, make_stack, random_stack, save_stack
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from seriatim.errors import InputError
from seriatim.io import find_series, read, read_volume


def write(path: Path, array: np.ndarray, affine: np.ndarray) -> Path:
    """(S,H,W) -> NIfTI, stored (column, row, slice)."""
    nibabel.save(nibabel.Nifti1Image(np.asarray(array).T, affine), path)
    return path


@pytest.mark.parametrize("orientation", [AXIAL, CORONAL, SAGITTAL, tuple(-part for part in AXIAL[:3]) + AXIAL[3:]])
@pytest.mark.parametrize("reverse", [False, True])
def test_dicom_and_nifti_of_one_anatomy_give_one_sequence(
    tmp_path: Path, orientation: tuple[float, ...], reverse: bool
) -> None:
    stored = random_stack(7)
    dicom = read(save_stack(make_stack(stored, orientation=orientation), tmp_path / "dicom", seed=1))[0]
    assert dicom.affine is not None
    array, affine = dicom.array, dicom.affine.copy()
    if reverse:  # the same voxels, stored from the other end
        array = array[::-1]
        affine[:3, 3] += 6 * affine[:3, 2]
        affine[:3, 2] *= -1
    nifti = read(write(tmp_path / "a.nii.gz", array, affine))[0]
    np.testing.assert_array_equal(nifti.array, dicom.array)
    np.testing.assert_allclose(nifti.positions, dicom.positions, atol=1e-4)
    np.testing.assert_allclose(nifti.affine, dicom.affine, atol=1e-4)
    assert nifti.array.dtype == dicom.array.dtype


@pytest.mark.parametrize("signs", list(itertools.product([1, -1], repeat=3)))
def test_every_voxel_stays_in_its_place(tmp_path: Path, signs: tuple[int, int, int]) -> None:
    rng = np.random.default_rng(0)
    rotation, _ = np.linalg.qr(np.eye(3) + 0.2 * rng.normal(size=(3, 3)))
    affine = np.eye(4)
    affine[:3, :3] = rotation * np.array(signs) * np.array([0.7, 0.8, 3.0])
    affine[:3, 3] = 10, 20, 30
    array = rng.integers(-500, 500, (5, 4, 6)).astype(np.int16)
    path = write(tmp_path / "a.nii", array, affine)
    volume = read(path)[0]
    assert volume.affine is not None
    known = nibabel.load(path)
    for index in itertools.product(range(6), range(4), range(5)):
        point = volume.affine @ [*index, 1]
        stored = np.rint(np.linalg.inv(known.affine) @ point)[:3].astype(int)
        assert known.dataobj[tuple(stored)] == volume.array[index[2], index[1], index[0]]


@pytest.mark.parametrize("dtype", ["u1", "i2", "u2", "i4", "f4", "f8"])
@pytest.mark.parametrize("order", "<>")
def test_all_kinds_of_numbers_in_both_byte_orders(tmp_path: Path, dtype: str, order: str) -> None:
    array = np.random.default_rng(1).integers(0, 200, (3, 4, 5)).astype(f"{order}{dtype}")
    image = nibabel.Nifti1Image(array.T, np.eye(4), nibabel.Nifti1Header(endianness=order))
    image.header.set_data_dtype(array.dtype)
    nibabel.save(image, tmp_path / "a.nii")
    volume = read(tmp_path)[0]
    np.testing.assert_array_equal(volume.array, array)
    assert volume.array.dtype.kind in "iu"


def test_slope_and_intercept_are_applied_and_nifti2_is_read(tmp_path: Path) -> None:
    array = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
    image = nibabel.Nifti2Image(array.T, np.diag([1, 1, 2, 1]))
    image.header.set_slope_inter(0.5, 3)
    nibabel.save(image, tmp_path / "a.nii.gz")
    known = np.asarray(nibabel.load(tmp_path / "a.nii.gz").dataobj).T
    np.testing.assert_allclose(read(tmp_path)[0].array, known, rtol=1e-6)


def test_the_qform_is_used_where_there_is_no_sform(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(np.zeros((4, 5, 6), np.int16), None)
    affine = nibabel.affines.from_matvec(nibabel.eulerangles.euler2mat(0.1, -0.2, 0.3) @ np.diag([1, 2, -3]), [4, 5, 6])
    image.set_qform(affine, code=1)
    image.set_sform(None, code=0)
    nibabel.save(image, tmp_path / "a.nii")
    volume = read(tmp_path)[0]
    assert volume.affine is not None
    np.testing.assert_allclose(np.abs(volume.affine[:3, :3]), np.abs(affine[:3, :3]), atol=1e-5)


def test_a_file_without_any_form_is_refused(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(np.zeros((4, 5, 6), np.int16), None)
    image.set_sform(None, code=0)
    image.set_qform(None, code=0)
    nibabel.save(image, tmp_path / "a.nii")
    (series,) = find_series(tmp_path).series
    assert series.reason.startswith("MISSING_GEOMETRY")


def test_a_file_of_four_dimensions_is_one_series_per_volume(tmp_path: Path) -> None:
    array = np.random.default_rng(2).integers(0, 999, (3, 5, 4, 6)).astype(np.int16)
    write(tmp_path / "a.nii.gz", array, np.diag([1, 1, -2, 1]))
    volumes = read(tmp_path)
    assert [volume.series.volume for volume in volumes] == ["t 1", "t 2", "t 3"]
    np.testing.assert_array_equal([volume.array for volume in volumes], array[:, ::-1])
    assert len({instance.sop_instance_uid for volume in volumes for instance in volume.series.instances}) == 15


def test_uids_come_from_the_content(tmp_path: Path) -> None:
    array = random_stack(3)
    write(tmp_path / "a.nii", array, np.eye(4))
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "copy.nii").write_bytes((tmp_path / "a.nii").read_bytes())
    write(tmp_path / "b.nii", array + 1, np.eye(4))
    first, other, copy = find_series(tmp_path).series
    assert first.series_uid == copy.series_uid != other.series_uid
    assert first.series_uid.startswith("2.25.")
    assert len(first.series_uid) <= 64


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.mha", "a.nrrd"])
@pytest.mark.parametrize("part", [0.2, 0.6, 0.95])
def test_a_truncated_file_never_gives_voxels(tmp_path: Path, name: str, part: float) -> None:
    array = np.random.default_rng(3).integers(0, 30000, (6, 20, 20)).astype(np.int16)
    path = tmp_path / name
    image = SimpleITK.GetImageFromArray(array)
    SimpleITK.WriteImage(image, str(path))
    (series,) = find_series(path).series
    np.testing.assert_array_equal(np.sort(read_volume(series).array.ravel()), np.sort(array.ravel()))
    raw = path.read_bytes()
    path.write_bytes(raw[: int(len(raw) * part)])
    assert not any(one.usable for one in find_series(path).series)
    with pytest.raises(InputError):
        read_volume(series)


def test_a_damaged_gzip_stream_is_an_error(tmp_path: Path) -> None:
    path = write(tmp_path / "a.nii.gz", random_stack(6, 20, 20), np.eye(4))
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 0xFF
    path.write_bytes(raw)
    with pytest.raises(InputError):
        read(path)
    path.write_bytes(gzip.compress(b"not a volume" * 50))
    with pytest.raises(InputError, match="not a NIfTI file"):
        read(path)


def patch(path: Path, layout: str, offset: int, *values: float) -> Path:
    """Overwrite numbers of the header of a little-endian .nii."""
    raw = bytearray(path.read_bytes())
    struct.pack_into(f"<{layout}", raw, offset, *values)
    path.write_bytes(raw)
    return path


def write_oblique(path: Path) -> Path:
    """Both forms set and alike, code 1."""
    affine = nibabel.affines.from_matvec(nibabel.eulerangles.euler2mat(0.1, -0.2, 0.3) @ np.diag([1, 2, -3]), [4, 5, 6])
    image = nibabel.Nifti1Image(np.arange(120, dtype=np.int16).reshape(4, 5, 6), affine)
    image.set_qform(affine, code=1)
    image.set_sform(affine, code=1)
    nibabel.save(image, path)
    return path


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_every_header_places_voxels_as_nibabel_does(tmp_path: Path, data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from([nibabel.Nifti1Image, nibabel.Nifti2Image, nibabel.Nifti1Pair]))
    name = "a.hdr" if kind is nibabel.Nifti1Pair else data.draw(st.sampled_from(["a.nii", "a.nii.gz"]))
    rng = np.random.default_rng(data.draw(st.integers(0, 999)))
    array = rng.integers(0, 99, (4, 3, 5)).astype(data.draw(st.sampled_from(["u1", "i1", "u2", "i2", "u8", "f4"])))
    image = kind(array, None, kind.header_class(endianness=data.draw(st.sampled_from("<>"))))
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    affine = nibabel.affines.from_matvec(turn * rng.uniform(0.3, 4, 3), rng.uniform(-99, 99, 3))
    codes = data.draw(st.sampled_from([(1, 0), (0, 2), (1, 1), (3, 4)]))
    image.set_qform(affine if codes[0] else None, code=codes[0])
    image.set_sform(affine if codes[1] else None, code=codes[1])
    image.header.set_data_dtype(array.dtype)
    nibabel.save(image, tmp_path / name)
    known = nibabel.load(tmp_path / name)
    (volume,) = read(tmp_path / name)
    assert volume.affine is not None
    assert not volume.series.findings
    for column, row, index in itertools.product(range(4), range(3), range(5)):
        place = np.linalg.inv(known.affine) @ volume.affine @ [column, row, index, 1]
        assert array[tuple(np.rint(place[:3]).astype(int))] == volume.array[index, row, column]
        np.testing.assert_allclose(place[:3], np.rint(place[:3]), atol=1e-3)
    assert volume.array.shape == (5, 3, 4)


@pytest.mark.parametrize(("patches", "code", "text"), [
    ([("f", 108, 0.0)], "BAD_VALUE", "byte 0"),
    ([("f", 108, 352.5)], "BAD_VALUE", "byte 352.5"),
    ([("f", 108, float("nan"))], "BAD_VALUE", "nan"),
    ([("f", 112, float("inf"))], "BAD_VALUE", "scl_slope is inf"),
    ([("2f", 112, 2.0, float("nan"))], "BAD_VALUE", "scl_inter nan"),
    ([("h", 70, 32)], "UNSUPPORTED", "complex"),
    ([("h", 70, 1536)], "UNSUPPORTED", "128-bit"),
    ([("h", 70, 77)], "UNSUPPORTED", "77"),
    ([("h", 40, 9)], "BAD_VALUE", "9 axes"),
    ([("h", 42, -4)], "BAD_VALUE", "-4"),
    ([("h", 42, 5)], "TRUNCATED", "of"),
    ([("4f", 280, 0, 0, 0, 0), ("h", 252, 0)], "BAD_VALUE", "sform"),
    ([("f", 284, float("nan")), ("h", 252, 0)], "BAD_VALUE", "sform"),
    ([("h", 254, 0), ("f", 80, -1.0)], "BAD_VALUE", "qform"),
    ([("h", 254, 0), ("f", 84, 0.0)], "BAD_VALUE", "qform"),
    ([("h", 254, 0), ("f", 88, float("nan"))], "BAD_VALUE", "qform"),
    ([("h", 254, 0), ("f", 256, 3.0)], "BAD_VALUE", "qform"),
    ([("2h", 252, 0, 0)], "MISSING_GEOMETRY", "Neither"),
    ([("4s", 344, b"ni1\0")], "TRUNCATED", "a.img, which is missing"),
    ([("4s", 344, b"\0\0\0\0")], "UNSUPPORTED", "Analyze"),
    ([("i", 0, 347)], "UNREADABLE", "not a NIfTI file"),
])
def test_a_header_that_is_damaged_is_refused_with_the_reason(
    tmp_path: Path, patches: list[tuple[Any, ...]], code: str, text: str
) -> None:
    path = write_oblique(tmp_path / "a.nii")
    for layout, offset, *values in patches:
        patch(path, layout, offset, *values)
    (series,) = find_series(path).series
    assert series.reason.startswith(code)
    assert text in series.reason


@pytest.mark.parametrize(("layout", "offset", "values", "text"), [
    ("4f", 280, (0, 0, 0, 0), "the qform is used"),
    ("f", 292, (9,), "The sform is used; the qform places voxels up to"),
    ("h", 42, (3,), "bytes more than its header says"),
])
def test_what_is_odd_in_a_header_but_has_one_meaning_is_told(
    tmp_path: Path, layout: str, offset: int, values: tuple[float, ...], text: str
) -> None:
    path = patch(write_oblique(tmp_path / "a.nii"), layout, offset, *values)
    (series,) = find_series(path).series
    assert series.usable
    (finding,) = series.findings
    assert (finding.code, finding.action) == ("BAD_VALUE", "keep")
    assert text in finding.message


def test_qfac_0_counts_as_1_and_a_slope_that_is_not_a_number_as_none(tmp_path: Path) -> None:
    for name, factor in (("a.nii", 1.0), ("b.nii", 0.0)):
        patch(patch(write_oblique(tmp_path / name), "h", 254, 0), "f", 76, factor)
        patch(tmp_path / name, "2f", 112, float("nan"), 5)
    first, second = read(tmp_path)
    np.testing.assert_array_equal(first.affine, second.affine)
    np.testing.assert_array_equal(np.sort(second.array.ravel()), np.arange(120))


def test_units_are_turned_to_mm(tmp_path: Path) -> None:
    path = write_oblique(tmp_path / "a.nii")
    (known,) = read(path)
    (metres,) = read(patch(path, "B", 123, 1))
    np.testing.assert_allclose(metres.positions, 1000 * known.positions)


def test_a_single_slice_has_a_place_and_is_told(tmp_path: Path) -> None:
    path = write(tmp_path / "a.nii", random_stack(1), np.eye(4))
    patch(path, "h", 40, 2)
    patch(path, "f", 304 + 16, 0)
    (volume,) = read(path)
    assert [(finding.code, finding.action) for finding in volume.series.findings] == [("NOT_A_SERIES", "keep")]
    np.testing.assert_array_equal(volume.array, random_stack(1))


def test_names_and_packing_may_disagree_and_pairs_are_found_by_their_voxels(tmp_path: Path) -> None:
    write_oblique(tmp_path / "b.nii")
    raw = (tmp_path / "b.nii").read_bytes()
    (tmp_path / "a.nii.gz").write_bytes(raw)
    (tmp_path / "c.nii").write_bytes(gzip.compress(raw))
    first, second, third = read(tmp_path)
    np.testing.assert_array_equal(first.array, second.array)
    np.testing.assert_array_equal(third.array, second.array)
    pairs = tmp_path / "pairs"
    pairs.mkdir()
    for name, array in (("one", random_stack(3)), ("two", random_stack(3) + 1)):
        nibabel.save(nibabel.Nifti1Pair(array.T, np.eye(4)), pairs / f"{name}.img")
    (pairs / "old.hdr").write_bytes(struct.pack("<i", 348) + b"\0" * 344)
    inventory = find_series(pairs)
    (analyze,) = [series for series in inventory.series if not series.usable]
    assert "does not tell left from right" in analyze.reason
    assert len({series.series_uid for series in inventory.series if series.usable}) == 2
    assert [one.reason for one in inventory.skipped] == ["pixel data of the header file beside it"] * 2


def test_vectors_are_refused_and_colours_are_read(tmp_path: Path) -> None:
    vectors = np.zeros((3, 4, 5, 3), np.float32)
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(vectors, isVector=True), str(tmp_path / "a.nii"))
    assert all(series.reason.startswith("UNSUPPORTED") for series in find_series(tmp_path / "a.nii").series)
    colours = np.random.default_rng(0).integers(0, 255, (3, 4, 5, 3)).astype(np.uint8)
    structured = colours.view([("R", "u1"), ("G", "u1"), ("B", "u1")])[..., 0]
    nibabel.save(nibabel.Nifti1Image(structured.T, np.eye(4)), tmp_path / "b.nii.gz")
    (volume,) = read(tmp_path / "b.nii.gz")
    np.testing.assert_array_equal(volume.array, colours)
