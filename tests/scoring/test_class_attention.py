"""Attention of each class, from the network to slices.csv, the explanation's table and the evaluation."""

import numpy as np
import pytest
import torch

from seriatim.evaluation import EvaluationSettings, evaluate
from seriatim.explanation import explain
from seriatim.scoring import score
from seriatim.tasks.predict import score_embeddings
from seriatim.trained import load_model
from seriatim.training import train
from tiny_runs import make_experiment, read_header, read_rows, write_rows

NAMES = ("bleed", "subarachnoid")
OPTIONS = ("task.target=multilabel", f"task.labels=[{', '.join(NAMES)}]", "training.epochs=1")


@pytest.fixture(scope="module")
def runs(tmp_path_factory, head_ct):
    """Three models of two findings: two that attend to each by itself, and one that does not."""
    folder = tmp_path_factory.mktemp("by-class")
    poolings = {
        "own": "{kind: attention, per_class: true}", "scores": "{kind: slice_scores, how: linear_softmax}",
        "shared": "{kind: attention}",
    }  # fmt: skip
    for name, pooling in poolings.items():
        train(make_experiment(folder, head_ct, *OPTIONS, f"network.pooling={pooling}"), folder / name)
    return folder


def test_slices_and_explanations_tell_the_attention_of_each_class(tmp_path, head_ct, runs):
    columns = [f"attention_{name}" for name in NAMES]
    series = head_ct / "series" / "0001"
    for name in ("own", "scores"):
        score(series, model=runs / name, output=tmp_path / name, device="cpu")
        assert read_header(tmp_path / name / "slices.csv")[4:7] == ["attention", *columns]
        table = np.array([[float(row[column]) for column in ("attention", *columns)]
                          for row in read_rows(tmp_path / name / "slices.csv")])
        assert table.sum(axis=0) == pytest.approx(np.ones(3), abs=1e-5)
        assert table[:, 0] == pytest.approx(table[:, 1:].mean(axis=1))
        assert np.abs(table[:, 1] - table[:, 2]).max() > 1e-6
        (told,) = explain(series, model=runs / name, output=tmp_path / f"{name}-explained", device="cpu")
        rows = read_rows(tmp_path / f"{name}-explained" / told["picture"].replace(".png", ".csv"))
        found = [[float(row[column]) for column in ("attention", *columns)] for row in rows]
        assert np.array(found) == pytest.approx(table, abs=1e-7)


def test_models_that_share_one_attention_have_no_such_columns(tmp_path, head_ct, runs):
    series = head_ct / "series" / "0001"
    score(series, model=runs / "shared", output=tmp_path / "one", device="cpu")
    score(series, model=[runs / "shared", runs / "own"], output=tmp_path / "mixed", device="cpu")
    score(series, model=[runs / "scores", runs / "own"], output=tmp_path / "both", device="cpu")
    assert not any("attention_" in name for name in read_header(tmp_path / "one" / "slices.csv"))
    assert not any("attention_" in name for name in read_header(tmp_path / "mixed" / "slices.csv"))
    rows = [read_rows(tmp_path / "both" / "slices.csv")]
    for name in ("own", "scores"):
        score(series, model=runs / name, output=tmp_path / name, device="cpu")
        rows.append(read_rows(tmp_path / name / "slices.csv"))
    for both, own, other in zip(*rows, strict=True):
        mean = (float(own["attention_bleed"]) + float(other["attention_bleed"])) / 2
        assert float(both["attention_bleed"]) == pytest.approx(mean)


def test_reversed_views_put_the_attention_of_classes_back_in_order(runs):
    model = load_model(runs / "own")
    embeddings = torch.randn(5, model.network.encoder.embedding_size)
    plain, turned = (score_embeddings(model.network, model.task, one) for one in (embeddings, embeddings.flip(0)))
    both = score_embeddings(model.network, model.task, embeddings, reverse_order=True)
    expected = (plain.class_attention + turned.class_attention.flip(0)) / 2
    torch.testing.assert_close(both.class_attention, expected)
    assert plain.class_attention.shape == (5, 2)


def test_each_finding_is_judged_by_its_own_attention(tmp_path, head_ct, runs):
    """The table says that all attention of one class lies on its true slices: that class is found, and only it."""
    score(head_ct, model=runs / "own", output=tmp_path / "out", device="cpu")
    truth = {(row["series_uid"], row["sop_instance_uid"]): row for row in read_rows(head_ct / "slices.csv")}
    rows = read_rows(tmp_path / "out" / "slices.csv")
    for row in rows:
        here = truth[row["series_uid"], row["sop_instance_uid"]]["subarachnoid"]
        row["attention_subarachnoid"], row["attention_bleed"], row["attention"] = here, "0.1", "0.1"
    write_rows(tmp_path / "out" / "slices.csv", rows)
    settings = EvaluationSettings(labels=head_ct / "labels.csv", slices=head_ct / "slices.csv", include_training=True)
    evaluate([tmp_path / "out" / "scores.csv"], settings=settings, output=tmp_path / "evaluation")
    found = {row["metric"]: row["value"] for row in read_rows(tmp_path / "evaluation" / "evaluation.csv")}
    assert float(found["slice_auc_of_attention_subarachnoid"]) == 1.0
    assert float(found["slice_auc_of_attention_bleed"]) == 0.5
