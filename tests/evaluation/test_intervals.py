"""The intervals against independent computations, and their coverage in small simulations."""

import math

import numpy as np
import pytest
import scipy.stats

from seriatim.evaluation.intervals import (
    Clusters,
    area,
    bootstrap,
    delong_variance,
    newcombe_area,
    proportion,
    wilson,
)


def own(count):
    return Clusters(np.arange(count))


@pytest.mark.parametrize(("hits", "count"), [(0, 1), (1, 1), (0, 20), (3, 20), (20, 20), (117, 250)])
def test_wilson_equals_scipy(hits, count):
    expected = scipy.stats.binomtest(hits, count).proportion_ci(method="wilson")
    assert wilson(hits, count) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_delong_variance_equals_the_structural_components_of_1988():
    random = np.random.default_rng(1)
    labels, scores = random.integers(0, 2, 40), random.integers(0, 9, 40) / 9
    positive, negative = scores[labels == 1], scores[labels == 0]
    wins = np.array([[1.0 if p > n else 0.5 if p == n else 0.0 for n in negative] for p in positive])
    expected = np.var(wins.mean(axis=1), ddof=1) / len(positive) + np.var(wins.mean(axis=0), ddof=1) / len(negative)
    assert delong_variance(labels, scores) == pytest.approx(expected)


def test_delong_variance_agrees_with_the_jackknife():
    random = np.random.default_rng(2)
    labels = np.repeat([0, 1], 60)
    scores = random.normal(size=120) + labels
    every = np.arange(120)
    spread = 0.0
    for one in (0, 1):
        left = [_area(labels[every != i], scores[every != i]) for i in np.flatnonzero(labels == one)]
        spread += 59 / 60 * np.sum((left - np.mean(left)) ** 2)
    assert delong_variance(labels, scores) == pytest.approx(spread, rel=0.02)


def _area(labels, scores):
    positive, negative = scores[labels == 1], scores[labels == 0]
    return (positive[:, None] > negative).mean()


def test_area_interval_covers_the_true_area():
    """Binormal scores one standard deviation apart have an AUC of Phi(1 / sqrt 2)."""
    random = np.random.default_rng(3)
    true, labels = scipy.stats.norm.cdf(1 / math.sqrt(2)), np.repeat([0, 1], 25)
    found = [area(labels, random.normal(size=50) + labels, own(50)) for _ in range(400)]
    covered = np.mean([one.low <= true <= one.high for one in found])
    assert 0.92 <= covered <= 0.98
    assert all(0 <= one.low <= one.value <= one.high <= 1 for one in found)
    assert {one.method for one in found} == {"delong, logit"}


def test_perfect_area_has_an_honest_lower_bound():
    estimate = area(np.repeat([0, 1], 10), np.arange(20.0), own(20))
    assert (estimate.value, estimate.high, estimate.method) == (1.0, 1.0, "newcombe")
    assert 0.7 < estimate.low < 0.95
    mirrored = newcombe_area(0.0, positives=10, negatives=10)
    assert mirrored == pytest.approx((0.0, 1 - estimate.low))
    assert newcombe_area(1.0, positives=200, negatives=200)[0] > 0.97


def test_newcombe_bound_is_where_the_standard_error_explains_the_distance():
    low, _ = newcombe_area(1.0, positives=12, negatives=30)
    count = (12 + 30) / 2 - 1
    variance = low * (1 - low) * (1 + count * (1 - low) / (2 - low) + count * low / (1 + low)) / (12 * 30)
    assert (1 - low) / math.sqrt(variance) == pytest.approx(1.959964, rel=1e-4)


def test_clustered_bootstrap_covers_where_counting_series_would_not():
    """Ten series of one patient agree, so 200 series say no more than 20 patients."""
    random = np.random.default_rng(4)
    clusters = Clusters(np.repeat(np.arange(30), 6))
    covered, naive = 0, 0
    for _ in range(80):
        hits = np.repeat(random.random(30) < 0.6, 6)
        estimate = proportion(hits, clusters)
        covered += estimate.low <= 0.6 <= estimate.high
        low, high = wilson(float(hits.sum()), 180)
        naive += low <= 0.6 <= high
    assert covered >= 70
    assert naive < 62


def test_bootstrap_is_seeded_and_resamples_whole_patients():
    clusters = Clusters(np.repeat(np.arange(10), 3))
    values = np.random.default_rng(5).normal(size=30)
    seen = []

    def mean(index):
        seen.append(np.bincount(clusters.number[index], minlength=10))
        return float(values[index].mean())

    first, second = bootstrap(mean, clusters), bootstrap(mean, clusters)
    assert first == second
    assert first.low < first.value < first.high
    assert all((counts % 3 == 0).all() and counts.sum() == 30 for counts in seen)


@pytest.mark.parametrize(
    ("labels", "scores"),
    [([], []), ([1], [0.5]), ([1, 1, 1], [0.1, 0.2, 0.3]), ([0, 1, 1], [0.5, 0.5, 0.7]), ([0, 0, 1, 1], [0.5] * 4)],
)
def test_what_the_data_cannot_bound_has_a_reason_and_no_interval(labels, scores):
    estimate = area(np.array(labels), np.array(scores, dtype=float), own(len(labels)))
    assert estimate.low is None
    assert estimate.high is None
    assert estimate.reason
    assert estimate.value is None or math.isfinite(estimate.value)


def test_share_of_nothing_and_of_one_patient():
    assert proportion(np.zeros(0, dtype=bool), own(0)).value is None
    single = proportion(np.array([True, False]), Clusters(np.array([0, 0])))
    assert single.value == 0.5
    assert (single.low, single.reason) == (None, "an interval needs two patients")
    same = proportion(np.ones(6, dtype=bool), Clusters(np.array([0, 0, 0, 1, 1, 1])))
    assert (same.low, same.high) == pytest.approx(wilson(2, 2))
