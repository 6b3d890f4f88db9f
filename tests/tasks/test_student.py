"""Student's t against scipy."""

import pytest
import scipy.stats

from seriatim.tasks.student import quantile, two_sided


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 9, 10, 57, 400])
def test_student_equals_scipy(freedom):
    for probability in (0.5, 0.9, 0.975, 0.999):
        expected = scipy.stats.t.ppf(probability, freedom)
        assert quantile(probability, freedom) == pytest.approx(expected, rel=1e-9, abs=1e-9)
    for distance in (0.0, 0.4, 1.7, 3.2, 12.0):
        expected = 2 * scipy.stats.t.sf(distance, freedom)
        assert two_sided(-distance, freedom) == pytest.approx(expected, abs=1e-12)
