"""The metrics against scikit-learn and scipy, ties and missing classes included."""

import math

import numpy as np
import pytest
import scipy.stats
import sklearn.metrics
from hypothesis import assume, given
from hypothesis import strategies as st

from seriatim.tasks import metrics

SAMPLES = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 6)), min_size=2, max_size=40)


def split(sample):
    labels, scores = np.array(sample).T
    assume(labels.min() != labels.max())
    return labels, scores / 7


@given(SAMPLES)
def test_areas_equal_sklearn_with_ties(sample):
    labels, scores = split(sample)
    assert metrics.roc_auc(labels, scores) == pytest.approx(sklearn.metrics.roc_auc_score(labels, scores))
    expected = sklearn.metrics.average_precision_score(labels, scores)
    assert metrics.average_precision(labels, scores) == pytest.approx(expected)


@given(SAMPLES)
def test_roc_curve_equals_sklearn_and_holds_the_area(sample):
    labels, scores = split(sample)
    curve = metrics.roc_curve(labels, scores)
    for found, expected in zip(curve, sklearn.metrics.roc_curve(labels, scores, drop_intermediate=False), strict=True):
        np.testing.assert_allclose(found, expected)
    assert np.trapezoid(curve[1], curve[0]) == pytest.approx(metrics.roc_auc(labels, scores))


@given(SAMPLES)
def test_youden_threshold_is_the_best_of_all_and_lies_between_scores(sample):
    labels, scores = split(sample)
    threshold = metrics.youden_threshold(labels, scores)
    best = max(sum(metrics.sensitivity_specificity(labels, scores >= one)) for one in scores)
    if best > 1 + 1e-12:
        assert sum(metrics.sensitivity_specificity(labels, scores >= threshold)) == pytest.approx(best)
        assert threshold not in scores
    else:
        assert threshold == 0.5


@given(SAMPLES)
def test_mid_ranks_equal_scipy(sample):
    scores = np.array(sample)[:, 1]
    np.testing.assert_array_equal(metrics.mid_ranks(scores), scipy.stats.rankdata(scores))


def test_youden_threshold_is_midway_in_the_widest_gap():
    assert metrics.youden_threshold([0, 0, 1, 1], [0.1, 0.2, 0.8, 0.9]) == pytest.approx(0.5)
    assert metrics.youden_threshold([0, 1, 0, 1], [0.10, 0.20, 0.30, 0.90]) == pytest.approx(0.60)


def test_youden_threshold_separates_scores_one_bit_apart():
    upper = np.nextafter(0.3, 1)
    threshold = metrics.youden_threshold([0, 1], [0.3, upper])
    assert 0.3 < threshold <= upper


@pytest.mark.parametrize("label", [0, 1])
def test_one_class_gives_nan_and_never_a_number(label):
    labels, scores = np.full(3, label), np.array([0.1, 0.2, 0.3])
    assert math.isnan(metrics.roc_auc(labels, scores))
    assert metrics.youden_threshold(labels, scores) == 0.5
    sensitivity, specificity = metrics.sensitivity_specificity(labels, scores > 0.15)
    assert math.isnan(specificity if label else sensitivity)
    assert (sensitivity if label else specificity) == pytest.approx(2 / 3 if label else 1 / 3)


def test_scores_that_are_no_numbers_have_no_area():
    assert math.isnan(metrics.roc_auc([0, 1, 1], [0.1, np.nan, 0.9]))
    assert math.isnan(metrics.average_precision([0, 1, 1], [0.1, np.nan, 0.9]))


@pytest.mark.parametrize(("labels", "scores"), [([0, 1], [0.1]), ([0, 2], [0.1, 0.2]), ([0, -100], [0.1, 0.2])])
def test_wrong_input_is_refused(labels, scores):
    with pytest.raises(ValueError, match="labels"):
        metrics.roc_auc(labels, scores)


def test_class_metrics_equal_sklearn():
    random = np.random.default_rng(0)
    true, predicted = random.integers(0, 4, 50), random.integers(0, 4, 50)
    matrix = metrics.confusion_matrix(true, predicted, classes=4)
    np.testing.assert_array_equal(matrix, sklearn.metrics.confusion_matrix(true, predicted))
    expected = sklearn.metrics.balanced_accuracy_score(true, predicted)
    assert metrics.balanced_accuracy(true, predicted) == pytest.approx(expected)
    with pytest.raises(ValueError, match="classes"):
        metrics.confusion_matrix([0, 4], [0, 1], classes=4)


def test_number_metrics_equal_sklearn_and_scipy():
    random = np.random.default_rng(0)
    true, values = random.normal(size=30), random.normal(size=30)
    assert metrics.mean_absolute_error(true, values) == pytest.approx(
        sklearn.metrics.mean_absolute_error(true, values)
    )
    assert metrics.root_mean_squared_error(true, values) == pytest.approx(
        sklearn.metrics.root_mean_squared_error(true, values)
    )
    assert metrics.r_squared(true, values) == pytest.approx(sklearn.metrics.r2_score(true, values))
    assert metrics.pearson(true, values) == pytest.approx(scipy.stats.pearsonr(true, values).statistic)
    assert math.isnan(metrics.r_squared(np.ones(3), values[:3]))
    assert math.isnan(metrics.pearson(true, np.ones(30)))
