"""Colour of cine clips: RGB, YBR and palettes, in every layout, against colours known before they were stored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dicom_files import make_slice, save
from pydicom.dataset import Dataset
from pydicom.uid import RLELossless

from seriatim.io import find_series, read_volume

COUNT, ROWS, COLUMNS = 3, 4, 6


def make_clip(pixels: bytes, **values: Any) -> Dataset:
    base = {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.3.1", "Modality": "US", "ImageOrientationPatient": None,
            "RescaleSlope": None, "RescaleIntercept": None, "NumberOfFrames": COUNT, "BitsAllocated": 8,
            "BitsStored": 8, "HighBit": 7, "SamplesPerPixel": 3, "PhotometricInterpretation": "RGB",
            "PlanarConfiguration": 0, "FrameTime": 40, "PixelData": pixels}
    return make_slice(np.zeros((COUNT, ROWS, COLUMNS), dtype=np.uint8), None, **{**base, **values})


def read_clip(dataset: Dataset, folder: Path) -> np.ndarray:
    save(dataset, folder / "clip.dcm")
    (series,) = find_series(folder).series
    np.testing.assert_allclose(series.positions, [0, 0.04, 0.08])
    return read_volume(series).array


def random_colours() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (COUNT, ROWS, COLUMNS, 3)).astype(np.uint8)


def to_ybr(colours: np.ndarray) -> np.ndarray:
    """PS3.3 C.7.6.3.1.2, unrounded."""
    matrix = np.array([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]])
    return colours @ matrix.T + [0, 128, 128]


@pytest.mark.parametrize("planar", [0, 1])
def test_rgb_is_read_in_both_planar_configurations(tmp_path: Path, planar: int) -> None:
    colours = random_colours()
    stored = np.moveaxis(colours, 3, 1) if planar else colours
    array = read_clip(make_clip(stored.tobytes(), PlanarConfiguration=planar), tmp_path)
    np.testing.assert_array_equal(array, colours)


@pytest.mark.parametrize("planar", [0, 1])
def test_ybr_becomes_the_rgb_it_was(tmp_path: Path, planar: int) -> None:
    colours = random_colours()
    ybr = np.clip(np.rint(to_ybr(colours)), 0, 255).astype(np.uint8)
    stored = np.moveaxis(ybr, 3, 1) if planar else ybr
    dataset = make_clip(stored.tobytes(), PlanarConfiguration=planar, PhotometricInterpretation="YBR_FULL")
    np.testing.assert_allclose(read_clip(dataset, tmp_path).astype(int), colours, atol=2)


def test_halved_chroma_becomes_the_rgb_it_was(tmp_path: Path) -> None:
    colours = np.repeat(random_colours()[:, :, ::2], 2, axis=2)  # pairs of one colour lose nothing
    ybr = np.clip(np.rint(to_ybr(colours)), 0, 255).astype(np.uint8)
    pairs = np.stack([ybr[:, :, ::2, 0], ybr[:, :, 1::2, 0], ybr[:, :, ::2, 1], ybr[:, :, ::2, 2]], axis=-1)
    dataset = make_clip(pairs.tobytes(), PhotometricInterpretation="YBR_FULL_422")
    np.testing.assert_allclose(read_clip(dataset, tmp_path).astype(int), colours, atol=2)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("first", [0, 10])
def test_a_palette_gives_every_frame_its_colours(tmp_path: Path, bits: int, first: int) -> None:
    rng = np.random.default_rng(1)
    stored = rng.integers(0, 256, (COUNT, ROWS, COLUMNS)).astype(np.uint8)
    table = rng.integers(0, 256, (3, 100)).astype(np.uint8)  # shorter than the range: what is outside takes its ends
    values: dict[str, Any] = {"SamplesPerPixel": 1, "PhotometricInterpretation": "PALETTE COLOR"}
    for name, entries in zip(("Red", "Green", "Blue"), table, strict=True):
        wide = entries.astype("<u2") * 257 if bits == 16 else entries
        values[f"{name}PaletteColorLookupTableDescriptor"] = [100, first, bits]
        values[f"{name}PaletteColorLookupTableData"] = wide.tobytes()
    array = read_clip(make_clip(stored.tobytes(), **values), tmp_path)
    expected = np.moveaxis(table[:, np.clip(stored.astype(int) - first, 0, 99)], 0, -1)
    np.testing.assert_array_equal(array, expected)


def test_run_length_coded_colour_frames_keep_their_place(tmp_path: Path) -> None:
    colours = random_colours()
    dataset = make_clip(colours.tobytes())
    dataset.compress(RLELossless, generate_instance_uid=False)
    np.testing.assert_array_equal(read_clip(dataset, tmp_path), colours)


def test_grey_frames_stay_grey(tmp_path: Path) -> None:
    grey = random_colours()[..., 0]
    values = {"SamplesPerPixel": 1, "PhotometricInterpretation": "MONOCHROME2"}
    np.testing.assert_array_equal(read_clip(make_clip(grey.tobytes(), **values), tmp_path), grey)
