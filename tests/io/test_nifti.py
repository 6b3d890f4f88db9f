"""NIfTI, NRRD and MetaImage: the same anatomy gives the same sequence as DICOM does."""

from __future__ import annotations

import gzip
import itertools
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK
from dicom_files import AXIAL, CORONAL, SAGITTAL, make_stack, random_stack, save_stack

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


@pytest.mark.parametrize("name", ["a.mha", "a.nrrd"])
def test_metaimage_and_nrrd_keep_values_and_places(tmp_path: Path, name: str) -> None:
    array = np.random.default_rng(4).integers(-99, 99, (4, 5, 6)).astype(np.int16)
    image = SimpleITK.GetImageFromArray(array)
    image.SetSpacing((0.5, 0.6, 4))
    image.SetOrigin((1, 2, 3))
    image.SetDirection((1, 0, 0, 0, 1, 0, 0, 0, -1))
    SimpleITK.WriteImage(image, str(tmp_path / name))
    volume = read(tmp_path)[0]
    np.testing.assert_array_equal(volume.array, array[::-1])
    assert volume.affine is not None
    np.testing.assert_allclose(volume.affine, [[-0.5, 0, 0, -1], [0, -0.6, 0, -2], [0, 0, 4, -9], [0, 0, 0, 1]])
