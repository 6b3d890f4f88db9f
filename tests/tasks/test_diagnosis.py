"""Diagnosis: labels from text, masked losses, probabilities, metrics, thresholds and decisions of all four targets."""

import math

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from sklearn.metrics import average_precision_score, balanced_accuracy_score, log_loss, roc_auc_score
from torch.nn import functional

from seriatim.errors import ConfigError
from seriatim.models import NetworkSettings, SequenceOutput
from seriatim.series.batch import IGNORE, SliceBatch
from seriatim.tasks import DiagnosisSettings, DiagnosisTask
from seriatim.tasks.losses import attention_loss

TARGETS = {
    "binary": {"labels": ("bleed",)},
    "multiclass": {"labels": ("kind",), "classes": ("covid", "pneumonia", "regular")},
    "multilabel": {"labels": ("epidural", "subdural", "ventricular")},
    "regression": {"labels": ("age", "volume_ml")},
}


def settings(target: str, **more) -> DiagnosisSettings:
    return DiagnosisSettings(target=target, **{**TARGETS[target], **more})


def task(target: str, **more) -> DiagnosisTask:
    return settings(target, **more).build()


def make(target: str, *, series: int = 3, slices: int = 4, unknown: bool = False) -> tuple[SequenceOutput, SliceBatch]:
    """A random answer of a network, and a batch with labels of the target; series 1 has one slice less."""
    torch.manual_seed(0)
    outputs = task(target).outputs
    mask = torch.ones(series, slices, dtype=torch.bool)
    mask[1, -1] = False
    labels = torch.randint(0, 2, (series, 1 if target == "multiclass" else outputs)).float()
    slice_labels = torch.randint(0, 2, (series, slices, outputs)).float()
    if target == "multiclass":
        slice_labels = functional.one_hot(torch.randint(0, outputs, (series, slices)), outputs).float()
    if unknown:
        labels, slice_labels = torch.full_like(labels, IGNORE), torch.full_like(slice_labels, IGNORE)
    output = SequenceOutput(
        embeddings=torch.zeros(series, slices, 2), context=torch.zeros(series, slices, 2), attention=mask.float(),
        volume_logits=torch.randn(series, outputs, requires_grad=True),
        slice_logits=torch.randn(series, slices, outputs, requires_grad=True),
    )  # fmt: skip
    batch = SliceBatch(
        mask=mask, positions=torch.zeros(series, slices), labels=labels, slice_labels=slice_labels,
        keys=tuple("abc"), embeddings=output.embeddings,
    )  # fmt: skip
    return output, batch


def change(output: SequenceOutput, **tensors) -> SequenceOutput:
    names = ("embeddings", "context", "volume_logits", "slice_logits", "attention")
    return SequenceOutput(**{**{name: getattr(output, name) for name in names}, **tensors})


@pytest.mark.parametrize(
    ("target", "more", "message"),
    [
        ("binary", {"labels": ("a", "b")}, "one label column, not 2"),
        ("multiclass", {"classes": ()}, "needs classes"),
        ("binary", {"classes": ("a", "b")}, "leave them out"),
        ("multilabel", {"labels": ("a", "a")}, "different names"),
        ("multiclass", {"classes": ("a", " ")}, "none of them empty"),
        ("multilabel", {"slice_labels": ("a",)}, "must name 3 columns"),
        ("multiclass", {"class_weights": (1.0, 2.0)}, "3 positive numbers"),
        ("binary", {"class_weights": (-1.0,)}, "1 positive numbers"),
        ("regression", {"class_weights": "balanced"}, "not for regression"),
        ("regression", {"label_smoothing": 0.1}, "not for regression"),
        ("regression", {"focal_gamma": 2.0}, "not for regression"),
        ("multiclass", {"soft_labels": True}, "soft_labels are for binary and multilabel"),
        ("binary", {"labels": ()}, "at least 1 item"),
    ],
)
def test_settings_that_cannot_be_are_refused_with_the_repair(target, more, message):
    with pytest.raises(ValidationError, match=message):
        settings(target, **more)


@pytest.mark.parametrize(
    ("target", "outputs", "names"),
    [
        ("binary", 1, ("bleed",)),
        ("multiclass", 3, ("covid", "pneumonia", "regular")),
        ("multilabel", 3, ("epidural", "subdural", "ventricular")),
        ("regression", 2, ("age", "volume_ml")),
    ],
)
def test_every_output_has_a_name(target, outputs, names):
    assert (task(target).outputs, task(target).class_names) == (outputs, names)


@pytest.mark.parametrize(
    ("target", "row", "labels"),
    [
        ("binary", {"bleed": "1"}, (1.0,)),
        ("binary", {"bleed": " No "}, (0.0,)),
        ("binary", {"bleed": "1.0"}, (1.0,)),
        ("binary", {"bleed": "0.00"}, (0.0,)),
        ("binary", {"bleed": "TRUE"}, (1.0,)),
        ("binary", {"bleed": ""}, (IGNORE,)),
        ("binary", {"bleed": "NaN"}, (IGNORE,)),
        ("binary", {"bleed": "-100"}, (IGNORE,)),
        ("multiclass", {"kind": "regular"}, (2.0,)),
        ("multiclass", {"kind": "1"}, (1.0,)),
        ("multiclass", {"kind": "2.0"}, (2.0,)),
        ("multiclass", {"kind": ""}, (IGNORE,)),
        ("multilabel", {"epidural": "0", "subdural": "yes", "ventricular": ""}, (0.0, 1.0, IGNORE)),
        ("regression", {"age": "61.5", "volume_ml": "-3e1"}, (61.5, -30.0)),
    ],
)
def test_labels_are_read_from_text(target, row, labels):
    assert task(target).encode_labels(row) == labels


@pytest.mark.parametrize(
    ("target", "row", "message"),
    [
        ("binary", {"bleed": "2"}, r"'2' in column 'bleed'.*Legal: 1, true, yes; 0, false, no"),
        ("binary", {"blood": "1"}, r"no label column 'bleed'.*blood"),
        ("multiclass", {"kind": "flu"}, r"'flu' in column 'kind'.*covid, pneumonia, regular"),
        ("multiclass", {"kind": "3"}, "'3' in column 'kind'"),
        ("multiclass", {"kind": "1.5"}, "'1.5' in column 'kind'"),
        ("regression", {"age": "old", "volume_ml": "1"}, "'old' in column 'age' is not a number"),
        ("regression", {"age": "inf", "volume_ml": "1"}, "'inf' in column 'age'"),
    ],
)
def test_an_illegal_label_names_value_column_and_what_is_legal(target, row, message):
    with pytest.raises(ConfigError, match=message):
        task(target).encode_labels(row)


def test_soft_labels_are_shares_of_yes_where_they_are_asked_for():
    soft = task("multilabel", soft_labels=True)
    row = {"epidural": "0.25", "subdural": "yes", "ventricular": ""}
    assert soft.encode_labels(row) == (0.25, 1.0, IGNORE)
    assert soft.encode_slice_labels(row) == (0.25, 1.0, IGNORE)
    with pytest.raises(ConfigError, match=r"'1\.5' in column 'epidural'.*a number from 0 to 1"):
        soft.encode_labels({**row, "epidural": "1.5"})
    with pytest.raises(ConfigError, match=r"'0\.25' in column 'epidural'.*set task.soft_labels"):
        task("multilabel").encode_labels(row)


def test_soft_labels_are_soft_in_the_loss_and_yes_from_half_on_elsewhere():
    soft = task("binary", soft_labels=True, class_weights="balanced", coverage=0.5, calibration="platt")
    shares = np.array([[0.0], [0.25], [0.5], [0.75], [1.0], [0.3], [IGNORE], [0.2]])
    hard = np.array([[0.0], [0.0], [1.0], [1.0], [1.0], [0.0], [IGNORE], [0.0]])
    scores = np.array([[0.1], [0.6], [0.4], [0.8], [0.9], [0.3], [0.5], [0.2]])
    assert np.array_equal(soft.harden(shares), hard)
    for ask in ("metrics", "thresholds"):
        assert getattr(soft, ask)(scores, shares) == getattr(soft, ask)(scores, hard)
    assert soft.with_calibration(scores, shares) == soft.with_calibration(scores, hard)
    assert soft.with_conformal(scores, shares) == soft.with_conformal(scores, hard)
    assert soft.with_class_weights(shares).class_weights == pytest.approx((4.0 / 3.0,))
    output, batch = make("binary")
    batch.labels[:] = torch.tensor([[0.25], [0.5], [1.0]])
    expected = functional.binary_cross_entropy_with_logits(output.volume_logits, batch.labels)
    torch.testing.assert_close(soft.loss(output, batch)["volume_loss"], expected)


def test_classes_with_numbers_as_names_are_read_by_name_only():
    graded = task("multiclass", classes=("1", "2", "3"))
    assert graded.encode_labels({"kind": "1"}) == (0.0,)
    assert graded.encode_labels({"kind": "3.0"}) == (2.0,)  # as pandas writes whole numbers of a column with gaps
    for text in ("0", "1.5", "0.0"):
        with pytest.raises(ConfigError, match=f"'{text}'"):
            graded.encode_labels({"kind": text})


def test_a_class_may_be_called_like_an_unknown_value():
    assert task("multiclass", classes=("na", "flu")).encode_labels({"kind": "na"}) == (0.0,)


def test_slice_labels_are_read_where_the_table_has_them():
    several = task("multilabel")
    assert several.encode_slice_labels({"subdural": "1", "index": "4"}) == (IGNORE, 1.0, IGNORE)
    assert task("multiclass").encode_slice_labels({"kind": "pneumonia"}) == (0.0, 1.0, 0.0)
    assert task("multiclass").encode_slice_labels({"kind": ""}) == (IGNORE,) * 3
    assert task("multiclass").encode_slice_labels({}) == (IGNORE,) * 3
    named = task("binary", slice_labels=("blood_here",))
    assert named.encode_slice_labels({"blood_here": "yes", "bleed": "0"}) == (1.0,)
    with pytest.raises(ConfigError, match="no label column 'blood_here'"):
        named.encode_slice_labels({"bleed": "0"})


@pytest.mark.parametrize("target", TARGETS)
def test_the_loss_is_the_known_one_plus_the_weighted_slice_loss(target):
    output, batch = make(target)
    losses = task(target, slice_loss_weight=0.5).loss(output, batch)
    mask = batch.mask
    logits, slice_logits = output.volume_logits, output.slice_logits[mask]
    if target == "multiclass":
        volume = functional.cross_entropy(logits, batch.labels[:, 0].long())
        slices = functional.cross_entropy(slice_logits, batch.slice_labels[mask].argmax(1))
    else:
        binary = functional.binary_cross_entropy_with_logits
        measure = functional.smooth_l1_loss if target == "regression" else binary
        volume, slices = measure(logits, batch.labels), measure(slice_logits, batch.slice_labels[mask])
    torch.testing.assert_close(losses["volume_loss"], volume)
    torch.testing.assert_close(losses["slice_loss"], slices)
    torch.testing.assert_close(losses["loss"], volume + 0.5 * slices)


@pytest.mark.parametrize("target", TARGETS)
def test_what_is_not_known_and_padding_never_count(target):
    output, batch = make(target)
    batch.labels[0] = IGNORE
    batch.slice_labels[2] = IGNORE
    wild = [output.volume_logits.detach().clone(), output.slice_logits.detach().clone()]
    wild[0][0] = 1e4
    wild[1][2], wild[1][1, -1] = 1e4, -1e4
    one = task(target, slice_loss_weight=1.0).loss(output, batch)
    two = task(target, slice_loss_weight=1.0).loss(change(output, volume_logits=wild[0], slice_logits=wild[1]), batch)
    assert one["loss"] > 0
    for name, value in one.items():
        assert torch.equal(value, two[name]), name


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("weights", ["none", "balanced"])
def test_a_batch_with_nothing_known_is_a_zero_that_can_be_trained_on(target, weights):
    output, batch = make(target, unknown=True)
    weights = "none" if target == "regression" else weights
    fitted = task(target, slice_loss_weight=1.0, class_weights=weights).with_class_weights(batch.labels.numpy())
    loss = fitted.loss(output, batch)["loss"]
    assert float(loss.detach()) == 0.0
    loss.backward()
    assert (output.volume_logits.grad == 0).all()
    assert (output.slice_logits.grad == 0).all()


@pytest.mark.parametrize("target", TARGETS)
def test_the_loss_falls_when_the_answer_gets_better(target):
    output, batch = make(target)
    labels = batch.labels
    right = functional.one_hot(labels[:, 0].long(), 3).float() * 9 if target == "multiclass" else (labels - 0.5) * 18
    if target == "regression":
        right = labels
    better = task(target).loss(change(output, volume_logits=right), batch)["loss"]
    assert better < 0.01 < task(target).loss(output, batch)["loss"]


def test_balanced_weights_come_from_the_known_training_labels():
    labels = np.array([[1.0], [0.0], [0.0], [0.0], [IGNORE]])
    assert task("binary", class_weights="balanced").with_class_weights(labels).class_weights == (3.0,)
    assert task("binary").with_class_weights(labels) == task("binary")
    kinds = np.array([[0.0], [0.0], [0.0], [1.0], [IGNORE]])
    weighted = task("multiclass", class_weights="balanced").with_class_weights(kinds)
    assert weighted.class_weights == pytest.approx((4 / 9, 4 / 3, 1.0))
    many = np.array([[1.0, 0.0, 1.0], [0.0, 0.0, 1.0], [0.0, 0.0, IGNORE]])
    assert task("multilabel", class_weights="balanced").with_class_weights(many).class_weights == (2.0, 1.0, 0.5)


def test_weights_enter_the_loss_of_the_series():
    output, batch = make("multiclass")
    weights = (1.0, 5.0, 2.0)
    found = task("multiclass", class_weights=weights, label_smoothing=0.1).loss(output, batch)["volume_loss"]
    expected = functional.cross_entropy(
        output.volume_logits, batch.labels[:, 0].long(), weight=torch.tensor(weights), label_smoothing=0.1
    )
    torch.testing.assert_close(found, expected)
    output, batch = make("binary")
    found = task("binary", class_weights=(4.0,)).loss(output, batch)["volume_loss"]
    expected = functional.binary_cross_entropy_with_logits(
        output.volume_logits, batch.labels, pos_weight=torch.tensor([4.0])
    )
    torch.testing.assert_close(found, expected)


def test_numbers_are_learnt_in_units_of_their_spread():
    ages = np.array([[40.0, 1.0], [60.0, 1.0], [80.0, IGNORE]])
    fitted = task("regression").with_class_weights(ages)
    assert fitted.center == (60.0, 1.0)
    assert fitted.scale == (pytest.approx(np.std([40, 60, 80])), 1.0)
    output, batch = make("regression")
    exact = change(output, volume_logits=batch.labels + torch.tensor([fitted.scale[0], 0.0]))
    assert float(fitted.loss(exact, batch)["volume_loss"]) == pytest.approx(0.25)  # smooth L1 of 1 and of 0, mean


def test_a_network_learns_large_numbers_once_it_knows_their_scale():
    torch.manual_seed(0)
    embeddings, mask = torch.randn(64, 3, 8), torch.ones(64, 3, dtype=torch.bool)
    ages = 60 + 15 * embeddings[:, :, 0].mean(dim=1, keepdim=True)
    fitted = DiagnosisSettings(target="regression", labels=("age",)).build().with_class_weights(ages.numpy())
    network = NetworkSettings.model_validate(
        {"encoder": {"kind": "small_cnn", "widths": [8]}, "temporal": {"kind": "none"}, "pooling": {"kind": "mean"}}
    ).build(1, fitted.outputs)
    network.set_output_scale(fitted.center, fitted.scale)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.05)
    batch = SliceBatch(
        mask=mask, positions=torch.zeros(64, 3), labels=ages, slice_labels=torch.full((64, 3, 1), IGNORE),
        keys=("k",) * 64, embeddings=embeddings,
    )  # fmt: skip
    for _ in range(100):
        loss = fitted.loss(network.read(embeddings, mask), batch)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    values = fitted.probabilities(network.read(embeddings, mask).volume_logits.detach()).numpy()
    assert fitted.metrics(values, ages.numpy())["mae"] < 1.0


@pytest.mark.parametrize("target", TARGETS)
def test_probabilities_are_float64_and_what_they_are_called(target):
    logits = torch.tensor([[0.0, 1e4, -1e4], [3.0, 2.0, 1.0]])[:, : task(target).outputs]
    found = task(target).probabilities(logits)
    assert found.dtype == torch.float64
    match target:
        case "regression":
            assert torch.equal(found, logits.double())
        case "multiclass":
            assert (found.sum(dim=-1) - 1).abs().max() < 1e-12
            assert found[0].tolist() == [0.0, 1.0, 0.0]
        case _:
            assert float(found[0, 0]) == 0.5
            assert float(found[1, 0]) == pytest.approx(1 / (1 + math.exp(-3)), abs=1e-12)
    assert torch.equal(task(target).slice_probabilities(logits[None])[0], found)


def test_binary_metrics_agree_with_scikit_learn():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, (80, 1)).astype(float)
    probabilities = np.clip(labels * 0.2 + rng.random((80, 1)) * 0.8, 0, 1)
    labels[:5] = IGNORE
    found = task("binary").metrics(probabilities, labels)
    known = labels[5:, 0], probabilities[5:, 0]
    assert found["auc"] == pytest.approx(roc_auc_score(*known))
    assert found["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(known[0], known[1] >= 0.5))
    assert found["log_loss"] == pytest.approx(log_loss(*known))
    assert found["average_precision"] == pytest.approx(average_precision_score(*known))


def test_multiclass_metrics_agree_with_scikit_learn():
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 3, (90, 1)).astype(float)
    probabilities = rng.dirichlet(np.ones(3), 90) * 0.7 + 0.3 * np.eye(3)[labels[:, 0].astype(int)]
    found = task("multiclass").metrics(probabilities, labels)
    expected = roc_auc_score(labels[:, 0], probabilities, multi_class="ovr", average="macro")
    assert found["auc"] == pytest.approx(expected)
    assert found["accuracy"] == pytest.approx((probabilities.argmax(1) == labels[:, 0]).mean())
    assert {"auc_covid", "auc_pneumonia", "auc_regular"} < set(found)


def test_a_metric_that_cannot_be_computed_is_left_out():
    one_class = task("binary").metrics(np.array([[0.2], [0.7]]), np.array([[0.0], [0.0]]))
    assert set(one_class) == {"accuracy", "balanced_accuracy", "log_loss"}
    assert one_class["accuracy"] == 0.5
    assert task("binary").metrics(np.array([[0.2]]), np.array([[IGNORE]])) == {}
    assert task("multiclass").metrics(np.full((1, 3), 1 / 3), np.array([[IGNORE]])) == {}
    partial = task("multilabel").metrics(
        np.array([[0.9, 0.5, 0.1], [0.1, 0.5, 0.2]]), np.array([[1.0, 1.0, IGNORE], [0.0, 1.0, IGNORE]])
    )
    assert partial["auc"] == partial["auc_epidural"] == 1.0
    assert not {"auc_subdural", "auc_ventricular"} & set(partial)


def test_regression_metrics_are_in_the_units_of_the_labels():
    found = task("regression").metrics(np.array([[61.0, 5.0], [58.0, 9.0]]), np.array([[60.0, 5.0], [60.0, IGNORE]]))
    assert found == pytest.approx({"mae": 0.75, "rmse": math.sqrt(2.5) / 2, "mae_age": 1.5, "mae_volume_ml": 0.0})


def test_what_is_watched_can_be_found_among_the_metrics():
    for target in TARGETS:
        name, direction = task(target).monitor
        assert (name, direction) == (("mae", "min") if target == "regression" else ("auc", "max"))


def test_thresholds_split_what_can_be_split():
    scores = np.array([[0.1], [0.2], [0.3], [0.35]])
    labels = np.array([[0.0], [0.0], [1.0], [1.0]])
    binary = task("binary")
    thresholds = binary.thresholds(scores, labels)
    assert 0.2 < thresholds["bleed"] < 0.3
    assert [binary.decide(row, thresholds) for row in scores] == ["0", "0", "1", "1"]
    assert binary.decide([0.3], {}) == "0"
    assert task("multiclass").thresholds(np.full((2, 3), 1 / 3), labels[:2]) == {}
    assert task("regression").thresholds(np.ones((2, 2)), np.ones((2, 2))) == {}


def test_decisions_are_said_in_the_words_of_the_labels():
    assert task("multiclass").decide(np.array([0.2, 0.3, 0.5]), {}) == "regular"
    thresholds = {"epidural": 0.1, "subdural": 0.9}
    assert task("multilabel").decide(np.array([0.1, 0.8, 0.5]), thresholds) == "epidural;ventricular"
    assert task("multilabel").decide(np.zeros(3), thresholds) == ""
    assert task("multilabel").lead([0.1, 0.8, 0.7], {"epidural": 0.05, "subdural": 0.9, "ventricular": 0.6}) == 2
    assert task("multilabel").lead([0.1, 0.8, 0.5], {"epidural": 0.15, "subdural": 0.9, "ventricular": 0.6}) == 0
    assert task("multiclass").lead([0.2, 0.3, 0.5], {}) == 2
    assert task("regression").decide(np.array([61.23456789, 1e-7]), {}) == "61.2346;1e-07"


def test_attention_is_drawn_to_labelled_slices_only():
    labels = torch.tensor([[0.0, 1, 1, IGNORE], [0, 0, 0, 0], [IGNORE] * 4])[..., None]
    mask = torch.tensor([[True] * 4, [True] * 4, [True, True, False, False]])
    attention = torch.tensor([[0.4, 0.2, 0.1, 0.3], [1.0, 0, 0, 0], [0.5, 0.5, 0, 0]], requires_grad=True)
    loss = attention_loss(attention, labels, mask)
    assert loss.item() == pytest.approx(-math.log(0.6))  # only the first series says where to look
    loss.backward()
    assert attention.grad[0].tolist() == pytest.approx([0, -1 / 0.6, -1 / 0.6, -1 / 0.6])
    assert float(attention.grad[1:].abs().max()) == 0
    nothing = attention_loss(attention, torch.full((3, 4, 1), IGNORE), mask)
    assert nothing.item() == 0


def test_the_attention_loss_enters_with_its_weight():
    output, batch = make("binary")
    plain = task("binary", slice_loss_weight=0.5).loss(output, batch)
    drawn = task("binary", slice_loss_weight=0.5, attention_loss_weight=0.2).loss(output, batch)
    torch.testing.assert_close(drawn["loss"], plain["loss"] + 0.2 * drawn["attention_loss"])
    with pytest.raises(ValueError, match="attention_loss_weight is for binary and multilabel"):
        task("regression", attention_loss_weight=0.2)
