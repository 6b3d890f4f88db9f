"""The direction rule and the spacing checks, as properties."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seriatim.series.geometry import (
    affine_normal,
    direction_sign,
    display_orientation,
    positions_along_normal,
    slice_normal,
    spacing_of,
    tilt_degrees,
)
from seriatim.series.spacing import check_spacing, find_gaps, is_even


@pytest.mark.parametrize(("normal", "sign"), [((0, 0, 1), 1), ((0, 0, -1), -1), ((0, 1, 0), 1), ((-1, 0, 0), -1)])
def test_slices_ascend_to_superior_anterior_right(normal: tuple[int, int, int], sign: int) -> None:
    assert direction_sign(normal) == sign


def test_a_tie_goes_to_superior_then_anterior() -> None:
    assert direction_sign([-1, 0, 1]) == 1
    assert direction_sign([-1, 0, -1]) == -1
    assert direction_sign([-1, 1, 0]) == 1


@given(st.lists(st.floats(-1, 1), min_size=6, max_size=6))
def test_the_normal_does_not_depend_on_the_sense_of_the_axes(values: list[float]) -> None:
    first, second = np.array(values[:3]), np.array(values[3:])
    if np.linalg.norm(np.cross(first, second)) < 1e-3:
        return
    normal = slice_normal(first, second)
    for column, row in ((-first, second), (first, -second), (second, first)):
        np.testing.assert_allclose(slice_normal(column, row), normal, atol=1e-9)


def test_a_sheared_affine_tells_its_tilt_and_the_distance_of_its_planes() -> None:
    affine = np.diag([1.0, 1.0, 4.0, 1.0])
    affine[1, 2] = 4.0 * np.tan(np.radians(20))
    assert tilt_degrees(affine) == pytest.approx(20)
    assert spacing_of(affine) == pytest.approx((1, 1, 4))
    np.testing.assert_allclose(np.diff(positions_along_normal(affine, 5)), 4)
    np.testing.assert_allclose(affine_normal(affine), [0, 0, 1])


def test_an_axial_slice_stored_as_dicom_does_needs_no_turn_for_display() -> None:
    shown = display_orientation(np.diag([-1.0, -1.0, 1.0, 1.0]))
    assert (shown.transpose, shown.flip_rows, shown.flip_columns) == (False, False, False)
    assert shown.letters == ("R", "L", "A", "P")


@given(st.integers(4, 60), st.floats(0.3, 10), st.data())
def test_every_missing_interior_slice_is_found(count: int, step: float, data: st.DataObject) -> None:
    missing = data.draw(st.integers(1, count - 2))
    positions = np.delete(np.arange(count) * step, missing)
    gaps = find_gaps(positions)
    assert [gap.index for gap in gaps] == [missing - 1]
    assert gaps[0].expected_mm == pytest.approx(step)


@given(st.integers(2, 60), st.floats(0.3, 10))
def test_a_regular_series_has_no_finding(count: int, step: float) -> None:
    assert check_spacing(np.round(np.arange(count) * step, 2)) == []


def test_several_missing_slices_are_gaps() -> None:
    positions = np.delete(np.arange(30) * 5.0, [3, 10, 11, 12, 20])
    assert [round(gap.step_mm) for gap in find_gaps(positions)] == [10, 20, 10]


@pytest.mark.parametrize("steps", [[2.5] * 8 + [5.0] * 12, [4.0] * 13 + [1.08] + [7.0] * 13, [5.0] * 9 + [10.0] * 3])
def test_a_protocol_of_two_distances_is_uneven_and_has_no_gap(steps: list[float]) -> None:
    (finding,) = check_spacing(np.cumsum([0, *steps]))
    assert finding.code == "UNEVEN_SPACING"
    assert finding.action == "keep"
    assert finding.numbers["largest_mm"] == pytest.approx(max(steps))


def test_a_gap_within_a_protocol_of_two_distances_is_found() -> None:
    steps = [2.5] * 8 + [5.0] * 5 + [10.0] + [5.0] * 5
    assert [gap.index for gap in find_gaps(np.cumsum([0, *steps]))] == [13]


def test_even_means_near_a_regular_grid() -> None:
    assert is_even([0, 1, 2.05, 3])
    assert not is_even([0, 1, 2.4, 3])
