"""Key images, maps and summary: the right images, the right places, the right pixels."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import SimpleITK
from dicom_files import AXIAL, CORONAL, make_enhanced, make_slice, make_stack, random_stack, save, save_stack
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.uid import EnhancedCTImageStorage
from results_of import LABEL, find_items, find_one, make_result, real_values
from test_dicom_frames import make_cine

from seriatim.errors import InputError
from seriatim.io.results import SeriesResult, SliceMaps
from seriatim.series import Series

pytest.importorskip("highdicom", reason="the extra dicom-results is not installed")

from seriatim.io.results.capture import make_summary
from seriatim.io.results.key_images import make_key_images
from seriatim.io.results.maps import make_map, quantise
from seriatim.io.results.source import read_source

OBLIQUE = (0.8, 0.6, 0.0, -0.36, 0.48, -0.8)


def maps_of(result: SeriesResult, which: int) -> Dataset:
    return make_map(result, read_source(result.series), result.maps[which])


def frames_of(dataset: Dataset) -> list[tuple[str, Any, np.ndarray, np.ndarray]]:
    """(SOP Instance UID, frame, position, real-world values) of each frame, by what the file says."""
    told = []
    for group, values in zip(dataset.PerFrameFunctionalGroupsSequence, real_values(dataset), strict=True):
        (derivation,) = group.DerivationImageSequence
        (source,) = derivation.SourceImageSequence
        place = np.array(group.PlanePositionSequence[0].ImagePositionPatient, dtype=float)
        told.append((source.ReferencedSOPInstanceUID, source.get("ReferencedFrameNumber"), place, values))
    return told


def corner(place: np.ndarray, axes: np.ndarray, spacing: list[float]) -> np.ndarray:
    """The outer corner of the first pixel, whose centre the position is."""
    return place - axes[0] * spacing[1] / 2 - axes[1] * spacing[0] / 2


@pytest.mark.parametrize("orientation", [AXIAL, (-1.0, 0.0, 0.0, 0.0, 1.0, 0.0), CORONAL, OBLIQUE])
def test_a_map_lies_where_its_slices_lie(tmp_path: Path, orientation: tuple[float, ...]) -> None:
    stack = make_stack(random_stack(5), orientation=orientation)
    result = make_result(find_one(save_stack(stack, tmp_path / "in", seed=1)))
    source = {one.SOPInstanceUID: one for one in stack}
    axes = np.array(orientation).reshape(2, 3)
    uids = result.prediction.sop_instance_uids
    for which, size in ((0, (3, 3)), (1, (6, 5))):
        dataset = maps_of(result, which)
        assert dataset.FrameOfReferenceUID == "1.2.3.9"
        assert (dataset.Rows, dataset.Columns) == size
        shared = dataset.SharedFunctionalGroupsSequence[0]
        spacing = [float(value) for value in shared.PixelMeasuresSequence[0].PixelSpacing]
        assert spacing == pytest.approx([0.5 * 6 / size[0], 0.75 * 5 / size[1]])
        turned = [float(value) for value in shared.PlaneOrientationSequence[0].ImageOrientationPatient]
        assert turned == pytest.approx(orientation)
        frames = frames_of(dataset)
        assert {uid for uid, *_ in frames} == {uids[index] for index in result.maps[which].indices}
        for uid, frame, place, pixels in frames:
            assert frame is None
            own = np.array(source[uid].ImagePositionPatient, dtype=float)
            np.testing.assert_allclose(corner(place, axes, spacing), corner(own, axes, [0.5, 0.75]), atol=1e-6)
            index = result.maps[which].indices.index(uids.index(uid))
            values = result.maps[which].values
            np.testing.assert_allclose(pixels, values[index], rtol=0, atol=1e-5 * values.max())
        if which == 1:  # the same grid: the same place to the last digit that was written
            np.testing.assert_array_equal([one[2] for one in frames],
                                          [np.array(source[one[0]].ImagePositionPatient, float) for one in frames])


def test_slices_without_a_map_have_no_frame_and_uneven_ones_keep_their_place(tmp_path: Path) -> None:
    stored, heights = random_stack(5), [0.0, 2.5, 5.5, 8.0, 11.2]
    stack = [make_slice(one, (0.0, 0.3 * height, height), SOPInstanceUID=f"1.2.3.4.{index}", InstanceNumber=index)
             for index, (one, height) in enumerate(zip(stored, heights, strict=True))]  # sheared, as by a gantry
    series = find_one(save_stack(stack, tmp_path / "in"))
    values = np.random.default_rng(0).random((2, 6, 5)).astype(np.float32)
    result = make_result(series, maps=(SliceMaps(kind="gradcam", indices=(1, 3), values=values, label=LABEL),))
    dataset = maps_of(result, 0)
    assert dataset.NumberOfFrames == 2
    assert {uid: place.tolist() for uid, _, place, _ in frames_of(dataset)} == {
        "1.2.3.4.1": [0.0, 0.75, 2.5], "1.2.3.4.3": [0.0, 2.4, 8.0]}


def test_a_map_says_what_its_values_are(tmp_path: Path) -> None:
    result = make_result(find_one(save_stack(make_stack(random_stack(5)), tmp_path / "in")))
    quantities = []
    for which in (0, 1):
        dataset = maps_of(result, which)
        assert dataset.pixel_array.dtype == np.uint16
        assert dataset.BurnedInAnnotation == "NO"
        (mapping,) = dataset.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence
        highest = float(result.maps[which].values.max())
        assert (mapping.RealWorldValueSlope, mapping.RealWorldValueIntercept) == (highest / 65535, 0.0)
        assert mapping.MeasurementUnitsCodeSequence[0].CodeValue == "1"
        assert (mapping.RealWorldValueFirstValueMapped, mapping.RealWorldValueLastValueMapped) == (0, 65535)
        window = dataset.SharedFunctionalGroupsSequence[0].FrameVOILUTSequence[0]
        assert float(window.WindowWidth) == 65535
        concept = mapping.QuantityDefinitionSequence[0].ConceptCodeSequence[0]
        quantities.append((concept.CodeValue, concept.CodingSchemeDesignator))
        (series,) = dataset.ReferencedSeriesSequence
        assert series.SeriesInstanceUID == "1.2.3.4"
        referred = {item.ReferencedSOPInstanceUID for item in series.ReferencedInstanceSequence}
        assert referred == {uid for uid, *_ in frames_of(dataset)}
    assert quantities == [("attention", "99SERIATIM"), ("130403", "DCM")]  # gradient-weighted class activation


@pytest.mark.parametrize(("values", "ends"), [
    ([0.25, 0.75], (0, 0.75)), ([-3.0, 1.0], (-3.0, 1.0)), ([-2.0, -1.0], (-2.0, 0.0)), ([0.0, 0.0], (0, 1)),
    ([1e-9, 3e-9], (0, 3e-9)),
])
def test_16_bits_are_within_half_a_step(values: list[float], ends: tuple[float, float]) -> None:
    told = np.concatenate([values, np.linspace(min(values), max(values), 9999)]).astype(np.float32)
    stored, slope, intercept = quantise(told)
    assert stored.dtype == np.uint16
    assert (intercept, intercept + slope * 65535) == pytest.approx(ends)
    assert np.abs(slope * stored + intercept - told).max() <= 0.5001 * slope
    assert slope <= 1.6e-5 * (ends[1] - ends[0])


def test_another_reader_finds_the_geometry_of_the_source(tmp_path: Path) -> None:
    from highdicom.pm.sop import pmread

    series = find_one(save_stack(make_stack(random_stack(5), orientation=OBLIQUE), tmp_path / "in"))
    values = np.random.default_rng(0).random((5, 6, 5)).astype(np.float32)
    result = make_result(series, maps=(SliceMaps(kind="gradcam", indices=tuple(range(5)), values=values, label=LABEL),))
    maps_of(result, 0).save_as(tmp_path / "map.dcm")
    volume = pmread(tmp_path / "map.dcm").get_volume()
    assert abs(np.sort(volume.array.ravel()) - np.sort(values.ravel())).max() < 1e-5  # the mapping is applied
    assert series.affine is not None
    assert sorted(volume.spacing) == pytest.approx(sorted(series.spacing_mm or ()))
    mine = {tuple(np.round((np.diag([-1, -1, 1, 1]) @ series.affine @ np.array([column, row, place, 1]))[:3], 4) + 0.0)
            for place in (0, 4) for row, column in ((0, 0), (5, 4))}
    theirs = {tuple(np.round((volume.affine @ np.array([place, row, column, 1]))[:3], 4) + 0.0)
              for place in (0, 4) for row, column in ((0, 0), (5, 4))}
    assert mine == theirs


def test_itk_knows_no_parametric_map_but_reads_all_that_is_in_one(tmp_path: Path) -> None:
    """The class alone is in its way: the same bytes as an enhanced CT have the geometry and the stored values."""
    series = find_one(save_stack(make_stack(random_stack(5), orientation=OBLIQUE), tmp_path / "in"))
    values = np.random.default_rng(0).random((5, 6, 5)).astype(np.float32)
    result = make_result(series, maps=(SliceMaps(kind="gradcam", indices=tuple(range(5)), values=values, label=LABEL),))
    dataset = maps_of(result, 0)
    dataset.save_as(tmp_path / "map.dcm")
    with pytest.raises(RuntimeError, match="Unable to determine ImageIO reader"):
        SimpleITK.ReadImage(tmp_path / "map.dcm")  # where this is read one day, docs/dicom_results.md can say so
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = EnhancedCTImageStorage
    dataset.save_as(tmp_path / "map.dcm")
    image = SimpleITK.ReadImage(tmp_path / "map.dcm")
    array = SimpleITK.GetArrayFromImage(image) * (float(values.max()) / 65535)
    for uid, index in zip(result.prediction.sop_instance_uids, range(5), strict=True):
        source = pydicom.dcmread(next(one.path for one in series.instances if one.sop_instance_uid == uid))
        place = image.TransformPhysicalPointToIndex([float(value) for value in source.ImagePositionPatient])
        assert place[:2] == (0, 0)
        np.testing.assert_allclose(array[place[2]], values[index], atol=1e-5)


@pytest.mark.parametrize("orientation", [AXIAL, CORONAL, OBLIQUE])
def test_a_map_becomes_an_image_of_simpleitk_at_its_place(tmp_path: Path, orientation: tuple[float, ...]) -> None:
    """As docs/dicom_results.md shows it; SimpleITK itself reads the series."""
    from highdicom.pm.sop import pmread

    series = find_one(save_stack(make_stack(random_stack(6), orientation=orientation), tmp_path / "in", seed=1))
    values = np.random.default_rng(0).random((3, 6, 5)).astype(np.float32)
    result = make_result(series, maps=(SliceMaps(kind="gradcam", indices=(1, 2, 4), values=values, label=LABEL),))
    maps_of(result, 0).save_as(tmp_path / "map.dcm")
    image = pmread(tmp_path / "map.dcm").get_volume(allow_missing_positions=True).to_simpleitk()
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(tmp_path / "in")))
    read = reader.Execute()
    found = SimpleITK.GetArrayFromImage(SimpleITK.Resample(image, read))
    for index, one in enumerate(series.instances):
        source = pydicom.dcmread(one.path)
        place = read.TransformPhysicalPointToIndex([float(value) for value in source.ImagePositionPatient])[2]
        expected = values[(1, 2, 4).index(index)] if index in (1, 2, 4) else np.zeros((6, 5))
        np.testing.assert_allclose(found[place], expected, atol=1e-4)


@pytest.mark.skipif(shutil.which("dcm2pnm") is None, reason="dcm2pnm of dcmtk is not installed")
def test_dcmtk_draws_the_frames(tmp_path: Path) -> None:
    result = make_result(find_one(save_stack(make_stack(random_stack(5)), tmp_path / "in")))
    dataset = maps_of(result, 1)
    dataset.save_as(tmp_path / "map.dcm")
    subprocess.run(["dcm2pnm", "--all-frames", "--set-window", "32767.5", "65535", "map.dcm", "map"], cwd=tmp_path,
                   check=True, capture_output=True, timeout=60)
    for number, (_, _, _, values) in enumerate(frames_of(dataset)):
        with Image.open(tmp_path / f"map.{number}.pgm") as picture:
            drawn = np.asarray(picture, dtype=float)
        assert drawn.shape == (6, 5)
        assert np.abs(drawn / 255 - values / result.maps[1].values.max()).max() < 0.01


def test_frames_of_an_enhanced_object_are_named(tmp_path: Path) -> None:
    places = np.array([[0.0, 0.0, 10.0], [0.0, 0.0, 5.0], [0.0, 0.0, 0.0]])  # stored from the top
    save(make_enhanced(random_stack(3), places, [{}, {}, {}], [1.0, 1.0, 1.0]), tmp_path / "in" / "a.dcm")
    result = make_result(find_one(tmp_path / "in"))
    numbers = {one.position: (one.frame or 0) + 1 for one in result.series.instances}
    assert numbers == {0.0: 3, 5.0: 2, 10.0: 1}
    for which in (0, 1):
        frames = frames_of(maps_of(result, which))
        assert {frame: place[2] for _, frame, place, _ in frames}.items() <= {3: 0.0, 2: 5.0, 1: 10.0}.items()
        assert len(frames) == len(result.maps[which].indices)
    keys = make_key_images(result, read_source(result.series))
    (item,) = find_items(keys, "IMAGE")
    assert list(item.ReferencedSOPSequence[0].ReferencedFrameNumber) == [1, 3]  # the top first


@pytest.mark.parametrize(("changed", "told"), [
    ({"FrameOfReferenceUID": None}, "MISSING_GEOMETRY"), ({"FrameOfReferenceUID": "none"}, "MISSING_GEOMETRY"),
])
def test_without_a_frame_of_reference_there_is_no_map(tmp_path: Path, changed: dict[str, Any], told: str) -> None:
    result = make_result(find_one(save_stack(make_stack(random_stack(5), **changed), tmp_path / "in")))
    with pytest.raises(InputError, match=told):
        maps_of(result, 0)


def test_frames_over_time_have_no_place_for_a_map(tmp_path: Path) -> None:
    save(make_cine(4), tmp_path / "in" / "clip.dcm")
    with pytest.raises(InputError, match="MISSING_GEOMETRY"):
        maps_of(make_result(find_one(tmp_path / "in")), 0)


def test_key_images_are_the_top_in_order_and_say_why(tmp_path: Path) -> None:
    result = make_result(find_one(save_stack(make_stack(random_stack(5)), tmp_path / "in", seed=1)), top=(3, 0, 4))
    keys = make_key_images(result, read_source(result.series))
    assert keys.Modality == "KO"
    assert keys.ConceptNameCodeSequence[0].CodeValue == "113000"  # of interest
    uids = [item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for item in find_items(keys, "IMAGE")]
    assert uids == [result.prediction.sop_instance_uids[index] for index in (3, 0, 4)]
    assert all("ReferencedFrameNumber" not in item.ReferencedSOPSequence[0] for item in find_items(keys, "IMAGE"))
    (text,) = find_items(keys, "TEXT", "113012")
    assert text.TextValue.startswith("3 of 5 images, the ends (model tiny, abababababab). Research use only")
    (study,) = keys.CurrentRequestedProcedureEvidenceSequence
    referred = [item.ReferencedSOPInstanceUID for item in study.ReferencedSeriesSequence[0].ReferencedSOPSequence]
    assert set(referred) == set(uids)


def find_series_with(tmp_path: Path, **values: Any) -> Series:
    return find_one(save_stack(make_stack(random_stack(3), **values), tmp_path / "in"))


def test_the_summary_is_the_picture(tmp_path: Path) -> None:
    result = make_result(find_series_with(tmp_path))
    dataset = make_summary(result, read_source(result.series))
    dataset.save_as(tmp_path / "summary.dcm")
    read = pydicom.dcmread(tmp_path / "summary.dcm")
    assert result.picture is not None
    np.testing.assert_array_equal(read.pixel_array, result.picture)
    assert (read.PhotometricInterpretation, read.ConversionType, read.Modality) == ("RGB", "DI", "OT")
    assert read.ImageType[:2] == ["DERIVED", "SECONDARY"]
    assert [item.ReferencedSOPInstanceUID for item in read.SourceImageSequence] == [
        result.prediction.sop_instance_uids[index] for index in (0, 2)]
    assert "Research use only" in read.ImageComments


@pytest.mark.parametrize(("stated", "told"), [("YES", "YES"), ("NO", "NO"), (None, "NO")])
def test_text_in_the_pixels_of_the_source_is_text_in_the_summary(
    tmp_path: Path, stated: str | None, told: str
) -> None:
    result = make_result(find_series_with(tmp_path, **({} if stated is None else {"BurnedInAnnotation": stated})))
    assert make_summary(result, read_source(result.series)).BurnedInAnnotation == told


def test_of_pictures_that_often_show_text_nothing_is_claimed(tmp_path: Path) -> None:
    save(make_cine(4, Modality="US", SOPClassUID="1.2.840.10008.5.1.4.1.1.3.1"), tmp_path / "in" / "clip.dcm")
    result = make_result(find_one(tmp_path / "in"))
    dataset = make_summary(result, read_source(result.series))
    assert "BurnedInAnnotation" not in dataset
    (item,) = dataset.SourceImageSequence
    assert list(item.ReferencedFrameNumber) == [1, 4]
