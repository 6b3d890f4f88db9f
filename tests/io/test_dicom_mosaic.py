"""Siemens mosaics: cut into slices that lie where the same slices lie one by one, or refused with the reason."""

from __future__ import annotations

import math
import shutil
import struct
import subprocess
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from dicom_files import AXIAL, CORONAL, make_slice, make_stack, random_stack, save, save_stack
from pydicom.dataset import Dataset

from seriatim.io import find_series, read_volume

SPACING = (0.75, 0.5)  # between rows, between columns
STEP = 4.0
ORIGIN = (-10.0, -20.0, 30.0)
OBLIQUE = (0.8, 0.6, 0.0, -0.36, 0.48, 0.8)


def make_csa(values: dict[str, list[str]]) -> bytes:
    """A CSA2 image header: named tags with text items."""
    body = b"SV10" + b"\4\3\2\1" + struct.pack("<II", len(values), 77)
    for name, items in values.items():
        body += struct.pack("<64si4siii", name.encode(), len(items), b"FD\0\0", 4, len(items), 77)
        for text in items:
            raw = text.encode() + b"\0"
            body += struct.pack("<4i", len(raw), len(raw), 77, len(raw)) + raw + b"\0" * (-len(raw) % 4)
    return body


def make_mosaic(stored: np.ndarray, *, orientation: tuple[float, ...] = AXIAL, sign: float = 1.0, number: int = 1,
                csa: dict[str, list[str]] | None = None, **values: Any) -> Dataset:
    """(S,H,W) slices as one picture, with the position of its corner."""
    count, rows, columns = stored.shape
    side = math.ceil(math.sqrt(count))
    picture = np.zeros((side * rows, side * columns), dtype=stored.dtype)
    for index, tile in enumerate(stored):
        row, column = divmod(index, side)
        picture[row * rows : (row + 1) * rows, column * columns : (column + 1) * columns] = tile
    axes = np.array(orientation).reshape(2, 3)
    corner = np.array(ORIGIN) - (side - 1) * columns / 2 * SPACING[1] * axes[0]
    corner = corner - (side - 1) * rows / 2 * SPACING[0] * axes[1]
    dataset = make_slice(picture, corner, **{
        "Modality": "MR", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.4", "ImageOrientationPatient": list(orientation),
        "ImageType": ["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"], "PixelSpacing": list(SPACING),
        "SpacingBetweenSlices": STEP, "InstanceNumber": number, "SOPInstanceUID": f"1.2.3.4.{number}",
        "AcquisitionNumber": number, "RescaleSlope": None, "RescaleIntercept": None, **values})
    normal = sign * np.cross(axes[0], axes[1])
    csa = {"SliceNormalVector": [f"{part:.8f}" for part in normal]} if csa is None else csa
    dataset.private_block(0x19, "SIEMENS MR HEADER", create=True).add_new(0x0A, "US", count)
    dataset.private_block(0x29, "SIEMENS CSA HEADER", create=True).add_new(0x10, "OB", make_csa(csa))
    return dataset


@pytest.mark.parametrize("orientation", [AXIAL, CORONAL, OBLIQUE])
@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("count", [5, 9])
def test_a_mosaic_is_the_slices_it_was_made_of(
    tmp_path: Path, orientation: tuple[float, ...], sign: float, count: int
) -> None:
    stored = random_stack(count, rows=4, columns=6)
    save(make_mosaic(stored, orientation=orientation, sign=sign), tmp_path / "mosaic" / "one.dcm")
    slices = make_stack(stored, orientation=orientation, step_mm=sign * STEP, origin=ORIGIN, PixelSpacing=list(SPACING),
                        RescaleIntercept=0)
    save_stack(slices, tmp_path / "slices", seed=3)
    (mosaic,), (plain,) = (find_series(tmp_path / name).series for name in ("mosaic", "slices"))
    assert mosaic.affine is not None
    np.testing.assert_allclose(mosaic.affine, plain.affine, atol=1e-6)
    np.testing.assert_allclose(mosaic.positions, plain.positions, atol=1e-6)
    assert (mosaic.rows, mosaic.columns) == (4, 6)
    np.testing.assert_array_equal(read_volume(mosaic).array, read_volume(plain).array)


def test_each_mosaic_of_a_series_is_one_time_point(tmp_path: Path) -> None:
    stored = [random_stack(5, seed=seed) for seed in range(3)]
    for number, one in enumerate(stored):
        save(make_mosaic(one, number=number + 1), tmp_path / f"{9 - number}.dcm")
    found = find_series(tmp_path).series
    assert [one.volume for one in found] == ["t 1", "t 2", "t 3"]
    for one, volume in zip(stored, found, strict=True):
        np.testing.assert_array_equal(read_volume(volume).array, one)


def test_the_count_of_the_csa_header_is_enough(tmp_path: Path) -> None:
    csa = {"SliceNormalVector": ["0", "0", "1"], "NumberOfImagesInMosaic": ["5"]}
    dataset = make_mosaic(random_stack(5), csa=csa)
    del dataset[0x0019100A]
    save(dataset, tmp_path / "one.dcm")
    assert len(find_series(tmp_path).series[0].instances) == 5


@pytest.mark.parametrize(("remove", "values", "csa"), [
    ([0x00291010], {}, None),
    ([0x0019100A], {}, {"SliceNormalVector": ["0", "0", "1"]}),
    ([0x0019100A, 0x00291010, 0x00190010, 0x00290010], {}, None),
    ([], {"SpacingBetweenSlices": None}, None),
    ([], {}, {"SliceNormalVector": ["1", "0", "0"]}),
    ([], {}, {"SliceNormalVector": ["0", "0"]}),
    ([], {"ImagePositionPatient": None}, None),
])
def test_a_mosaic_that_cannot_be_placed_is_refused(
    tmp_path: Path, remove: list[int], values: dict[str, Any], csa: dict[str, list[str]] | None
) -> None:
    dataset = make_mosaic(random_stack(5), csa=csa)
    for name in values:
        delattr(dataset, name)
    for tag in remove:
        del dataset[tag]
    save(dataset, tmp_path / "one.dcm")
    (series,) = find_series(tmp_path).series
    assert not series.usable
    assert series.reason.startswith("UNSUPPORTED: A mosaic")


def test_a_mosaic_without_its_word_is_still_one(tmp_path: Path) -> None:
    save(make_mosaic(random_stack(5), ImageType=["ORIGINAL", "PRIMARY"]), tmp_path / "one.dcm")
    assert len(find_series(tmp_path).series[0].instances) == 5


def test_a_damaged_csa_header_is_refused(tmp_path: Path) -> None:
    dataset = make_mosaic(random_stack(5))
    dataset[0x00291010].value = dataset[0x00291010].value[:60] + b"\xff" * 40
    save(dataset, tmp_path / "one.dcm")
    assert not find_series(tmp_path).series[0].usable


@pytest.mark.skipif(shutil.which("dcm2niix") is None, reason="needs dcm2niix, an independent reader of mosaics")
@pytest.mark.parametrize("orientation", [AXIAL, OBLIQUE])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_every_voxel_lies_where_dcm2niix_puts_it(tmp_path: Path, orientation: tuple[float, ...], sign: float) -> None:
    normal = sign * np.cross(*np.array(orientation).reshape(2, 3))
    csa = {"NumberOfImagesInMosaic": ["7"], "SliceNormalVector": [f"{part:.8f}" for part in normal]}
    stored = random_stack(7, rows=16, columns=16)
    dataset = make_mosaic(stored, orientation=orientation, sign=sign, csa=csa, Manufacturer="SIEMENS", SeriesNumber=3,
                          RepetitionTime=2000, EchoTime=30, InPlanePhaseEncodingDirection="COL")
    save(dataset, tmp_path / "in" / "one.dcm")
    command = ["dcm2niix", "-o", tmp_path, "-f", "out", tmp_path / "in"]
    subprocess.run([str(part) for part in command], check=True, capture_output=True)
    image = nib.load(tmp_path / "out.nii")
    volume = read_volume(find_series(tmp_path / "in").series[0])
    index = np.indices(volume.array.shape).reshape(3, -1)[::-1]  # column, row, slice
    to_other = np.linalg.inv(image.affine) @ volume.affine
    other = to_other[:3, :3] @ index + to_other[:3, 3:]
    np.testing.assert_allclose(other, np.rint(other), atol=0.02)
    values = np.asarray(image.dataobj)[tuple(np.rint(other).astype(int))]
    np.testing.assert_array_equal(values.reshape(volume.array.shape), volume.array)
