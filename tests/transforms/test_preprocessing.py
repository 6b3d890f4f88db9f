"""The network's input: orientation, in-plane grid, windows, neighbours."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from seriatim.errors import InputError
from seriatim.series import Instance, Series, Volume
from seriatim.transforms import AugmentationSettings, CTSettings, IntensitySettings

LPS = np.diag([-1.0, -1.0, 5.0, 1.0])  # columns run to the left, rows to posterior, slices to superior


def make_volume(array: np.ndarray, *, affine: np.ndarray | None = LPS, inverted: bool = False) -> Volume:
    count, rows, columns = array.shape[:3]
    spacing = None if affine is None else tuple(float(np.linalg.norm(affine[:3, axis])) for axis in range(3))
    instances = tuple(
        Instance(path=Path("x"), sop_instance_uid=f"1.{index}", frame=None, position=5.0 * index)
        for index in range(count)
    )
    series = Series(
        study_uid="1", series_uid="1.2", modality="CT", axis="space", format="dicom", path=Path("x"),
        instances=instances, rows=rows, columns=columns, affine=affine, spacing_mm=spacing,
    )  # fmt: skip
    return Volume(array=array, affine=affine, positions=series.positions, series=series, inverted=inverted)


def test_windows_are_exact_in_hu() -> None:
    array = np.full((2, 32, 32), 40, np.int16)
    array[1] = 80
    slices = CTSettings(size=32, windows_hu=((40, 80), (80, 200))).finish(
        CTSettings(size=32).prepare(make_volume(array))
    )
    assert slices.shape == (2, 2, 32, 32)
    assert torch.allclose(slices[0, 0], torch.full((32, 32), 0.5))
    assert torch.allclose(slices[1, 0], torch.ones(32, 32))
    assert torch.allclose(slices[0, 1], torch.full((32, 32), 0.3))


def test_values_beyond_the_window_and_padding_are_clipped() -> None:
    array = np.array([[[-2000, 3000]]], np.int16).repeat(32, axis=1).repeat(16, axis=2)
    slices = CTSettings(size=32).finish(CTSettings(size=32).prepare(make_volume(array)))
    assert float(slices.min()) == 0.0
    assert float(slices.max()) == 1.0


@pytest.mark.parametrize("turn", ["rows", "columns", "both", "transposed"])
def test_the_same_anatomy_stored_in_another_orientation_gives_the_same_input(turn: str) -> None:
    rng = np.random.default_rng(0)
    array = rng.integers(-100, 200, (3, 40, 40)).astype(np.int16)
    stored, affine = array, LPS.copy()
    if turn in ("rows", "both"):
        stored, affine = stored[:, ::-1], affine @ flip(1, 40)
    if turn in ("columns", "both"):
        stored, affine = stored[:, :, ::-1], affine @ flip(0, 40)
    if turn == "transposed":
        stored, affine = stored.swapaxes(1, 2), affine[:, [1, 0, 2, 3]]
    settings = CTSettings(size=32, windows_hu=((40, 400),))
    expected = settings.prepare(make_volume(array))
    assert torch.equal(settings.prepare(make_volume(np.ascontiguousarray(stored), affine=affine)), expected)


def flip(axis: int, count: int) -> np.ndarray:
    matrix = np.eye(4)
    matrix[axis, axis], matrix[axis, 3] = -1, count - 1
    return matrix


def test_non_square_pixels_keep_their_physical_aspect() -> None:
    affine = np.diag([-2.0, -1.0, 5.0, 1.0])  # columns 2 mm, rows 1 mm
    placement = CTSettings(size=64).placement(make_volume(np.zeros((1, 40, 40), np.int16), affine=affine))
    assert placement.scaled == (32, 64)
    turned = affine[:, [1, 0, 2, 3]]  # stored transposed: rows are 2 mm
    assert CTSettings(size=64).placement(make_volume(np.zeros((1, 40, 40), np.int16), affine=turned)).scaled == (32, 64)


def test_spacing_gives_every_pixel_that_size() -> None:
    settings = CTSettings(size=64, spacing_mm=0.5)
    placement = settings.placement(make_volume(np.zeros((1, 40, 40), np.int16)))
    assert placement.scaled == (80, 80)
    prepared = settings.prepare(make_volume(np.full((2, 40, 40), 50, np.int16)))
    assert prepared.shape == (2, 64, 64)
    assert torch.allclose(prepared, torch.full((2, 64, 64), 50.0), atol=1e-3)


@pytest.mark.parametrize("options", [{}, {"stretch": True}, {"spacing_mm": 0.7}, {"spacing_mm": 3.0}])
def test_a_map_on_the_networks_grid_goes_back_to_where_it_came_from(options: dict) -> None:
    array = np.full((1, 60, 90), -1000, np.int16)
    array[0, 20:26, 40:46] = 1000
    volume = make_volume(array)
    settings = CTSettings(size=96, **options)
    back = settings.placement(volume).invert(settings.prepare(volume) + 1000)[0]
    peak = np.unravel_index(int(back.argmax()), back.shape)
    assert back.shape == (60, 90)
    assert abs(peak[0] - 22.5) <= 3
    assert abs(peak[1] - 42.5) <= 3


@pytest.mark.parametrize("settings", [CTSettings, IntensitySettings])
def test_a_crop_around_the_content_keeps_what_lies_off_the_middle(settings: type) -> None:
    array = np.full((3, 100, 80), -1000, np.int16)
    array[:, 10:30, 5:35] = 40  # in the upper left corner, 20 x 30 mm
    array[1, 90, 60] = 40  # so little does not matter
    options = {"size": 40, "spacing_mm": 1.0, "centre": "content"}
    prepared = settings(**options).prepare(make_volume(array))
    shown = prepared[0] > float(prepared.min())
    rows, columns = (torch.nonzero(shown.any(dim=one)).flatten() for one in (1, 0))
    assert (int(rows[0]), int(rows[-1])) == (10, 29)  # the crop stops at the edge of the image
    assert (int(columns[0]), int(columns[-1])) == (5, 34)
    in_the_middle = settings(**{**options, "centre": "image"}).prepare(make_volume(array))
    assert not bool((in_the_middle[0, 10:] > float(in_the_middle.min())).any())
    mapped = settings(**options).placement(make_volume(array)).invert(shown[None].float())
    assert torch.equal(mapped[0] > 0.5, torch.as_tensor(array[0] > -1000))


def test_a_crop_is_centred_on_the_content_wherever_it_lies() -> None:
    array = np.full((2, 200, 200), -1000, np.int16)
    array[0, 60:80, 130:150] = array[1, 64:84, 126:146] = 40
    prepared = CTSettings(size=40, spacing_mm=1.0, centre="content").prepare(make_volume(array))
    assert bool((prepared[0] > 0).any(dim=1).nonzero().flatten()[0] == 8)  # one crop for all slices, around their mean
    assert bool((prepared[1] > 0).any(dim=1).nonzero().flatten()[0] == 12)


def test_a_volume_that_shows_nothing_is_cropped_in_the_middle() -> None:
    empty = np.full((2, 64, 64), -1000, np.int16)
    placement = CTSettings(size=32, spacing_mm=1.0, centre="content").placement(make_volume(empty))
    assert placement.shift == (0, 0)


def test_a_crop_around_the_content_needs_a_size_in_mm() -> None:
    with pytest.raises(ValidationError, match="spacing_mm"):
        CTSettings(size=32, centre="content")


def test_neighbours_stand_in_order_and_repeat_at_the_ends() -> None:
    array = np.stack([np.full((16, 16), value, np.int16) for value in (0, 20, 40)])
    settings = CTSettings(size=16, neighbours=1, windows_hu=((20, 40),))
    slices = settings.finish(settings.prepare(make_volume(array)))
    assert settings.channels == 3
    assert [[round(float(channel.mean()), 2) for channel in one] for one in slices] == [
        [0, 0, 0.5],
        [0, 0.5, 1],
        [0.5, 1, 1],
    ]


def test_neighbours_of_several_windows_reach_beyond_a_short_series() -> None:
    """Channels are grouped by slice, from the one before to the one after, and windows stand in their own order."""
    array = np.stack([np.full((16, 16), value, np.int16) for value in (0, 20)])
    settings = CTSettings(size=16, neighbours=2, windows_hu=((20, 40), (50, 100)))
    slices = settings.finish(settings.prepare(make_volume(array)))
    first, last = [0.0, 0.0], [0.5, 0.2]
    found = [[round(float(channel.mean()), 2) for channel in one] for one in slices]
    assert found == [first * 3 + last * 2, first * 2 + last * 3]
    single = settings.finish(settings.prepare(make_volume(array[1:])))
    assert [round(float(channel.mean()), 2) for channel in single[0]] == last * 5


def test_eight_bit_images_are_scaled_alike_and_monochrome1_is_turned() -> None:
    array = np.full((2, 32, 32), 51, np.uint8)
    settings = IntensitySettings(size=32)
    assert torch.allclose(settings.finish(settings.prepare(make_volume(array))), torch.tensor(0.2))
    assert torch.allclose(settings.finish(settings.prepare(make_volume(array, inverted=True))), torch.tensor(0.8))


def test_colour_is_kept_as_channels_in_order() -> None:
    array = np.zeros((2, 32, 32, 3), np.uint8)
    array[..., 1] = 255
    settings = IntensitySettings(size=32, colour="rgb")
    slices = settings.finish(settings.prepare(make_volume(array, affine=None)))
    assert slices.shape == (2, 3, 32, 32)
    assert [float(channel.mean()) for channel in slices[1]] == [0.0, 1.0, 0.0]


def test_resizing_does_not_mix_slices() -> None:
    array = np.zeros((20, 50, 50), np.int16)
    array[7] = 1000
    prepared = CTSettings(size=32).prepare(make_volume(array))
    assert [index for index in range(20) if float(prepared[index].abs().max()) > 0] == [7]


def test_augmentation_is_the_same_on_every_slice_and_follows_its_seed() -> None:
    plane = torch.rand(1, 48, 48)
    augment = AugmentationSettings(rotate_degrees=30, scale=0.2, translate=0.1, probability=1.0).build((48, 48))
    changed = augment(plane.expand(5, 48, 48).clone(), 7)
    assert type(changed) is torch.Tensor
    assert all(torch.equal(changed[0], one) for one in changed)
    assert not torch.allclose(changed[0], plane[0])
    assert torch.equal(augment(plane.expand(5, 48, 48).clone(), 7), changed)
    assert not torch.equal(augment(plane.expand(5, 48, 48).clone(), 8), changed)


def test_no_augmentation_changes_nothing() -> None:
    stack = torch.rand(3, 16, 16)
    assert torch.equal(AugmentationSettings().build((16, 16))(stack, 3), stack)


def test_a_value_that_is_not_a_number_is_refused() -> None:
    array = np.zeros((2, 32, 32), np.float32)
    array[1, 3, 4] = np.nan
    with pytest.raises(InputError, match="BAD_VALUE: 1 pixels"):
        CTSettings(size=32).prepare(make_volume(array))


def test_pixel_padding_does_not_move_the_percentiles() -> None:
    array = np.random.default_rng(0).integers(0, 1000, (2, 40, 40)).astype(np.int16)
    plain = make_volume(array)
    padded_array = array.copy()
    padded_array[:, :10] = -30000
    padded = replace(make_volume(padded_array), padding=np.full((2, 2), -30000.0))
    settings = IntensitySettings(size=40)
    assert torch.allclose(settings.prepare(padded)[:, 12:], settings.prepare(plain)[:, 12:], atol=0.02)


def test_padding_that_differs_between_slices_is_air_for_ct_and_black_elsewhere() -> None:
    """A range of its own per slice, as where each slice has its own slope; real values of the same number stay."""
    array = np.full((2, 32, 32), 40, np.int16)
    array[0, :8], array[1, :8] = 3000, -3000
    array[1, 20:] = 3000
    padded = replace(make_volume(array), padding=np.array([[2900.0, 3100.0], [-3000.0, -3000.0]]))
    hu = CTSettings(size=32).prepare(padded)
    black, values = sorted(hu[0].unique().tolist()), sorted(hu[1].unique().tolist())
    assert (black, values) == ([-1000.0, 40.0], [-1000.0, 40.0, 3000.0])
    for inverted in (False, True):
        seen = IntensitySettings(size=32).prepare(replace(padded, inverted=inverted))
        assert (seen == 0).sum(dim=(1, 2)).min() >= 8 * 32
    assert (array[0, :8] == 3000).all()


def test_a_float_volume_is_not_changed_by_its_padding() -> None:
    array = np.full((2, 32, 32), -5000.5, np.float32)
    padded = replace(make_volume(array), padding=np.full((2, 2), -5000.5), affine=None)
    CTSettings(size=32).prepare(padded)
    assert (padded.array == np.float32(-5000.5)).all()
