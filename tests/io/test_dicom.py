"""DICOM series -> volumes: order, direction, values, splitting, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from dicom_files import (
    AXIAL,
    CORONAL,
    SAGITTAL,
    item,
    make_enhanced,
    make_slice,
    make_stack,
    random_stack,
    save,
    save_stack,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.encaps import encapsulate
from pydicom.pixels import get_encoder
from pydicom.uid import UID

from seriatim.errors import DecoderError, InputError
from seriatim.io import find_series, read, read_volume
from seriatim.io.dicom_pixels.codecs import check_decoder
from seriatim.io.isolation.limits import Limits
from seriatim.series import Code, Series, Volume

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def only(path: Path) -> Series:
    (series,) = find_series(path).series
    return series


def codes(series: Series) -> list[str]:
    return [str(finding.code) for finding in series.findings]


def world(volume: Volume, column: int, row: int, index: int) -> np.ndarray:
    assert volume.affine is not None
    return (volume.affine @ [column, row, index, 1])[:3]


def test_file_names_and_instance_numbers_carry_no_order(tmp_path: Path) -> None:
    stored = random_stack(12)
    plain = read(save_stack(make_stack(stored), tmp_path / "plain"))[0]
    for seed in range(5):
        shuffled = read(save_stack(make_stack(stored), tmp_path / str(seed), seed=seed))[0]
        assert shuffled.array.tobytes() == plain.array.tobytes()
        assert shuffled.array.dtype == plain.array.dtype
        np.testing.assert_array_equal(shuffled.affine, plain.affine)
        assert [one.sop_instance_uid for one in shuffled.series.instances] == [
            one.sop_instance_uid for one in plain.series.instances
        ]
    np.testing.assert_array_equal(plain.array, stored.astype(int) - 1024)
    assert plain.array.dtype == np.int16
    assert plain.series.spacing_mm == pytest.approx((0.75, 0.5, 2.5))


@settings(max_examples=30, deadline=None)
@given(st.sampled_from([AXIAL, CORONAL, SAGITTAL]), st.sampled_from([1, -1]), st.sampled_from([1, -1]), st.booleans())
def test_every_plane_and_sense_runs_the_same_way_through_the_anatomy(
    tmp_path_factory: pytest.TempPathFactory, plane: tuple[float, ...], column_sign: int, row_sign: int, swap: bool
) -> None:
    """The stored frame may be turned in 8 ways: slices still ascend to S, A or R, and no voxel leaves its place."""
    axes = [column_sign * np.array(plane[:3]), row_sign * np.array(plane[3:])]
    orientation = tuple(float(part) for part in np.concatenate(axes[::-1] if swap else axes))
    stored = random_stack(5)
    datasets = make_stack(stored, orientation=orientation)
    volume = read(save_stack(datasets, tmp_path_factory.mktemp("s"), seed=1))[0]
    assert volume.affine is not None
    step = volume.affine[:3, 2]
    assert step[np.argmax(np.abs(step))] > 0
    by_uid = {dataset.SOPInstanceUID: (dataset, pixels) for dataset, pixels in zip(datasets, stored, strict=True)}
    for index, instance in enumerate(volume.series.instances):
        dataset, pixels = by_uid[instance.sop_instance_uid]
        np.testing.assert_array_equal(volume.array[index], pixels.astype(int) - 1024)
        lps = (
            np.array(dataset.ImagePositionPatient)
            + 3 * 0.75 * np.array(orientation[:3])
            + 2 * 0.5 * np.array(orientation[3:])
        )
        np.testing.assert_allclose(world(volume, 3, 2, index), LPS_TO_RAS[:3, :3] @ lps, atol=1e-9)


def test_a_tilted_series_keeps_its_shear(tmp_path: Path) -> None:
    angle = np.radians(18.5)
    orientation = [1, 0, 0, 0, float(np.cos(angle)), float(-np.sin(angle))]
    datasets = [
        make_slice(pixels, (0, 0, 4 * index), ImageOrientationPatient=orientation)
        for index, pixels in enumerate(random_stack(6))
    ]
    volume = read(save_stack(datasets, tmp_path))[0]
    assert codes(volume.series) == ["GANTRY_TILT"]
    assert volume.series.findings[0].numbers["degrees"] == pytest.approx(18.5)
    np.testing.assert_allclose(world(volume, 0, 0, 5), [0, 0, 20], atol=1e-9)
    np.testing.assert_allclose(np.diff(volume.positions), 4 * np.cos(angle))


def test_slope_and_intercept_are_applied_per_slice(tmp_path: Path) -> None:
    stored = random_stack(4)
    datasets = make_stack(stored)
    for dataset, (slope, intercept) in zip(datasets, ((1, 0), (2, -5), (1.5, 0.25), (1, -1024)), strict=True):
        dataset.RescaleSlope, dataset.RescaleIntercept = slope, intercept
    volume = read(save_stack(datasets, tmp_path))[0]
    assert volume.array.dtype == np.float32
    expected = [stored[0], stored[1] * 2.0 - 5, stored[2] * 1.5 + 0.25, stored[3] - 1024.0]
    np.testing.assert_allclose(volume.array, expected, rtol=1e-6)


def test_whole_values_stay_integers_even_beside_wide_ones(tmp_path: Path) -> None:
    datasets = make_stack(random_stack(3))
    datasets[1].RescaleSlope = 100
    volume = read(save_stack(datasets, tmp_path))[0]
    assert volume.array.dtype == np.int32


def test_signed_pixels_in_twelve_bits_keep_their_sign(tmp_path: Path) -> None:
    stored = np.arange(-8, 8, dtype=np.int16).reshape(1, 4, 4) * 100
    values = {"BitsStored": 12, "HighBit": 11, "PixelRepresentation": 1, "RescaleIntercept": 0}
    masked = (stored.astype(np.int32) & 0x0FFF | 0x7000).astype("<u2")  # overlay bits above the stored ones
    volume = read(save(make_slice(masked[0], (0, 0, 0), **values), tmp_path / "a.dcm"))[0]
    np.testing.assert_array_equal(volume.array, stored)


@pytest.mark.parametrize("missing", range(1, 7))
def test_a_missing_slice_refuses_the_series(tmp_path: Path, missing: int) -> None:
    datasets = make_stack(random_stack(8))
    del datasets[missing]
    series = only(save_stack(datasets, tmp_path, seed=missing))
    assert codes(series) == ["GAP"]
    assert not series.usable
    assert "5 mm apart, expected 2.5 mm" in series.reason
    with pytest.raises(InputError, match="GAP"):
        read_volume(series)
    (kept,) = find_series(tmp_path, {Code.GAP: "keep"}).series
    assert kept.usable
    assert len(read_volume(kept).array) == 7


def test_an_unevenly_spaced_series_is_whole_for_scoring_and_in_exact_parts_for_read(tmp_path: Path) -> None:
    positions = [*np.arange(0, 20, 2.5), *np.arange(22.5, 48, 5)]
    datasets = [
        make_slice(pixels, (0, 0, z)) for pixels, z in zip(random_stack(len(positions)), positions, strict=True)
    ]
    series = only(save_stack(datasets, tmp_path, seed=2))
    assert codes(series) == ["UNEVEN_SPACING"]
    np.testing.assert_allclose(read_volume(series).positions, positions)
    parts = read(tmp_path)
    assert [part.series.volume for part in parts] == ["part 1 of 2", "part 2 of 2"]
    found = [world(part, 0, 0, index)[2] for part in parts for index in range(len(part.array))]
    np.testing.assert_allclose(found, positions)
    np.testing.assert_array_equal(np.concatenate([part.array for part in parts]), read_volume(series).array)


def test_copies_of_a_slice_are_left_out(tmp_path: Path) -> None:
    datasets = make_stack(random_stack(6))
    save_stack(datasets, tmp_path)
    save(datasets[2], tmp_path / "copy.dcm")
    datasets[4].SOPInstanceUID = "1.2.3.4.99"  # sent again under a new UID
    save(datasets[4], tmp_path / "resent.dcm")
    inventory = find_series(tmp_path)
    (series,) = inventory.series
    assert series.usable
    assert len(series.instances) == 6
    assert set(codes(series)) == {"DUPLICATE_SLICE"}
    assert len(inventory.skipped) == 2


def test_another_slice_at_the_same_position_refuses_the_series(tmp_path: Path) -> None:
    datasets = make_stack(random_stack(6))
    extra = make_slice(random_stack(1, seed=9)[0], datasets[2].ImagePositionPatient, InstanceNumber=7)
    series = only(save_stack([*datasets, extra], tmp_path))
    assert codes(series) == ["DUPLICATE_POSITION"]
    assert not series.usable


@pytest.mark.parametrize(
    ("keyword", "values"),
    [
        ("EchoTime", [2.3, 4.6]),
        ("DiffusionBValue", [0.0, 1000.0]),
        ("TemporalPositionIdentifier", [1, 2]),
        ("AcquisitionNumber", [1, 2]),
        ("ConvolutionKernel", ["B30", "B70"]),
    ],
)
def test_volumes_in_one_series_are_told_apart(tmp_path: Path, keyword: str, values: list[object]) -> None:
    stacks = [random_stack(5, seed=seed) for seed in (1, 2)]
    for number, (stored, value) in enumerate(zip(stacks, values, strict=True)):
        datasets = make_stack(stored, **{keyword: value})
        for index, dataset in enumerate(datasets):
            dataset.SOPInstanceUID = f"1.2.3.4.{number}.{index + 1}"
        save_stack(datasets, tmp_path / str(number), seed=number)
    volumes = read(tmp_path)
    assert len(volumes) == 2
    assert len({volume.series.volume for volume in volumes}) == 2
    for volume, stored in zip(volumes, stacks, strict=True):
        np.testing.assert_array_equal(volume.array, stored.astype(int) - 1024)


@pytest.mark.parametrize("by_place", [False, True])
def test_repeats_are_told_apart_by_runs_of_instance_numbers(tmp_path: Path, by_place: bool) -> None:
    stacks = np.stack([random_stack(5, seed=seed) for seed in range(3)])
    for repeat, stored in enumerate(stacks):
        for place, dataset in enumerate(make_stack(stored)):
            dataset.InstanceNumber = place * 3 + repeat + 1 if by_place else repeat * 5 + place + 1
            dataset.SOPInstanceUID = f"1.2.3.4.{repeat}.{place}"
            save(dataset, tmp_path / f"{(place * 7 + repeat * 3) % 16}.dcm")
    volumes = read(tmp_path)
    assert [volume.series.volume for volume in volumes] == ["t 1", "t 2", "t 3"]
    np.testing.assert_array_equal([volume.array for volume in volumes], stacks.astype(int) - 1024)


def test_a_scout_never_joins_a_volume(tmp_path: Path) -> None:
    save_stack(make_stack(random_stack(6)), tmp_path)
    scout = make_slice(
        random_stack(1, seed=3)[0],
        (0, 50, 0),
        ImageOrientationPatient=list(CORONAL),
        ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"],
    )
    save(scout, tmp_path / "scout.dcm")
    usable = [series for series in find_series(tmp_path).series if series.usable]
    refused = [series for series in find_series(tmp_path).series if not series.usable]
    assert [len(series.instances) for series in usable] == [6]
    assert [codes(series) for series in refused] == [["NOT_A_SERIES"]]


def test_series_in_one_folder_stay_apart(tmp_path: Path) -> None:
    first, second = random_stack(5, seed=1), random_stack(7, seed=2)
    datasets = [*make_stack(first), *make_stack(second, SeriesInstanceUID="1.2.3.5")]
    for index, dataset in enumerate(datasets):
        dataset.SOPInstanceUID = f"1.2.3.6.{index}"
    volumes = read(save_stack(datasets, tmp_path, seed=4))
    assert [len(volume.array) for volume in volumes] == [5, 7]
    np.testing.assert_array_equal(volumes[1].array, second.astype(int) - 1024)


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("RescaleSlope", b"NaN"),
        ("RescaleSlope", b"inf"),
        ("RescaleSlope", b"0"),
        ("RescaleSlope", b"abc"),
        ("RescaleIntercept", b"1e400"),
        ("ImagePositionPatient", b"0\\0\\nan"),
        ("ImagePositionPatient", b"0\\0"),
        ("PixelSpacing", b"0\\1"),
        ("PixelSpacing", b"-1\\1"),
        ("ImageOrientationPatient", b"1\\0\\0\\0\\2\\0"),
        ("ImageOrientationPatient", b"1\\0\\0\\1\\0\\0"),
        ("ImageOrientationPatient", b"0\\0\\0\\0\\0\\0"),
    ],
)
def test_a_value_that_cannot_be_refuses_the_series(tmp_path: Path, keyword: str, value: bytes) -> None:
    datasets = make_stack(random_stack(5))
    save_stack(datasets, tmp_path)
    path = tmp_path / "IM0000.dcm"
    setattr(
        datasets[0],
        keyword,
        {"RescaleSlope": 7, "RescaleIntercept": 7}.get(
            keyword, list(range(3, 9))[: {"ImagePositionPatient": 3, "PixelSpacing": 2}.get(keyword, 6)]
        ),
    )
    save(datasets[0], path)
    element = datasets[0][keyword]
    old = "\\".join(str(part) for part in (element.value if element.VM > 1 else [element.value])).encode()
    raw, tag = path.read_bytes(), element.tag
    key = tag.group.to_bytes(2, "little") + tag.element.to_bytes(2, "little") + b"DS"
    start = raw.index(key)
    length = int.from_bytes(raw[start + 6 : start + 8], "little")
    assert old in raw[start : start + 8 + length]
    value += b" " * (len(value) % 2)
    path.write_bytes(raw[: start + 6] + len(value).to_bytes(2, "little") + value + raw[start + 8 + length :])
    series = find_series(tmp_path).series
    assert any("BAD_VALUE" in codes(one) for one in series)
    for one in series:
        assert not one.usable or len(one.instances) == 4  # the others may stay; the broken slice never enters
        if one.usable:
            assert path not in {instance.path for instance in one.instances}


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_a_truncated_file_never_gives_pixels(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = save_stack(make_stack(random_stack(4)), tmp_path_factory.mktemp("cut"))
    series = only(folder)
    path = folder / "IM0002.dcm"
    raw = path.read_bytes()
    path.write_bytes(raw[: data.draw(st.integers(0, len(raw) - 1))])
    assert all(path not in {i.path for i in one.instances} for one in find_series(folder).series if one.usable)
    with pytest.raises(InputError):
        read_volume(series)


def test_one_corrupted_series_leaves_the_others_alone(tmp_path: Path) -> None:
    save_stack(make_stack(random_stack(5)), tmp_path / "good")
    save_stack(make_stack(random_stack(5), SeriesInstanceUID="1.2.3.5"), tmp_path / "bad")
    broken = tmp_path / "bad" / "IM0001.dcm"
    broken.write_bytes(broken.read_bytes()[:-20])
    good, bad = sorted(find_series(tmp_path).series, key=lambda one: not one.usable)
    assert good.usable
    assert good.path.name == "good"
    assert "TRUNCATED" in codes(bad)
    assert not bad.usable


def test_a_file_that_changed_since_discovery_is_not_read(tmp_path: Path) -> None:
    datasets = make_stack(random_stack(4))
    series = only(save_stack(datasets, tmp_path))
    datasets[1].SOPInstanceUID = "1.2.3.4.77"
    save(datasets[1], tmp_path / "IM0001.dcm")
    with pytest.raises(InputError, match="changed"):
        read_volume(series)


def test_slices_without_positions_are_refused_and_single_pictures_are_not(tmp_path: Path) -> None:
    save_stack([make_slice(pixels, None) for pixels in random_stack(3)], tmp_path / "ct")
    assert codes(only(tmp_path / "ct")) == ["MISSING_GEOMETRY", "BAD_VALUE"]  # nor do instance numbers order them
    values = {
        "Modality": "CR",
        "ImageOrientationPatient": None,
        "PhotometricInterpretation": "MONOCHROME1",
        "SOPClassUID": "1.2.840.10008.5.1.4.1.1.1",
        "RescaleIntercept": 0,
    }
    stored = random_stack(2)
    save_stack([make_slice(pixels, None, **values) for pixels in stored], tmp_path / "cr")
    volumes = read(tmp_path / "cr")
    assert [volume.array.shape for volume in volumes] == [(1, 6, 5)] * 2
    assert all(volume.inverted and volume.affine is None for volume in volumes)
    assert {volume.array.tobytes() for volume in volumes} == {pixels.astype(np.int16).tobytes() for pixels in stored}


def test_a_multi_frame_clip_is_ordered_by_time(tmp_path: Path) -> None:
    stored = random_stack(4)
    values = {
        "Modality": "US",
        "SOPClassUID": "1.2.840.10008.5.1.4.1.1.3.1",
        "NumberOfFrames": 4,
        "RescaleIntercept": 0,
    }
    clip = make_slice(stored, None, ImageOrientationPatient=None, FrameTimeVector=[0, 40, 60, 50], **values)
    volume = read(save(clip, tmp_path / "clip.dcm"))[0]
    assert volume.series.axis == "time"
    assert volume.affine is None
    np.testing.assert_allclose(volume.positions, [0, 0.04, 0.1, 0.15])
    np.testing.assert_array_equal(volume.array, stored)
    clip = make_slice(stored, None, ImageOrientationPatient=None, FrameTime=25, **values)
    np.testing.assert_allclose(read(save(clip, tmp_path / "clip.dcm"))[0].positions, [0, 0.025, 0.05, 0.075])


def test_an_enhanced_object_is_split_by_echo_and_rescaled_per_frame(tmp_path: Path) -> None:
    stored = random_stack(6)
    positions = np.array([(0, 0, z) for z in (5, 5, 0, 0, 10, 10)], dtype=float)
    traits = [{"MREchoSequence": item(EffectiveEchoTime=echo)} for echo in (2.0, 4.0) * 3]
    dataset = make_enhanced(stored, positions, traits, slopes=[1, 2, 3, 4, 5, 6])
    volumes = read(save(dataset, tmp_path / "a.dcm"))
    assert [volume.series.volume for volume in volumes] == ["echo 1", "echo 2"]
    for volume, frames in zip(volumes, ((2, 0, 4), (3, 1, 5)), strict=True):
        assert [instance.frame for instance in volume.series.instances] == list(frames)
        np.testing.assert_array_equal(volume.array, [stored[frame].astype(int) * (frame + 1) for frame in frames])
        assert volume.series.spacing_mm == pytest.approx((0.75, 0.5, 5))


def test_a_dose_grid_is_scaled_and_placed_by_its_offsets(tmp_path: Path) -> None:
    stored = random_stack(3)
    values = {"Modality": "RTDOSE", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.481.2", "NumberOfFrames": 3}
    dose = make_slice(stored, (1, 2, 3), GridFrameOffsetVector=[0, 4, 8], DoseGridScaling=0.001, **values)
    volume = read(save(dose, tmp_path / "dose.dcm"))[0]
    np.testing.assert_allclose(volume.array, stored * 0.001, rtol=1e-6)
    np.testing.assert_allclose(volume.positions, [3, 7, 11])


@pytest.mark.parametrize(("offsets", "orientation", "positions"), [
    ([3, 7, 11], (1, 0, 0, 0, 1, 0), [3, 7, 11]), ([3, -1, -5], (1, 0, 0, 0, -1, 0), [-5, -1, 3]),
    ([0, 4, 8], (1, 0, 0, 0, -1, 0), [-5, -1, 3]), ([-3, 1, 5], (1, 0, 0, 0, 1, 0), None),
])
def test_offsets_of_a_dose_grid_count_from_its_first_plane_or_are_places_in_the_patient(
        tmp_path: Path, offsets: list[float], orientation: tuple[float, ...], positions: list[float] | None) -> None:
    stored = random_stack(3)
    values = {"Modality": "RTDOSE", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.481.2", "NumberOfFrames": 3}
    dose = make_slice(stored, (1, 2, 3), GridFrameOffsetVector=offsets, DoseGridScaling=0.001,
                      ImageOrientationPatient=list(orientation), **values)
    (series,) = find_series(save(dose, tmp_path / "dose.dcm")).series
    assert series.usable == (positions is not None)
    if positions is not None:
        np.testing.assert_allclose(series.positions, positions)


def test_what_is_no_image_is_left_out_with_its_kind(tmp_path: Path) -> None:
    save(make_slice(random_stack(1)[0], (0, 0, 0), SOPClassUID="1.2.840.10008.5.1.4.1.1.66.4"), tmp_path / "seg.dcm")
    (tmp_path / "empty.dcm").touch()
    (tmp_path / ".DS_Store").write_bytes(b"x")
    (tmp_path / "labels.csv").write_text("a,b\n")
    inventory = find_series(tmp_path)
    assert inventory.series == ()
    assert {one.path.name: one.reason for one in inventory.skipped} == {
        "seg.dcm": "not an image: Segmentation Storage",
        "empty.dcm": "empty file",
        ".DS_Store": "hidden or system file",
        "labels.csv": "not an image",
    }
    with pytest.raises(InputError, match="Segmentation"):
        read(tmp_path)


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.90"])
def test_compressed_pixels_equal_the_plain_ones_and_cut_ones_are_an_error(tmp_path: Path, syntax: str) -> None:
    if not get_encoder(UID(syntax)).is_available:
        pytest.skip("the encoder is not installed")
    stored = random_stack(4, rows=64, columns=64)
    plain = read(save_stack(make_stack(stored), tmp_path / "plain"))[0]
    datasets = make_stack(stored, BitsStored=12, HighBit=11)
    for dataset in datasets:
        dataset.compress(syntax, generate_instance_uid=False)
    folder = save_stack(datasets, tmp_path / "packed", seed=1)
    packed = read(folder)[0]
    np.testing.assert_array_equal(packed.array, plain.array)
    first = packed.series.instances[0].path
    first.write_bytes(first.read_bytes()[:-40])
    assert not only(folder).usable
    with pytest.raises(DecoderError):
        read_volume(packed.series)


def test_a_missing_decoder_is_told_at_discovery_with_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(uid: UID) -> None:
        raise NotImplementedError(uid)

    dataset = make_slice(random_stack(1)[0], (0, 0, 0))
    dataset.PixelData = encapsulate([b"\xff\x0a a stream"])
    dataset["PixelData"].VR = "OB"
    dataset.file_meta.TransferSyntaxUID = UID("1.2.840.10008.1.2.4.201")
    path = save(dataset, tmp_path / "a.dcm")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr("seriatim.io.dicom_pixels.codecs.get_decoder", unknown)
    check_decoder.cache_clear()
    series = only(path)
    check_decoder.cache_clear()
    assert series.reason.startswith("DECODER_MISSING")
    assert "seriatim[codecs]" in series.reason


def test_a_screen_capture_is_a_row_and_no_slice(tmp_path: Path) -> None:
    save_stack(make_stack(random_stack(5)), tmp_path)
    values = {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7", "ImageOrientationPatient": None}
    save(make_slice(random_stack(1)[0], None, **values), tmp_path / "dose_report.dcm")
    found = find_series(tmp_path).series
    assert [len(one.instances) for one in found if one.usable] == [5]
    assert [codes(one) for one in found if not one.usable] == [["NOT_A_SERIES", "BURNED_IN_TEXT"]]


def test_a_copy_in_another_syntax_is_decoded_under_the_limits(tmp_path: Path) -> None:
    datasets = make_stack(random_stack(4, rows=64, columns=64))
    save_stack(datasets, tmp_path)
    datasets[1].compress("1.2.840.10008.1.2.5", generate_instance_uid=False)
    save(datasets[1], tmp_path / "packed.dcm")
    for limits in (None, Limits()):
        (series,) = find_series(tmp_path, limits=limits).series
        assert series.usable
        assert codes(series) == ["DUPLICATE_SLICE"]
        assert len(series.instances) == 4
