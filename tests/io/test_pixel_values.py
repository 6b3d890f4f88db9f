"""Stored -> real-world values of DICOM pixels, against pydicom, dcmtk and arithmetic."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dicom_files import item, make_slice, make_stack, random_stack, save, save_stack
from PIL import Image
from pydicom import dcmread
from pydicom.pixels import apply_color_lut, apply_modality_lut
from pydicom.uid import UID, ExplicitVRBigEndian

from seriatim.io import find_series, read, read_volume
from seriatim.io.dicom_pixels.read import read_dicom
from seriatim.series import Volume

US = {"Modality": "US", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.6.1", "RescaleSlope": None, "RescaleIntercept": None}
EIGHT = {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7}


def read_one(path: Path, dataset: Any) -> Volume:
    (volume,) = read(save(dataset, path / "a.dcm"))
    return volume


def read_slowly(path: Path, monkeypatch: pytest.MonkeyPatch) -> Volume:
    """Without the quick ways: every header by pydicom, every slice through the general path."""
    (series,) = find_series(path).series
    with monkeypatch.context() as patch:
        patch.setattr("seriatim.io.dicom.heads.KnownHeads.walk", lambda self, file: None)
        patch.setattr("seriatim.io.dicom_pixels.file.find_layout", lambda dataset: None)
        return read_dicom(series)


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("intercept", [0, -1024, 5, -32768, 40000, 0.5])
@pytest.mark.parametrize(("bits", "overlay"), [(12, False), (12, True), (16, False)])
def test_the_quick_way_gives_what_the_general_way_gives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, signed: bool, intercept: float, bits: int, overlay: bool
) -> None:
    rng = np.random.default_rng(5)
    low, high = (-(1 << bits - 1), 1 << bits - 1) if signed else (0, 1 << bits)
    stored = rng.integers(low, high, (6, 9, 8))
    stored[1], stored[2, 0, 0], stored[3, 0, 0] = 7, low, high - 1
    raw = (stored & ((1 << bits) - 1)) | (0x5000 if overlay else 0) if overlay else stored
    datasets = make_stack(raw.astype("<u2" if overlay or not signed else "<i2"), RescaleIntercept=intercept,
                          BitsStored=bits, HighBit=bits - 1, PixelRepresentation=int(signed))
    datasets[4].RescaleIntercept = intercept + 1
    folder = save_stack(datasets, tmp_path, seed=3)
    (quick,) = read(folder)
    slow = read_slowly(folder, monkeypatch)
    assert quick.array.dtype == slow.array.dtype
    assert quick.array.tobytes() == slow.array.tobytes()
    offsets = np.full((6, 1, 1), float(intercept))
    offsets[4] += 1
    np.testing.assert_array_equal(quick.array, (stored + offsets).astype(np.float32))


def test_a_quick_file_must_still_be_the_one_discovered(tmp_path: Path) -> None:
    datasets = make_stack(random_stack(6))
    folder = save_stack(datasets, tmp_path)
    (series,) = find_series(folder).series
    path = series.instances[4].path
    whole = path.read_bytes()
    for change, match in ((whole.replace(b"1.2.3.4.5\0", b"1.2.3.4.7\0"), "changed"), (whole[:-2], "truncated")):
        path.write_bytes(change)
        with pytest.raises(Exception, match=match):
            read_volume(series)


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("first", [-10, 0, 20])
def test_a_modality_lut_equals_pydicoms(tmp_path: Path, signed: bool, depth: int, first: int) -> None:
    if first < 0 and not signed:
        pytest.skip("unsigned pixels have no negative first value")
    stored = np.arange(-16, 48).reshape(8, 8).astype("<i2") if signed else np.arange(64).reshape(8, 8).astype("<u2")
    table = np.random.default_rng(0).integers(0, 1 << depth, 32).astype("<u2")
    dataset = make_slice(stored, (0, 0, 0), RescaleSlope=None, RescaleIntercept=None, PixelRepresentation=int(signed))
    dataset.ModalityLUTSequence = item(ModalityLUTType="HU")
    lut = dataset.ModalityLUTSequence[0]
    lut.add_new("LUTDescriptor", "SS" if signed else "US", [32, first, depth])
    lut.add_new("LUTData", "OW", table.tobytes())
    volume = read_one(tmp_path, dataset)
    expected = table[np.clip(stored.astype(int) - first, 0, 31)]
    np.testing.assert_array_equal(volume.array[0], expected)
    np.testing.assert_array_equal(volume.array[0], apply_modality_lut(stored, dcmread(tmp_path / "a.dcm")))


@pytest.mark.parametrize("depth", [8, 16])
def test_a_palette_equals_pydicoms_and_dcmtks(tmp_path: Path, depth: int) -> None:
    stored = np.arange(64, dtype=np.uint8).reshape(8, 8)
    dataset = make_slice(stored, None, PhotometricInterpretation="PALETTE COLOR", **EIGHT, **US)
    rng = np.random.default_rng(1)
    tables = rng.integers(0, 1 << depth, (3, 40))
    for name, table in zip(("Red", "Green", "Blue"), tables, strict=True):
        setattr(dataset, f"{name}PaletteColorLookupTableDescriptor", [40, 10, depth])
        data = table.astype("u1" if depth == 8 else "<u2").tobytes()
        setattr(dataset, f"{name}PaletteColorLookupTableData", data)
    volume = read_one(tmp_path, dataset)
    expected = (tables >> (depth - 8))[:, np.clip(stored.astype(int) - 10, 0, 39)].transpose(1, 2, 0)
    np.testing.assert_array_equal(volume.array[0], expected)
    colours = apply_color_lut(stored, dcmread(tmp_path / "a.dcm"))
    np.testing.assert_array_equal(volume.array[0], colours >> (depth - 8))
    if shutil.which("dcm2pnm"):
        picture = tmp_path / "a.ppm"
        subprocess.run(["dcm2pnm", tmp_path / "a.dcm", picture], check=True, capture_output=True)
        np.testing.assert_array_equal(volume.array[0], np.asarray(Image.open(picture)))


def test_a_palette_of_16_bits_with_values_of_8_is_not_black(tmp_path: Path) -> None:
    """A common fault of writers; dcmtk reads it the same way."""
    stored = np.arange(64, dtype=np.uint8).reshape(8, 8)
    dataset = make_slice(stored, None, PhotometricInterpretation="PALETTE COLOR", **EIGHT, **US)
    for name in ("Red", "Green", "Blue"):
        setattr(dataset, f"{name}PaletteColorLookupTableDescriptor", [64, 0, 16])
        setattr(dataset, f"{name}PaletteColorLookupTableData", (np.arange(64) * 4).astype("<u2").tobytes())
    np.testing.assert_array_equal(read_one(tmp_path, dataset).array[0, ..., 1], stored * 4)


@pytest.mark.parametrize("keyword", ["FloatPixelData", "DoubleFloatPixelData"])
def test_floating_point_pixels_are_read(tmp_path: Path, keyword: str) -> None:
    values = np.random.default_rng(0).normal(0, 1, (7, 5)).astype("<f4" if keyword == "FloatPixelData" else "<f8")
    bits = values.dtype.itemsize * 8
    dataset = make_slice(random_stack(1, 7, 5)[0], (0, 0, 0), PixelData=None, RescaleIntercept=0, BitsAllocated=bits)
    for name in ("BitsStored", "HighBit", "PixelRepresentation"):
        delattr(dataset, name)
    setattr(dataset, keyword, values.tobytes())
    np.testing.assert_array_equal(read_one(tmp_path, dataset).array[0], values.astype(np.float32))


def test_bits_odd_rows_and_wide_integers_are_read(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    bits = rng.integers(0, 2, (5, 7)).astype(np.uint8)
    packed = np.packbits(bits, bitorder="little", axis=None).tobytes()
    packed += bytes(len(packed) % 2)
    one = make_slice(bits, None, PixelData=packed, BitsAllocated=1, BitsStored=1, HighBit=0, **US)
    np.testing.assert_array_equal(read_one(tmp_path / "1", one).array[0], bits)
    odd = rng.integers(0, 256, (5, 7)).astype(np.uint8)
    eight = make_slice(odd, None, PixelData=odd.tobytes() + b"\0", **EIGHT, **US)
    np.testing.assert_array_equal(read_one(tmp_path / "8", eight).array[0], odd)
    wide = rng.integers(0, 1 << 31, (4, 6)).astype("<u4")
    wide[0, 0] = 2**24 + 1
    dataset = make_slice(wide, (0, 0, 0), BitsAllocated=32, BitsStored=32, HighBit=31, RescaleIntercept=0)
    found = read_one(tmp_path / "32", dataset).array
    assert found.dtype.kind == "i"
    np.testing.assert_array_equal(found[0], wide)


@pytest.mark.parametrize("vr", ["OB", "OW"])
def test_big_endian_bytes_are_in_their_order(tmp_path: Path, vr: str) -> None:
    pixels = np.random.default_rng(2).integers(0, 256, (6, 8)).astype(np.uint8)
    data = pixels.tobytes() if vr == "OB" else pixels.view("<u2").byteswap().tobytes()
    dataset = make_slice(pixels, None, PixelData=data, **EIGHT, **US)
    dataset["PixelData"].VR = vr
    dataset.file_meta.TransferSyntaxUID = UID(ExplicitVRBigEndian)
    np.testing.assert_array_equal(read_one(tmp_path, dataset).array[0], pixels)
    np.testing.assert_array_equal(dcmread(tmp_path / "a.dcm").pixel_array, pixels)


@pytest.mark.parametrize("planar", [0, 1])
@pytest.mark.parametrize("photometric", ["RGB", "YBR_FULL", "YBR_FULL_422"])
def test_plain_colours_equal_pydicoms(tmp_path: Path, planar: int, photometric: str) -> None:
    if planar and photometric == "YBR_FULL_422":
        pytest.skip("422 is interleaved")
    pixels = np.random.default_rng(2).integers(0, 256, (6, 8, 3)).astype(np.uint8)
    data = np.moveaxis(pixels, 2, 0).tobytes() if planar else pixels.tobytes()
    data = data[: 6 * 8 * 2] if photometric == "YBR_FULL_422" else data
    dataset = make_slice(pixels, None, PixelData=data, SamplesPerPixel=3, PlanarConfiguration=planar, Rows=6, Columns=8,
                         PhotometricInterpretation=photometric, **EIGHT, **US)
    volume = read_one(tmp_path, dataset)
    reference = dcmread(tmp_path / "a.dcm")
    np.testing.assert_array_equal(volume.array[0], reference.pixel_array)
    if photometric == "RGB":
        np.testing.assert_array_equal(volume.array[0], pixels)


def test_a_slope_of_many_digits_is_applied_in_double_precision(tmp_path: Path) -> None:
    stored = random_stack(1)[0]
    dataset = make_slice(stored, (0, 0, 0), RescaleSlope="0.00152590218967", RescaleIntercept="-3.3333333333333")
    expected = (stored.astype(np.float64) * 0.00152590218967 - 3.3333333333333).astype(np.float32)
    np.testing.assert_array_equal(read_one(tmp_path, dataset).array[0], expected)


def test_padding_is_a_range_of_each_slice_in_its_own_values(tmp_path: Path) -> None:
    stored = random_stack(4).astype("<i2")
    stored[:, 0, 0], stored[:, 0, 1] = -2000, -1990
    datasets = make_stack(stored, PixelRepresentation=1)
    for index, dataset in enumerate(datasets):
        dataset.RescaleSlope, dataset.RescaleIntercept = index + 1, 0.5
        if index < 3:
            dataset.add_new("PixelPaddingValue", "US", 63536)  # -2000 written as unsigned
        if index == 2:
            dataset.add_new("PixelPaddingRangeLimit", "SS", -1990)
    (volume,) = read(save_stack(datasets, tmp_path, seed=1))
    assert volume.padding is not None
    expected = [[-1999.5, -1999.5], [-3999.5, -3999.5], [-5999.5, -5969.5], [np.nan, np.nan]]
    np.testing.assert_array_equal(volume.padding, expected)
    mask = volume.find_padding()
    assert mask is not None
    assert mask.sum(axis=(1, 2)).tolist() == [1, 1, 2, 0]
    assert mask[2, 0, :2].all()
