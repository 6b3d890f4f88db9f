"""One anatomy, one sequence: the same voxels, places, attention and score from every format that holds them."""

from __future__ import annotations

import itertools
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK
import torch
from dicom_files import item, make_slice, save, save_stack
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    RLELossless,
)

from seriatim.io import read
from seriatim.models.network import NetworkSettings
from seriatim.series import Volume
from seriatim.series.geometry import affine_normal, direction_sign, display_orientation
from seriatim.tasks import DiagnosisSettings
from seriatim.tasks.predict import SeriesScores, score_series
from seriatim.transforms.orientation import orient
from seriatim.transforms.preprocessing import IntensitySettings

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
SIZE = (7, 9, 12)
SPACING_MM = (0.7, 0.45, 3.3)
FORMS = [(order, signs) for order in itertools.permutations(range(3)) for signs in itertools.product((1, -1), repeat=3)]


def rotation(*degrees: float) -> np.ndarray:
    return np.asarray(nibabel.eulerangles.euler2mat(*np.radians(degrees)))


PLACES = {
    "axial": np.diag([-1.0, -1.0, 1.0]),
    "coronal": np.array([[-1.0, 0, 0], [0, 0, 1], [0, -1, 0]]),
    "sagittal": np.array([[0, 0, 1.0], [-1, 0, 0], [0, -1, 0]]),
    "oblique": rotation(12, -23, 31),
    "double oblique": rotation(41, 33, -62) @ np.diag([1.0, -1, -1]),
}


def make_anatomy(place: str = "oblique", size: tuple[int, ...] = SIZE) -> tuple[np.ndarray, np.ndarray]:
    """Stored values (S,H,W) uint16, each once, and the affine index (column, row, slice) -> LPS mm."""
    array = np.random.default_rng(5).permutation(int(np.prod(size))).reshape(size).astype("<u2")
    affine = np.eye(4)
    affine[:3, :3] = PLACES[place] * np.array(SPACING_MM)
    affine[:3, 3] = -31.7, 52.3, 18.9
    return array, affine


def store_as(array: np.ndarray, affine: np.ndarray, order: tuple[int, ...], signs: tuple[int, ...]
             ) -> tuple[np.ndarray, np.ndarray]:
    """The same voxels with their axes (column, row, slice) permuted and turned, and the affine that fits."""
    voxels, change = np.transpose(array.T, order), np.zeros((4, 4))
    for axis, source in enumerate(order):
        change[source, axis] = signs[axis]
        if signs[axis] < 0:
            change[source, 3] = voxels.shape[axis] - 1
    change[3, 3] = 1
    turned = voxels[tuple(slice(None, None, sign) for sign in signs)]
    return np.ascontiguousarray(turned.T), affine @ change


def write_dicom(folder: Path, array: np.ndarray, affine: np.ndarray, *, digits: int = 12, seed: int | None = 0,
                change: Callable[[Dataset], None] | None = None, **values: Any) -> Path:
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    spacing = [round(float(np.linalg.norm(affine[:3, axis])), digits) for axis in (1, 0)]
    datasets = []
    for index, pixels in enumerate(array):
        position = np.round(affine[:3, 3] + index * affine[:3, 2], digits)
        cosines = [round(float(part), digits) for part in (*axes[:, 0], *axes[:, 1])]
        one = make_slice(np.ascontiguousarray(pixels), position, ImageOrientationPatient=cosines, PixelSpacing=spacing,
                         SliceThickness=3.3, SOPInstanceUID=f"1.2.3.4.{index + 1}", **values)
        if change is not None:
            change(one)
        datasets.append(one)
    return save_stack(datasets, folder, seed=seed)


def write_enhanced(path: Path, array: np.ndarray, affine: np.ndarray) -> Path:
    """An Enhanced CT object by hand, its frames in a shuffled order."""
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    shuffled = np.random.default_rng(1).permutation(len(array))
    gone = dict.fromkeys(("PixelSpacing", "ImageOrientationPatient", "RescaleSlope", "RescaleIntercept"))
    dataset = make_slice(np.ascontiguousarray(array[shuffled]), None, SOPClassUID="1.2.840.10008.5.1.4.1.1.2.1",
                         NumberOfFrames=len(array), **gone)
    shared = Dataset()
    shared.PlaneOrientationSequence = item(ImageOrientationPatient=[float(part) for part in axes[:, :2].T.ravel()])
    spacing = [float(np.linalg.norm(affine[:3, axis])) for axis in (1, 0)]
    shared.PixelMeasuresSequence = item(PixelSpacing=spacing, SliceThickness=3.3)
    shared.PixelValueTransformationSequence = item(RescaleSlope=1, RescaleIntercept=-1024, RescaleType="HU")
    frames = []
    for index in shuffled:
        frame = Dataset()
        position = affine[:3, 3] + index * affine[:3, 2]
        frame.PlanePositionSequence = item(ImagePositionPatient=[float(part) for part in position])
        frames.append(frame)
    dataset.SharedFunctionalGroupsSequence = Sequence([shared])
    dataset.PerFrameFunctionalGroupsSequence = Sequence(frames)
    return save(dataset, path)


def read_one(path: Path) -> Volume:
    (volume,) = read(path)
    assert volume.affine is not None
    return volume


def score(volume: Volume) -> SeriesScores:
    """By a network of random weights, always the same; modality-blind preprocessing."""
    torch.manual_seed(3)
    settings = {"encoder": {"kind": "small_cnn", "widths": [4, 8]}, "temporal": {"kind": "lstm", "hidden": 6}}
    network = NetworkSettings.model_validate(settings).build(1, 1).eval()
    preprocessing = IntensitySettings(size=(16, 16))
    slices = preprocessing.finish(preprocessing.prepare(volume))
    return score_series(network, DiagnosisSettings(target="binary", labels=("bleed",)).build(), slices)


def assert_same(volume: Volume, known: Volume, *, score_tolerance: float = 0.0) -> None:
    """One sequence: voxels bit-exact in the radiological view, places, attention per place, score."""
    assert volume.affine is not None
    assert known.affine is not None
    np.testing.assert_array_equal(orient(volume.array, volume.affine), orient(known.array, known.affine))
    assert volume.array.dtype == known.array.dtype
    np.testing.assert_allclose(volume.positions, known.positions, atol=2e-3)
    np.testing.assert_allclose(affine_normal(volume.affine), affine_normal(known.affine), atol=1e-4)
    first, second = score(volume), score(known)
    np.testing.assert_allclose(first.attention, second.attention, atol=score_tolerance, rtol=0)
    np.testing.assert_allclose(first.probabilities, second.probabilities, atol=score_tolerance, rtol=0)


@pytest.mark.parametrize("place", PLACES)
def test_every_voxel_of_all_48_forms_lies_in_its_place_and_slices_ascend(tmp_path: Path, place: str) -> None:
    array, affine = make_anatomy(place)
    for number, (order, signs) in enumerate(FORMS):
        if np.linalg.det(store_as(array, affine, order, signs)[1][:3, :3]) == 0:
            continue
        volume = read_one(write_dicom(tmp_path / str(number), *store_as(array, affine, order, signs), seed=number))
        index = np.indices(volume.array.shape).reshape(3, -1)[::-1]
        world = LPS @ volume.affine @ np.vstack([index, np.ones(index.shape[1])])
        stored = np.linalg.inv(affine) @ world
        place_of = np.rint(stored[:3]).astype(int)
        np.testing.assert_allclose(stored[:3], place_of, atol=1e-6)
        np.testing.assert_array_equal(array[place_of[2], place_of[1], place_of[0]] - 1024.0, volume.array.ravel())
        assert (np.diff(volume.positions) > 0).all()
        normal = affine_normal(volume.affine)
        assert normal[np.abs(normal).argmax()] > 0


@pytest.mark.parametrize("place", PLACES)
def test_all_forms_with_the_same_slices_give_one_sequence_and_one_score(tmp_path: Path, place: str) -> None:
    array, affine = make_anatomy(place)
    known = read_one(write_dicom(tmp_path / "known", array, affine))
    for number, (order, signs) in enumerate(form for form in FORMS if form[0][2] == 2):
        stored = store_as(array, affine, order, signs)
        assert_same(read_one(write_dicom(tmp_path / f"d{number}", *stored, seed=number)), known)
        nibabel.save(nibabel.Nifti1Image(stored[0].T.astype(np.int16) - 1024, LPS @ stored[1]),
                     tmp_path / f"{number}.nii")
        assert_same(read_one(tmp_path / f"{number}.nii"), known)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd", ".mha"])
def test_what_simpleitk_makes_of_a_dicom_series_is_the_same_sequence(tmp_path: Path, place: str, ending: str) -> None:
    folder = write_dicom(tmp_path / "dicom", *make_anatomy(place))
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    SimpleITK.WriteImage(reader.Execute(), str(tmp_path / f"a{ending}"))
    assert_same(read_one(tmp_path / f"a{ending}"), read_one(folder))


@pytest.mark.parametrize("place", PLACES)
def test_an_enhanced_object_and_a_shuffled_folder_are_the_same_sequence(tmp_path: Path, place: str) -> None:
    array, affine = make_anatomy(place)
    known = read_one(write_dicom(tmp_path / "known", array, affine))
    assert_same(read_one(write_enhanced(tmp_path / "enhanced.dcm", array, affine)), known)
    for seed in range(3):
        assert_same(read_one(write_dicom(tmp_path / str(seed), array, affine, seed=seed)), known)


@pytest.mark.parametrize("place", PLACES)
def test_what_dcm2niix_makes_of_a_dicom_series_is_the_same_sequence(tmp_path: Path, place: str) -> None:
    program = shutil.which("dcm2niix")
    if program is None:
        pytest.skip("dcm2niix is not installed")
    folder = write_dicom(tmp_path / "dicom", *make_anatomy(place), digits=6, seed=None)
    (tmp_path / "out").mkdir()
    subprocess.run([program, "-z", "y", "-f", "a", "-o", str(tmp_path / "out"), str(folder)], check=True,
                   capture_output=True, timeout=60)
    (made,) = (tmp_path / "out").glob("a*.nii.gz")
    assert_same(read_one(made), read_one(folder), score_tolerance=1e-6)


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian,
                                    RLELossless, JPEG2000Lossless])
def test_every_lossless_transfer_syntax_is_the_same_sequence(tmp_path: Path, syntax: Any) -> None:
    def encode(dataset: Dataset) -> None:
        if syntax.is_compressed and syntax != DeflatedExplicitVRLittleEndian:
            dataset.compress(syntax, generate_instance_uid=False)
            return
        if syntax == ExplicitVRBigEndian:
            dataset.PixelData = np.frombuffer(dataset.PixelData, "<u2").astype(">u2").tobytes()
        dataset.file_meta.TransferSyntaxUID = syntax

    array, affine = make_anatomy(size=(4, 40, 48))
    known = read_one(write_dicom(tmp_path / "known", array, affine))
    assert_same(read_one(write_dicom(tmp_path / "other", array, affine, change=encode)), known)


@pytest.mark.parametrize("degrees", [44.5, 44.9, 44.99, 45.0, 45.01, 45.1, 45.4, 45.5, 46.0])
@pytest.mark.parametrize("axes", [(1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0)])
@pytest.mark.parametrize("digits", [3, 4, 5, 6, 12])
def test_near_a_tie_dicom_and_nifti_take_the_same_direction(
    degrees: float, axes: tuple[int, int, int], digits: int
) -> None:
    """The header of DICOM holds cosines of few digits; NIfTI holds their product with the spacing as float32."""
    turn = np.asarray(nibabel.quaternions.angle_axis2mat(np.radians(degrees), axes))
    for base in (np.eye(3), PLACES["coronal"], PLACES["sagittal"]):
        cosines = np.round(turn @ base, digits)
        for signs in itertools.product((1, -1), repeat=2):
            column, row = cosines[:, 0] * signs[0], cosines[:, 1] * signs[1]
            normal = np.cross(column, row) / np.linalg.norm(np.cross(column, row))
            affine = np.eye(4)
            affine[:3, :3] = np.column_stack([column * 0.7, row * 0.45, normal * 3.3]).astype(np.float32)
            known = normal * direction_sign(normal)
            assert affine_normal(affine) @ known > 0
            other = affine.copy()
            other[:3, [0, 1]] = affine[:3, [1, 0]]
            plane = np.column_stack([column, row, normal])
            assert display_orientation(np.block([[plane, np.zeros((3, 1))], [np.zeros((1, 3)), 1]])) == \
                display_orientation(affine)
            assert shown_axes(affine) == shown_axes(other)


@pytest.mark.parametrize("digits", [2, 3, 4, 5, 6])
def test_no_rounded_cosines_lie_so_near_the_edge_that_float32_turns_them(digits: int) -> None:
    angle, unit = np.radians(45.4516), 10.0**-digits
    for first, second in itertools.product(range(-4, 5), repeat=2):
        cosine = round(float(np.cos(angle)) + first * unit, digits)
        sine = round(float(np.sin(angle)) + second * unit, digits)
        column, row = np.array([1.0, 0, 0]), np.array([0, cosine, sine])  # the normal is (0, -sine, cosine)
        known = affine_normal(np.column_stack([column, row, np.cross(column, row), np.zeros(3)]))
        for spacing in (0.3, 0.45, 0.7, 0.9765625, 1.1):
            stored = np.column_stack([column, row * spacing, np.cross(column, row), np.zeros(3)]).astype(np.float32)
            assert affine_normal(stored.astype(np.float64)) @ known > 0.99


def shown_axes(affine: np.ndarray) -> tuple[str, str, str, str]:
    return display_orientation(affine).letters


def test_the_edge_of_the_rule_lies_where_the_documents_say() -> None:
    for degrees, sign in ((44.0, 1), (45.0, 1), (45.45, 1), (45.46, -1), (46.0, -1)):
        angle = np.radians(degrees)
        assert direction_sign([0, -np.sin(angle), np.cos(angle)]) == sign


@pytest.mark.parametrize("degrees", [45.0, 44.9999999, 45.0000001])
def test_slices_turned_by_45_degrees_in_plane_are_shown_alike_however_they_are_stored(degrees: float) -> None:
    array, _ = make_anatomy("axial")
    affine = np.eye(4)
    affine[:3, :3] = rotation(0, 0, degrees)
    known = orient(array, LPS @ affine)
    for order, signs in (form for form in FORMS if form[0][2] == 2 and form[1][2] == 1):
        stored = store_as(array, affine, order, signs)
        np.testing.assert_array_equal(orient(stored[0], LPS @ stored[1]), known)
