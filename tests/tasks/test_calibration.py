"""Calibration against scikit-learn and against truth that is known, and its way through a run."""

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from seriatim.errors import ConfigError
from seriatim.evaluation.reliability import calibration_error
from seriatim.settings import build_settings
from seriatim.tasks import DiagnosisSettings
from seriatim.tasks.calibration import Calibration, fit_classes, fit_columns
from seriatim.tasks.metrics import log_loss, roc_auc


def sigmoid(values):
    return 1 / (1 + np.exp(-values))


def overconfident(count=4000, seed=0, slope=3.0, offset=1.0):
    """Labels of known probability, and what a model says that is too sure and leans to yes."""
    random = np.random.default_rng(seed)
    logits = random.normal(size=count)
    labels = (random.random(count) < sigmoid(logits)).astype(float)
    return labels, sigmoid(slope * logits + offset), sigmoid(logits)


def test_platt_finds_the_slope_and_offset_that_spoilt_the_probabilities():
    labels, given, true = overconfident()
    calibration = fit_columns("platt", [(labels, given)])
    assert calibration.bends[0].slope == pytest.approx(1 / 3, abs=0.03)
    assert calibration.bends[0].offset == pytest.approx(-1 / 3, abs=0.08)
    assert np.abs(calibration.apply(given[:, None])[:, 0] - true).max() < 0.03


def test_platt_equals_a_logistic_regression_on_the_same_softened_labels():
    labels, given, _ = overconfident(count=300, seed=1)
    positives, negatives = int(labels.sum()), int((1 - labels).sum())
    wanted = np.where(labels == 1, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    logits = np.log(given / (1 - given))[:, None]
    twice, weights = np.concatenate([logits, logits]), np.concatenate([wanted, 1 - wanted])
    fitted = LogisticRegression(C=1e12, tol=1e-10, max_iter=1000)
    fitted.fit(twice, np.repeat([1, 0], len(labels)), sample_weight=weights)
    bend = fit_columns("platt", [(labels, given)]).bends[0]
    assert (bend.slope, bend.offset) == pytest.approx((fitted.coef_[0, 0], fitted.intercept_[0]), rel=1e-4)


def test_temperature_never_moves_the_middle_and_finds_the_spread():
    labels, given, _ = overconfident(offset=0.0)
    calibration = fit_columns("temperature", [(labels, given)])
    assert 1 / calibration.bends[0].slope == pytest.approx(3, abs=0.3)
    assert calibration.apply(np.array([[0.5]]))[0, 0] == pytest.approx(0.5)


def test_isotonic_equals_sklearn():
    labels, given, _ = overconfident(count=500, seed=2)
    given = np.round(given, 2)  # with ties
    expected = IsotonicRegression(out_of_bounds="clip").fit(given, labels)
    calibration = fit_columns("isotonic", [(labels, given)])
    grid = np.linspace(0, 1, 501)
    assert calibration.apply(grid[:, None])[:, 0] == pytest.approx(expected.predict(grid), abs=1e-12)


def test_classes_get_one_temperature_and_still_sum_to_one():
    random = np.random.default_rng(3)
    logits = random.normal(size=(3000, 3))
    true = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = np.array([random.choice(3, p=row) for row in true])
    given = np.exp(2.5 * logits) / np.exp(2.5 * logits).sum(axis=1, keepdims=True)
    calibration = fit_classes("temperature", labels, given)
    slope = calibration.bends[0].slope
    assert slope == pytest.approx(1 / 2.5, abs=0.04)

    def surprise(one):
        powers = given**one
        return -np.log(powers[np.arange(3000), labels] / powers.sum(axis=1)).mean()

    assert slope == pytest.approx(minimize_scalar(surprise, bounds=(0.05, 20), method="bounded").x, abs=1e-3)
    bent = calibration.apply(given)
    assert bent.sum(axis=1) == pytest.approx(np.ones(3000))
    assert (bent.argmax(axis=1) == given.argmax(axis=1)).all()


@pytest.mark.parametrize("kind", ["temperature", "platt", "isotonic"])
def test_calibration_makes_held_out_probabilities_truer_and_keeps_the_order(kind):
    labels, given, _ = overconfident(count=2000, seed=4)
    new_labels, new_given, _ = overconfident(count=2000, seed=5)
    calibration = fit_columns(kind, [(labels, given)])
    bent = calibration.apply(new_given[:, None])[:, 0]
    assert log_loss(new_labels, bent) < log_loss(new_labels, new_given) - 0.05
    assert calibration_error(new_labels, bent) < calibration_error(new_labels, new_given)
    assert roc_auc(new_labels, bent) == pytest.approx(roc_auc(new_labels, new_given), abs=0.01)
    again = Calibration.from_dict(calibration.as_dict())
    assert (again.apply(new_given[:, None]) == calibration.apply(new_given[:, None])).all()


@pytest.mark.parametrize("kind", ["temperature", "platt", "isotonic"])
def test_what_cannot_be_calibrated_stays_as_it_is(kind):
    given = np.array([0.1, 0.6, 0.9])
    one_class = fit_columns(kind, [(np.ones(3), given)])
    assert one_class.apply(given[:, None])[:, 0] == pytest.approx(given)
    perfect = fit_columns(kind, [(np.array([0.0, 1.0, 1.0]), given)])
    assert np.isfinite(perfect.apply(np.array([[0.0], [1.0]]))).all()


def test_a_model_that_ranks_backwards_is_not_turned_round():
    labels, given, _ = overconfident(count=500, seed=6)
    bent = fit_columns("platt", [(labels, 1 - given)]).apply(given[:, None])[:, 0]
    assert bent == pytest.approx(given)


def test_sure_probabilities_stay_finite():
    labels = np.array([0.0, 1.0, 0.0, 1.0])
    calibration = fit_columns("platt", [(labels, np.array([0.0, 1.0, 1.0, 0.5]))])
    assert np.isfinite(calibration.apply(np.array([[0.0], [1.0], [0.3]]))).all()


def test_the_error_of_a_coin_that_is_called_sure_is_a_half():
    labels = np.arange(100) % 2
    assert calibration_error(labels, np.ones(100)) == pytest.approx(0.5)
    assert calibration_error(labels, np.full(100, 0.5)) == pytest.approx(0)


def test_multiclass_has_temperature_only():
    content = {"target": "multiclass", "labels": ["kind"], "classes": ["a", "b"], "calibration": "platt"}
    with pytest.raises(ConfigError, match="none or temperature, not platt"):
        build_settings(DiagnosisSettings, content, where="task")
