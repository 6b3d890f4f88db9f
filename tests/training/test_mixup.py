"""Mixup of series: no slice is lost, each keeps its label, padding never enters, and the loss is the mixture."""

from dataclasses import replace

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from seriatim.models import NetworkSettings
from seriatim.series.batch import IGNORE, SliceBatch
from seriatim.tasks import DiagnosisSettings
from seriatim.training.mixup import mixed_loss, pair_up

SIZE = 8


def make_batch(counts: list[int], *, padding: int = 0, mixing: float = 0.3) -> SliceBatch:
    """Slices numbered within their series by embedding, position and label (odd or even); NaN on padding."""
    mask = torch.arange(max(counts) + padding) < torch.tensor(counts)[:, None]
    numbers = torch.arange(mask.shape[1]) / 100 + torch.arange(len(counts))[:, None]
    odd = (torch.arange(mask.shape[1]) % 2).float().expand(mask.shape)
    labels = torch.arange(len(counts))[:, None].float() % 2
    return SliceBatch(
        mask=mask, positions=numbers, labels=labels, slice_labels=odd[..., None],
        keys=tuple(map(str, range(len(counts)))), mixing=mixing,
        embeddings=numbers[..., None].repeat(1, 1, SIZE).masked_fill(~mask[..., None], torch.nan),
    )  # fmt: skip


def build() -> tuple:
    torch.manual_seed(0)
    content = {
        "encoder": {"kind": "small_cnn", "widths": [4, SIZE]}, "temporal": {"kind": "lstm", "hidden": 5},
        "pooling": {"kind": "attention"},
    }  # fmt: skip
    network = NetworkSettings.model_validate(content).build(in_channels=1, outputs=1)
    return network, DiagnosisSettings(labels=("bleed",), slice_loss_weight=1.0).build()


@given(counts=st.lists(st.integers(1, 9), min_size=1, max_size=5), padding=st.integers(0, 2))
def test_pairs_are_as_long_as_the_longer_and_lose_no_slice(counts, padding):
    batch = make_batch(counts, padding=padding)
    one, other = pair_up(batch)
    for row, count in enumerate(counts):
        partner = (row + 1) % len(counts)
        for side, whose in ((one, row), (other, partner)):
            real = side.mask[row]
            assert real.tolist() == (torch.arange(len(real)) < max(count, counts[partner])).tolist()
            shown = side.embeddings[row, real, 0]
            assert torch.equal(shown.unique(), batch.embeddings[whose, : counts[whose], 0])
            assert bool((shown.diff() >= 0).all())
            assert torch.equal(side.positions[row, real], shown)
            assert torch.equal(side.slice_labels[row, real, 0], ((shown - whose) * 100).round() % 2)
            assert float(side.labels[row, 0]) == whose % 2
            assert side.keys[row] == str(whose)


def test_the_loss_is_the_mixture_of_both_and_padding_is_never_read():
    network, task = build()
    batch, wide = make_batch([4, 2, 5]), make_batch([4, 2, 5], padding=3)
    one, other = pair_up(batch)
    output = network.read(0.3 * one.embeddings + 0.7 * other.embeddings, one.mask)
    own, others = task.loss(output, one), task.loss(output, other)
    found, padded = (mixed_loss(network, task, each.embeddings, each) for each in (batch, wide))
    assert found.keys() == own.keys()
    for name, value in found.items():
        torch.testing.assert_close(value, 0.3 * own[name] + 0.7 * others[name])
        torch.testing.assert_close(value, padded[name])


def test_gradients_reach_every_real_slice_of_both():
    network, task = build()
    batch = make_batch([4, 2])
    embeddings = torch.randn(2, 4, SIZE, requires_grad=True)
    mixed_loss(network, task, embeddings, batch)["loss"].backward()
    assert torch.equal(embeddings.grad.abs().sum(dim=2) > 0, batch.mask)


def test_all_of_one_side_is_the_plain_loss():
    network, task = build()
    batch = make_batch([3, 3], mixing=1.0)
    plain = task.loss(network.read(batch.embeddings, batch.mask), batch)
    torch.testing.assert_close(mixed_loss(network, task, batch.embeddings, batch), plain)


def test_an_unknown_label_mixes_as_nothing():
    """Only the first series has a label, 0: it enters the first row by 0.3, and the second, as the partner, by 0.7."""
    network, task = build()
    batch = make_batch([3, 3])
    batch.labels[1] = IGNORE
    one, other = pair_up(replace(batch, slice_labels=torch.full_like(batch.slice_labels, IGNORE)))
    found = mixed_loss(network, task, batch.embeddings, replace(batch, slice_labels=one.slice_labels))
    logits = network.read(0.3 * one.embeddings + 0.7 * other.embeddings, one.mask).volume_logits[:, 0]
    first, second = functional.softplus(logits)
    torch.testing.assert_close(found["loss"], 0.3 * first + 0.7 * second)
