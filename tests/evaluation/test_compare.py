"""Paired differences against independent computations, and the comparison of score tables from end to end."""

import csv
import json
import math

import numpy as np
import pytest
import scipy.stats
import sklearn.metrics
from test_evaluate import label_rows, make_binary, write, write_run
from typer.testing import CliRunner

from seriatim.cli import app
from seriatim.errors import ConfigError
from seriatim.evaluation import EvaluationSettings
from seriatim.evaluation.compare import compare, describe_comparison
from seriatim.evaluation.intervals import Clusters
from seriatim.evaluation.paired import compare_samples, delong_difference, sign_test
from seriatim.evaluation.samples import Question, Samples
from seriatim.tasks import metrics


def two_models(random, *, count=60, patients=None, strength=(1.0, 1.0)):
    """The same labels scored by two models that share their noise in part."""
    labels = np.arange(count) % 2
    shared = random.normal(size=count)
    scores = [1 / (1 + np.exp(-(shared + random.normal(size=count) + own * (2 * labels - 1)))) for own in strength]
    clusters = Clusters(np.arange(count) if patients is None else np.unique(patients, return_inverse=True)[1])
    return [
        Samples(labels=labels[:, None].astype(float), scores=one[:, None], decisions=one[:, None] >= 0.5,
                files=np.zeros(count, dtype=int), rows=np.arange(count), clusters=clusters, clustered_by="patient")
        for one in scores
    ]


BINARY = Question(target="binary", labels=("bleed",), classes=("bleed",))


def test_the_variance_of_the_difference_is_that_of_the_paired_components():
    first, second = two_models(np.random.default_rng(0), strength=(0.5, 1.5))
    labels, scores = first.labels[:, 0], [first.scores[:, 0], second.scores[:, 0]]
    positive, negative = [one[labels == 1] for one in scores], [one[labels == 0] for one in scores]
    wins = [(p[:, None] > n).astype(float) for p, n in zip(positive, negative, strict=True)]
    above, below = ([one.mean(axis=axis) for one in wins] for axis in (1, 0))
    covariance = np.cov(above) / len(positive[0]) + np.cov(below) / len(negative[0])
    variance = covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]
    found = delong_difference(labels, *scores, first.clusters)
    expected = sklearn.metrics.roc_auc_score(labels, scores[1]) - sklearn.metrics.roc_auc_score(labels, scores[0])
    assert found.estimate.value == pytest.approx(expected)
    assert found.p == pytest.approx(2 * scipy.stats.norm.sf(abs(expected) / math.sqrt(variance)))
    assert found.estimate.high - found.estimate.value == pytest.approx(1.959964 * math.sqrt(variance))


def test_delong_rarely_finds_a_difference_where_there_is_none():
    random = np.random.default_rng(1)
    values = []
    for _ in range(400):
        first, second = two_models(random)
        values.append(delong_difference(first.labels[:, 0], first.scores[:, 0], second.scores[:, 0], first.clusters).p)
    assert 0.02 < np.mean(np.array(values) < 0.05) < 0.09  # 5 % promised; 400 draws leave about 1.1 % of error
    assert scipy.stats.kstest(values, "uniform").pvalue > 0.001


def test_a_model_against_itself_differs_by_nothing():
    first, _ = two_models(np.random.default_rng(2))
    for name, one in compare_samples(BINARY, first, first).items():
        assert one.estimate.value == 0, name
        assert one.p in (None, 1.0), name
        assert one.estimate.low is None or one.estimate.low <= 0 <= one.estimate.high, name


@pytest.mark.parametrize(("won", "lost"), [(0, 0), (1, 0), (5, 1), (3, 3), (20, 7)])
def test_the_sign_test_equals_scipy(won, lost):
    expected = scipy.stats.binomtest(won, won + lost).pvalue if won + lost else 1.0
    assert sign_test(won, lost) == pytest.approx(expected)


def test_patients_with_many_series_are_counted_whole_and_not_tested_as_if_independent():
    random = np.random.default_rng(3)
    first, second = two_models(random, count=60, patients=np.arange(60) // 6, strength=(0.5, 2.0))
    clustered = compare_samples(BINARY, first, second)
    assert clustered["auc"].test == "DeLong, clustered"
    assert clustered["brier"].estimate.method == "bootstrap over patients"
    assert clustered["accuracy"].p is None


def test_clustered_delong_rarely_finds_a_difference_where_there_is_none_and_its_interval_covers_0():
    """Twelve series of a patient share what each model gets wrong about that patient."""
    random = np.random.default_rng(9)
    labels, number = np.tile([0, 1], 180), np.repeat(np.arange(30), 12)
    found, naive = [], []
    for _ in range(400):
        scores = [labels + random.normal(size=30)[number] + random.normal(size=360) for _ in range(2)]
        scores = [one + 0.8 * random.normal(size=(30, 2))[number, labels] for one in scores]
        found.append(delong_difference(labels, *scores, Clusters(number)))
        naive.append(delong_difference(labels, *scores, Clusters(np.arange(360))).p)
    values = np.array([one.p for one in found])
    assert 0.025 < np.mean(values < 0.05) < 0.085
    assert np.mean(np.array(naive) < 0.05) > 0.15
    for one in found:
        assert (one.estimate.low <= 0 <= one.estimate.high) == (one.p >= 0.05)


def test_the_two_models_must_answer_for_the_same_series():
    first, second = two_models(np.random.default_rng(4))
    with pytest.raises(ValueError, match="same series"):
        compare_samples(BINARY, first, second.take(np.arange(60)[::-1]))


def test_log_loss_and_brier_equal_sklearn():
    random = np.random.default_rng(5)
    labels, values = random.integers(0, 2, 50), random.random(50)
    assert metrics.log_loss(labels, values) == pytest.approx(sklearn.metrics.log_loss(labels, values))
    assert metrics.brier_score(labels, values) == pytest.approx(sklearn.metrics.brier_score_loss(labels, values))
    assert metrics.log_loss([1, 0], [0.0, 1.0]) == pytest.approx(-np.log(np.finfo(float).eps))
    assert math.isnan(metrics.log_loss([], []))


def test_tables_are_joined_on_the_series_that_both_models_scored(tmp_path):
    good, labels, values = make_binary(tmp_path / "good", count=40)
    rows = list(csv.DictReader(good.open()))
    worse = [{**row, "probability_bleed": repr(1 - float(value))} for row, value in zip(rows, values, strict=True)]
    write_run(tmp_path / "bad", target="binary", labels=["bleed"], classes=["bleed"], thresholds={"bleed": 0.5})
    write(tmp_path / "bad" / "scores.csv", worse[:30][::-1])  # another order, and ten series missing
    settings = EvaluationSettings(labels=write(tmp_path / "labels.csv", label_rows(labels)))
    found = compare([tmp_path / "good", tmp_path / "bad"], settings=settings, output=tmp_path / "out")
    area = sklearn.metrics.roc_auc_score(labels[:30], values[:30])
    assert (found.series, found.left_out) == (30, 10)
    assert found.models[1].differences["auc"].estimate.value == pytest.approx(1 - 2 * area)
    assert found.models[1].differences["auc"].p < 0.01
    written = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert written == json.loads(json.dumps(describe_comparison(found, folder=tmp_path / "out")))
    with (tmp_path / "out" / "comparison.csv").open() as file:
        lines = {(row["model"], row["metric"]): row for row in csv.DictReader(file)}
    assert float(lines["bad", "auc"]["difference"]) == pytest.approx(1 - 2 * area)
    assert lines["good", "auc"]["difference"] == ""


def test_the_folds_of_a_model_are_pooled(tmp_path):
    scores, labels, _ = make_binary(tmp_path / "a", count=40)
    rows = list(csv.DictReader(scores.open()))
    for fold in (0, 1):
        folder = tmp_path / "folds" / str(fold)
        write_run(folder, target="binary", labels=["bleed"], classes=["bleed"], thresholds={"bleed": 0.5})
        write(folder / "scores.csv", rows[fold::2])
    settings = EvaluationSettings(labels=write(tmp_path / "labels.csv", label_rows(labels)))
    found = compare([tmp_path / "a", tmp_path / "folds"], settings=settings, output=tmp_path / "out")
    assert found.series == 40
    assert found.models[1].differences["auc"].estimate.value == 0


def test_series_a_model_was_trained_on_are_no_evidence(tmp_path):
    first, labels, _ = make_binary(tmp_path / "a")
    rows = list(csv.DictReader(first.open()))
    rows = [{**row, "split": "train" if index < 10 else "test"} for index, row in enumerate(rows)]
    write_run(tmp_path / "b", target="binary", labels=["bleed"], classes=["bleed"], thresholds={"bleed": 0.5})
    write(tmp_path / "b" / "scores.csv", rows)
    settings = EvaluationSettings(labels=write(tmp_path / "labels.csv", label_rows(labels)))
    assert compare([tmp_path / "a", tmp_path / "b"], settings=settings, output=tmp_path / "out").series == 30


def test_what_cannot_be_compared_is_said(tmp_path):
    scores, labels, _ = make_binary(tmp_path / "a")
    settings = EvaluationSettings(labels=write(tmp_path / "labels.csv", label_rows(labels)))
    with pytest.raises(ConfigError, match="needs two models"):
        compare([scores], settings=settings, output=tmp_path / "out")
    with pytest.raises(ConfigError, match=r"holds no scores\.csv"):
        compare([scores, tmp_path / "out"], settings=settings, output=tmp_path / "out")
    other, _, _ = make_binary(tmp_path / "b", first=100)
    with pytest.raises(ConfigError, match="No row"):
        compare([scores, other], settings=settings, output=tmp_path / "out")


def test_the_command_shows_the_paired_differences(tmp_path):
    first, labels, _ = make_binary(tmp_path / "a", seed=1)
    second, _, _ = make_binary(tmp_path / "b", seed=2)
    path = write(tmp_path / "labels.csv", label_rows(labels))
    command = ["compare", str(first), str(second), "--labels", str(path), "--output", str(tmp_path / "out")]
    result = CliRunner().invoke(app, command, env={"COLUMNS": "120"})
    assert result.exit_code == 0, result.output
    assert "40 series compared, 40 by patient" in result.output
    assert "Differences are to a" in result.output
