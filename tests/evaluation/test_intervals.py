"""The intervals against independent computations, and their coverage in small simulations."""

import math

import numpy as np
import pytest
import scipy.stats

from seriatim.evaluation.intervals import (
    Clusters,
    area,
    bootstrap,
    component_variance,
    newcombe_area,
    proportion,
    structural_components,
    wilson,
)
from seriatim.tasks import metrics


def own(count):
    return Clusters(np.arange(count))


@pytest.mark.parametrize(("hits", "count"), [(0, 1), (1, 1), (0, 20), (3, 20), (20, 20), (117, 250)])
def test_wilson_equals_scipy(hits, count):
    expected = scipy.stats.binomtest(hits, count).proportion_ci(method="wilson")
    assert wilson(hits, count) == pytest.approx((expected.low, expected.high), abs=1e-12)


def delong_variance(labels, scores, clusters=None):
    above, below = structural_components(labels, scores)
    return component_variance(labels, above - above.mean(), below - below.mean(), clusters or own(len(labels)))


def test_the_clustered_variance_is_obuchowskis_and_delongs_where_each_series_is_its_own():
    """Her formula (1997), written out over patients."""
    random = np.random.default_rng(11)
    labels, scores = random.integers(0, 2, 40), random.integers(0, 9, 40) / 9
    number = np.arange(40) // 3
    positive, negative = scores[labels == 1], scores[labels == 0]
    wins = np.array([[1.0 if p > n else 0.5 if p == n else 0.0 for n in negative] for p in positive])
    value, m, n, count = wins.mean(), len(positive), len(negative), number.max() + 1
    x = [(wins.mean(axis=1)[number[labels == 1] == i] - value).sum() for i in range(count)]
    y = [(wins.mean(axis=0)[number[labels == 0] == i] - value).sum() for i in range(count)]
    with_positive, with_negative = len(set(number[labels == 1])), len(set(number[labels == 0]))
    s10 = with_positive / ((with_positive - 1) * m) * np.sum(np.square(x))
    s01 = with_negative / ((with_negative - 1) * n) * np.sum(np.square(y))
    s11 = count / (count - 1) * np.sum(np.multiply(x, y))
    assert delong_variance(labels, scores, Clusters(number)) == pytest.approx(s10 / m + s01 / n + 2 * s11 / (m * n))
    alone = component_variance(labels, wins.mean(axis=1) - value, wins.mean(axis=0) - value, own(40))
    assert alone == pytest.approx(delong_variance(labels, scores))


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


def draw_patients(random, *, patients, shift):
    """Series of patients who agree with themselves (intraclass correlation 0.5), positives ``shift`` higher."""
    number = np.repeat(np.arange(patients), random.integers(1, 6, size=patients))
    likely = random.choice([0.15, 0.85], size=patients)[number]
    labels = (random.random(len(number)) < likely).astype(int)
    own_level = random.normal(size=patients)[number] * math.sqrt(0.5)
    return labels, own_level + random.normal(size=len(number)) * math.sqrt(0.5) + shift * labels, Clusters(number)


@pytest.mark.parametrize(("patients", "shift"), [(20, 0.5), (40, 1.5), (60, 2.5)])
def test_area_interval_of_patients_covers_where_counting_series_does_not(patients, shift):
    random = np.random.default_rng(patients)
    true = scipy.stats.norm.cdf(shift / math.sqrt(2))
    covered, naive = [], []
    for _ in range(500):
        labels, scores, clusters = draw_patients(random, patients=patients, shift=shift)
        estimate = area(labels, scores, clusters)
        covered.append(estimate.low <= true <= estimate.high)
        counting = area(labels, scores, own(len(labels)))
        naive.append(counting.low <= true <= counting.high)
    assert 0.925 <= np.mean(covered) <= 0.98
    assert np.mean(naive) < np.mean(covered) - 0.02


@pytest.mark.parametrize("share", [0.5, 0.8, 0.95])
@pytest.mark.parametrize("count", [15, 40, 200])
def test_wilson_covers_the_true_share(share, count):
    """Exactly, over all outcomes: its coverage moves around 95 %, and never far below (Brown, Cai, DasGupta 2001)."""
    chances = scipy.stats.binom.pmf(np.arange(count + 1), count, share)
    bounds = [wilson(hits, count) for hits in range(count + 1)]
    covered = sum(chance for chance, (low, high) in zip(chances, bounds, strict=True) if low <= share <= high)
    assert 0.92 <= covered <= 0.985


@pytest.mark.parametrize(("patients", "share", "alike"), [(15, 0.6, 0.3), (30, 0.8, 0.7), (60, 0.9, 0.3)])
def test_share_of_patients_covers_where_counting_series_does_not(patients, share, alike):
    random = np.random.default_rng(patients)
    a, b = share * (1 - alike) / alike, (1 - share) * (1 - alike) / alike
    covered, naive = [], []
    for _ in range(800):
        number = np.repeat(np.arange(patients), random.integers(1, 6, size=patients))
        hits = random.random(len(number)) < random.beta(a, b, size=patients)[number]
        estimate = proportion(hits, Clusters(number))
        covered.append(estimate.low <= share <= estimate.high)
        low, high = wilson(float(hits.sum()), len(hits))
        naive.append(low <= share <= high)
    assert 0.925 <= np.mean(covered) <= 0.98
    assert np.mean(naive) < np.mean(covered) - 0.02


@pytest.mark.slow
def test_bootstrap_over_patients_covers_the_average_precision():
    """Percentiles of whole patients are a little narrow with few of them, and say so here."""
    random = np.random.default_rng(8)
    labels, scores, _ = draw_patients(random, patients=40000, shift=1.5)
    true = metrics.average_precision(labels, scores)
    covered = []
    for _ in range(120):
        labels, scores, clusters = draw_patients(random, patients=60, shift=1.5)

        def precision(index, labels=labels, scores=scores):
            return metrics.average_precision(labels[index], scores[index])

        estimate = bootstrap(precision, clusters)
        covered.append(estimate.low <= true <= estimate.high)
    assert 0.88 <= np.mean(covered) <= 0.99


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
