"""What a radiologist sees: exact window values, the radiological view, square pixels, right letters."""

from pathlib import Path

import numpy as np
import pytest
import torch

from seriatim.explanation.display import LONGEST_SIDE, fit_heat, show_slices
from seriatim.series import Instance, Series, Volume


def volume_of(array, *, affine=None, modality="MR", inverted=False, spacing_mm=None):
    array = np.asarray(array)
    instances = tuple(
        Instance(path=Path("a"), sop_instance_uid=f"1.{i}", frame=None, position=float(i)) for i in range(len(array))
    )
    series = Series(
        study_uid="1", series_uid="2", modality=modality, axis="space", format="dicom", path=Path("a"), affine=affine,
        instances=instances, rows=array.shape[1], columns=array.shape[2], spacing_mm=spacing_mm,
    )
    return Volume(array=array, affine=affine, positions=series.positions, series=series, inverted=inverted)


def affine_of(column, row, step, *, spacing=(1.0, 1.0, 1.0)):
    affine = np.eye(4)
    affine[:3, :3] = np.stack([column, row, step], axis=1) * np.array(spacing)
    return affine


R, A, S = np.eye(3)
L, P, I = -R, -A, -S  # noqa: E741


def test_window_values_are_exact():
    hu = np.array([[[-1000, 0, 1, 20], [40, 60, 80, 3000]]], dtype=np.int16)
    view = show_slices(volume_of(hu, modality="CT"), [0], window_hu=(40, 80))
    assert view.images.tolist() == [[[0, 0, 3, 64], [128, 191, 255, 255]]]
    assert view.window_text == "L 40 W 80 HU"
    assert view.letters is None


def test_ct_without_a_window_gets_soft_tissue():
    view = show_slices(volume_of(np.array([[[-160, 240]]], dtype=np.int16), modality="CT"), [0])
    assert view.images.tolist() == [[[0, 255]]]
    assert view.window_text == "L 40 W 400 HU"


def test_other_values_lie_between_percentiles_of_the_whole_series():
    values = np.zeros((10, 10, 10), dtype=np.float32)
    values[5:] = 1000.0
    values[0, 0, 0] = 1e9  # one hot pixel must not make everything black
    values[0, 0, 1] = np.nan
    images = show_slices(volume_of(values), [0, 7]).images
    assert images[0, 5, 5] == 0
    assert images[0, 0, 0] == 255
    assert images[0, 0, 1] == 0
    assert (images[1] == 255).all()


def test_eight_bit_values_are_shown_as_stored():
    stored = np.arange(60, dtype=np.uint8).reshape(1, 6, 10)
    view = show_slices(volume_of(stored, modality="US"), [0])
    assert (view.images == stored).all()
    assert view.window_text == ""


def test_monochrome1_is_turned_to_bright_is_high():
    stored = np.array([[[0, 100, 255]]], dtype=np.uint8)
    assert show_slices(volume_of(stored, inverted=True), [0]).images.tolist() == [[[255, 155, 0]]]


def test_constant_slices_do_not_divide_by_zero():
    assert show_slices(volume_of(np.full((2, 4, 4), 7, dtype=np.int16)), [0]).images.shape == (1, 4, 4)


@pytest.mark.parametrize(
    ("affine", "letters"),
    [
        (affine_of(L, P, S), ("R", "L", "A", "P")),  # axial as DICOM stores it
        (affine_of(R, A, S), ("R", "L", "A", "P")),  # axial as NIfTI stores it
        (affine_of(A, R, S), ("R", "L", "A", "P")),  # axial, rows and columns exchanged
        (affine_of(L, I, A), ("R", "L", "S", "I")),  # coronal
        (affine_of(R, S, A), ("R", "L", "S", "I")),
        (affine_of(P, I, R), ("A", "P", "S", "I")),  # sagittal
        (affine_of(S, A, L), ("A", "P", "S", "I")),
    ],
)
def test_any_stored_order_gives_the_radiological_view(affine, letters):
    """A volume whose values say where they are, stored in any order, is shown with its directions at the letters."""
    direction = {"R": R, "L": L, "A": A, "P": P, "S": S, "I": I}
    index = np.moveaxis(np.indices((5, 4, 3)), 0, -1)  # slice, row, column
    world = index[..., ::-1] @ affine[:3, :3].T
    left, right, top, bottom = letters
    for towards, axis in ((right, 1), (bottom, 0)):
        values = (world @ direction[towards]).astype(np.float32)
        view = show_slices(volume_of(values, affine=affine), [2])
        assert view.letters == letters
        assert (np.diff(view.images[0].astype(int), axis=axis) > 0).all()
    assert left != right
    assert top != bottom


@pytest.mark.parametrize(
    ("affine", "shape"),
    [
        (affine_of(L, P, S, spacing=(0.5, 1.5, 5)), (12, 6)),  # 1.5 mm tall pixels: 4 rows become 12
        (affine_of(P, L, S, spacing=(0.5, 1.5, 5)), (6, 12)),  # the same, turned
    ],
)
def test_pixels_become_square(affine, shape):
    assert show_slices(volume_of(np.zeros((2, 4, 6), dtype=np.int16), affine=affine), [0]).images.shape[1:] == shape


def test_spacing_without_orientation_also_makes_pixels_square():
    flat = volume_of(np.zeros((1, 4, 6), dtype=np.uint8), spacing_mm=(2.0, 1.0, 1.0))
    assert show_slices(flat, [0]).images.shape == (1, 4, 12)


def test_large_and_colour_images_are_scaled_down():
    colour = np.zeros((2, 1500, 3000, 3), dtype=np.uint8)
    colour[..., 1] = 200
    images = show_slices(volume_of(colour), [1]).images
    assert images.shape == (1, LONGEST_SIDE // 2, LONGEST_SIDE, 3)
    assert images[0, 9, 9].tolist() == [0, 200, 0]


def test_heat_lies_where_the_image_lies():
    affine = affine_of(L, P, S, spacing=(1, 2, 5))
    stored = np.zeros((1, 20, 40), dtype=np.uint8)
    stored[0, 10:14, 30:34] = 255
    images = show_slices(volume_of(stored, affine=affine), [0]).images
    heat = fit_heat(torch.from_numpy(stored / 255.0), images=images)
    assert heat.shape == images.shape == (1, 40, 40)
    assert np.abs(heat * 255 - images).max() <= 1
