"""Pooling of slice scores and attention of each class, against their formulas and against numpy."""

import numpy as np
import pytest
import torch
from tiny_networks import HOWS, build, make_mask

from seriatim.models.slice_scores import PACE, SliceScoresSettings

SCORES = [3.0, -1.0, 0.5, 2.0]


def pool(how: str, logits: torch.Tensor, mask: torch.Tensor, **settings):
    pooling = SliceScoresSettings(how=how, **settings).build(5, bidirectional=False, outputs=logits.shape[2])
    return pooling(logits, mask)


def sigmoid(values):
    return 1 / (1 + np.exp(-np.asarray(values)))


P = sigmoid(SCORES)
POOLED_P = (P * P).sum() / P.sum()


@pytest.mark.parametrize(
    ("how", "settings", "value", "attention"),
    [
        ("max", {}, 3.0, [1, 0, 0, 0]),
        ("top_k", {"top": 2}, 2.5, [0.5, 0, 0, 0.5]),
        ("top_k", {"top": 9}, np.mean(SCORES), [0.25] * 4),
        ("mean", {}, np.mean(SCORES), [0.25] * 4),
        ("log_sum_exp", {}, np.log(np.exp(SCORES).mean()), np.exp(SCORES) / np.exp(SCORES).sum()),
        ("log_sum_exp", {"sharpness": 100.0}, 3.0 - np.log(4) / 100, [1, 0, 0, 0]),
        ("linear_softmax", {}, np.log(POOLED_P / (1 - POOLED_P)), P / P.sum()),
    ],
)
def test_each_way_is_its_formula_and_padding_is_no_slice(how, settings, value, attention):
    """The padding holds the largest score, and the output beside it has scores of its own."""
    beyond = [50.0, torch.nan]
    logits = torch.tensor([[*SCORES, *beyond], [*SCORES[::-1], *beyond]]).T[None]
    found, weights = pool(how, logits, make_mask([4], padding=2), **settings)
    torch.testing.assert_close(found, torch.full((1, 2), float(value)), atol=1e-5, rtol=0)
    expected = torch.tensor(np.asarray(attention), dtype=torch.float32)
    torch.testing.assert_close(weights[0, :4, 0], expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(weights[0, :4, 1], expected.flip(0), atol=1e-5, rtol=0)
    assert (weights[0, 4:] == 0).all()


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("size", [-200.0, 200.0])
def test_extreme_scores_stay_finite_with_their_gradients(how, size):
    logits = (torch.tensor([1.0, -1.0, 0.5])[None, :, None] * size).requires_grad_()
    found, _ = pool(how, logits, make_mask([3]))
    found.sum().backward()
    assert torch.isfinite(found).all()
    assert torch.isfinite(logits.grad).all()
    assert (logits.grad != 0).any()


@pytest.mark.parametrize("how", HOWS)
def test_a_higher_top_slice_raises_the_series(how):
    mask, scores = make_mask([4]), torch.tensor(SCORES)[None, :, None]
    before, _ = pool(how, scores, mask)
    after, _ = pool(how, scores + torch.tensor([1.0, 0.0, 0.0, 0.0])[None, :, None], mask)
    assert after > before


@pytest.mark.parametrize("how", HOWS)
def test_the_answer_comes_from_the_slice_logits_by_a_factor_and_an_offset(how):
    network = build(pooling={"kind": "slice_scores", "how": how})
    assert network.volume_head is None
    with torch.no_grad():
        network.pooling.log_factor.copy_(torch.tensor([0.5, 2.0]).log() / PACE)
        network.pooling.offset.copy_(torch.tensor([0.0, -1.0]) / PACE)
    mask = make_mask([3, 5])
    output = network.read(torch.randn(2, 5, 8), mask)
    pooled, attention = pool(how, output.slice_logits, mask)
    torch.testing.assert_close(output.volume_logits, pooled * torch.tensor([0.5, 2.0]) + torch.tensor([0.0, -1.0]))
    torch.testing.assert_close(output.class_attention, attention)
    torch.testing.assert_close(output.attention, attention.mean(dim=2))
    output.volume_logits.sum().backward()
    for parameter in (network.pooling.log_factor, network.pooling.offset, network.slice_head.weight):
        assert (parameter.grad != 0).any()


def test_factor_and_offset_calibrate_within_an_ordinary_run():
    """Labelled slices pin their logits, here at odds of 1 to 7: 300 steps of Adam must take them to 3 to 1."""
    scores, mask = torch.full((8, 5, 1), -2.0), make_mask([5] * 8)
    pooling = SliceScoresSettings(how="max").build(5, bidirectional=False, outputs=1)
    optimizer = torch.optim.Adam(pooling.parameters(), lr=1e-3)
    labels = torch.tensor([[1.0]] * 6 + [[0.0]] * 2)
    for _ in range(300):
        optimizer.zero_grad()
        torch.nn.functional.binary_cross_entropy_with_logits(pooling(scores, mask)[0], labels).backward()
        optimizer.step()
    assert float(pooling(scores, mask)[0][0].detach().sigmoid()) == pytest.approx(0.75, abs=0.05)


def test_output_scale_acts_once_on_pooled_scores():
    network = build(pooling={"kind": "slice_scores", "how": "max"}, outputs=1)
    embeddings, mask = torch.randn(1, 3, 8), make_mask([3])
    network.set_output_scale([60.0], [15.0])
    output = network.read(embeddings, mask)
    torch.testing.assert_close(output.volume_logits, output.slice_logits.amax(dim=1))


def test_each_class_attends_and_answers_by_itself():
    network = build({"kind": "none"}, {"kind": "attention", "per_class": True}, outputs=3)
    mask, embeddings = make_mask([4, 2]), torch.randn(2, 4, 8)
    output = network.read(embeddings, mask)
    weights = output.class_attention
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(2, 3))
    assert (weights[1, 2:] == 0).all()
    torch.testing.assert_close(output.attention, weights.mean(dim=2))
    assert (weights[0, :, 0] - weights[0, :, 1]).abs().max() > 1e-4
    for k in range(3):
        vector = (weights[:, :, k, None] * output.context).sum(dim=1)
        expected = vector @ network.volume_head.weight[k] + network.volume_head.bias[k]
        torch.testing.assert_close(output.volume_logits[:, k], expected)


def test_one_output_has_no_attention_by_class():
    for pooling in ({"kind": "slice_scores"}, {"kind": "attention", "per_class": True}, "attention"):
        output = build(pooling=pooling, outputs=1).read(torch.randn(1, 3, 8), make_mask([3]))
        assert output.class_attention is None
        torch.testing.assert_close(output.attention.sum(), torch.tensor(1.0))


def make_needles(count: int, *, seed: int):
    """Series of 24 noisy slices; in half of them one slice shows the finding."""
    generator = torch.Generator().manual_seed(seed)
    embeddings = torch.randn(count, 24, 8, generator=generator)
    labels = torch.arange(count) % 2
    places = torch.randint(0, 24, (count,), generator=generator)
    embeddings[torch.arange(count), places, 0] += 5.0 * labels
    return embeddings, labels.float()


def test_slice_scores_find_a_needle_from_few_series():
    """Where one slice of many decides, 40 labelled series teach the maximum of slice scores more than their mean."""
    (embeddings, labels), (unseen, truth) = make_needles(40, seed=1), make_needles(400, seed=2)
    right = {}
    for how in ("mean", "log_sum_exp", "linear_softmax", "top_k"):
        network = build({"kind": "none"}, {"kind": "slice_scores", "how": how, "top": 2}, outputs=1)
        optimizer = torch.optim.Adam(network.parameters(), lr=3e-2)
        for _ in range(80):
            logits = network.read(embeddings, torch.ones(40, 24, dtype=torch.bool)).volume_logits[:, 0]
            loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            answers = network.read(unseen, torch.ones(400, 24, dtype=torch.bool)).volume_logits[:, 0]
        right[how] = float(((answers > 0) == truth.bool()).float().mean())
    assert min(right[how] for how in right if how != "mean") > right["mean"] + 0.05, right
