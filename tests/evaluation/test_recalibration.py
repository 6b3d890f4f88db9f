"""The line that would set probabilities right, against scikit-learn and against truth that is known."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from seriatim.evaluation.intervals import Clusters
from seriatim.evaluation.recalibration import calibration_line


def sigmoid(values):
    return 1 / (1 + np.exp(-values))


def draw(random, count, *, slope=1.0, offset=0.0):
    """Labels of known log odds, and probabilities whose line back to them has this slope and offset."""
    odds = random.normal(size=count) * 1.5
    labels = (random.random(count) < sigmoid(slope * odds + offset)).astype(float)
    return labels, sigmoid(odds)


def own(count):
    return Clusters(np.arange(count))


def test_the_line_equals_a_logistic_regression():
    labels, given = draw(np.random.default_rng(0), 300, slope=0.6, offset=-0.4)
    fitted = LogisticRegression(C=1e12, tol=1e-10, max_iter=1000).fit(np.log(given / (1 - given))[:, None], labels)
    found = calibration_line(labels, given, own(300))
    assert found["calibration_slope"].value == pytest.approx(fitted.coef_[0, 0], rel=1e-4)
    moved = sigmoid(np.log(given / (1 - given)) + found["calibration_intercept"].value)
    assert moved.mean() == pytest.approx(labels.mean())  # calibration in the large


@pytest.mark.parametrize("alike", [False, True])
def test_intervals_cover_a_right_line_also_where_patients_have_several_series(alike):
    random = np.random.default_rng(1)
    number = np.repeat(np.arange(60), 3) if alike else np.arange(150)
    covered = {"calibration_slope": [], "calibration_intercept": []}
    for _ in range(400):
        odds = random.normal(size=number.max() + 1)[number] * 1.5
        luck = random.random(number.max() + 1)[number]  # one draw for all series of a patient
        labels = (luck < sigmoid(odds)).astype(float)
        for (name, one), true in zip(calibration_line(labels, sigmoid(odds), Clusters(number)).items(), (1, 0),
                                     strict=True):
            covered[name].append(one.low <= true <= one.high)
    for name, hits in covered.items():
        assert 0.925 <= np.mean(hits) <= 0.98, name


def test_what_no_line_fits_has_a_reason():
    labels = np.array([0.0, 0, 1, 1])
    for given in ([0.1, 0.2, 0.8, 0.9], [0.1, 0.5, 0.5, 0.9], [0.9, 0.8, 0.2, 0.1], [0.5] * 4):
        slope = calibration_line(labels, np.array(given), own(4))["calibration_slope"]
        assert slope.value is None
        assert slope.reason
    assert calibration_line(np.ones(4), np.linspace(0.1, 0.9, 4), own(4))["calibration_slope"].value is None
    sure = calibration_line(labels, np.array([0.0, 1.0, 0.0, 1.0]), own(4))
    assert all(np.isfinite(one.value) for one in sure.values() if one.value is not None)
