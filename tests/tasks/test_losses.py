"""Losses against their formulas: focal loss, soft labels, weights and smoothing, and the attention of each finding."""

import math

import pytest
import torch
from torch.nn import functional

from seriatim.series.batch import IGNORE
from seriatim.tasks.losses import Emphasis, attention_loss, class_loss, yes_no_loss

LOGITS = [[2.0, -1.0], [0.3, 0.0], [-3.0, 40.0]]
LABELS = [[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
def test_focal_loss_of_yes_and_no_is_that_of_the_paper(gamma):
    """-(1 - p_t) ** gamma * log(p_t), equation 4 of Lin et al. 2017."""
    rows = zip(LOGITS, LABELS, strict=True)
    right = [sigmoid(x if y else -x) for row in rows for x, y in zip(*row, strict=True)]
    expected = sum(-((1 - p) ** gamma) * math.log(p) for p in right) / 6
    logits = torch.tensor(LOGITS, requires_grad=True)
    found = yes_no_loss(logits, torch.tensor(LABELS), torch.ones(3, 2) > 0, emphasis=Emphasis(focal_gamma=gamma))
    assert float(found.detach()) == pytest.approx(expected, abs=1e-5)
    found.backward()
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("gamma", [0.0, 2.0])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("weights", [None, [0.5, 1.0, 4.0]])
def test_class_loss_is_the_weighted_mean_over_soft_classes(gamma, smoothing, weights):
    logits, classes = torch.randn(5, 3, generator=torch.Generator().manual_seed(0)), [0, 2, 2, 1, 0]
    weighing = None if weights is None else torch.tensor(weights)
    emphasis = Emphasis(weights=weighing, smoothing=smoothing, focal_gamma=gamma)
    known = torch.tensor([True, True, False, True, True])
    found = class_loss(logits, torch.tensor(classes).float(), known, emphasis=emphasis)
    total = share = 0.0
    for row in (0, 1, 3, 4):
        p = logits[row].softmax(0).tolist()
        w = weights or [1.0] * 3
        soft = [(1 - smoothing) * (k == classes[row]) + smoothing / 3 for k in range(3)]
        total -= sum(w[k] * soft[k] * (1 - p[k]) ** gamma * math.log(p[k]) for k in range(3))
        share += w[classes[row]]
    assert float(found) == pytest.approx(total / share, abs=1e-5)
    if not gamma:
        torch_loss = functional.cross_entropy(
            logits[known], torch.tensor(classes)[known], weight=weighing, label_smoothing=smoothing
        )
        torch.testing.assert_close(found, torch_loss)


def test_a_soft_label_is_met_by_its_own_probability():
    """Cross-entropy is least at the label itself; focal loss is 0 there."""
    probabilities = torch.linspace(0.01, 0.99, 99)
    labels, known = torch.full((1, 1), 0.25), torch.ones(1, 1) > 0
    for gamma in (0.0, 2.0):
        emphasis = Emphasis(focal_gamma=gamma)
        losses = [yes_no_loss(p.logit()[None, None], labels, known, emphasis=emphasis) for p in probabilities]
        assert float(probabilities[torch.stack(losses).argmin()]) == pytest.approx(0.25)
    assert float(yes_no_loss(labels.logit(), labels, known, emphasis=emphasis)) < 1e-6


def test_positives_of_soft_labels_weigh_by_their_share():
    emphasis = Emphasis(weights=torch.tensor([3.0]))
    found = yes_no_loss(torch.zeros(1, 1), torch.full((1, 1), 0.25), torch.ones(1, 1) > 0, emphasis=emphasis)
    assert float(found) == pytest.approx((0.25 * 3 + 0.75) * math.log(2))


@pytest.mark.parametrize("size", [0.0, 60.0, 200.0])
def test_focal_gradients_stay_finite_where_the_answer_is_perfect(size):
    for gamma in (0.5, 2.0):
        logits = torch.tensor([[size, -size]], requires_grad=True)
        emphasis = Emphasis(focal_gamma=gamma)
        yes_no_loss(logits, torch.tensor([[1.0, 0.0]]), torch.ones(1, 2) > 0, emphasis=emphasis).backward()
        class_loss(logits, torch.tensor([0.0]), torch.tensor([True]), emphasis=emphasis).backward()
        assert torch.isfinite(logits.grad).all()


def test_each_finding_draws_its_own_attention():
    attention = torch.tensor([[[0.5, 0.1], [0.3, 0.2], [0.2, 0.7]]])
    labels = torch.tensor([[[1.0, 0.0], [0.0, 0.4], [0.0, 0.0]]])
    mask = torch.ones(1, 3, dtype=torch.bool)
    assert float(attention_loss(attention, labels, mask)) == pytest.approx(-math.log(0.5))
    labels[0, 1, 1] = 0.6
    assert float(attention_loss(attention, labels, mask)) == pytest.approx(-(math.log(0.5) + math.log(0.2)) / 2)
    labels[0, 2, 1] = IGNORE
    assert float(attention_loss(attention, labels, mask)) == pytest.approx(-(math.log(0.5) + math.log(0.9)) / 2)
    mask[0, 2] = False
    assert float(attention_loss(attention, labels, mask)) == pytest.approx(-(math.log(0.5) + math.log(0.2)) / 2)
