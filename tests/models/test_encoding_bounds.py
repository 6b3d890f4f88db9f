"""What bounds the memory and time of encoding in training, and leaves the gradient what it is."""

from __future__ import annotations

import itertools

import pytest
import torch

from seriatim.models import NetworkSettings
from seriatim.models import network as module
from seriatim.models.small_cnn import SmallCNNSettings


def test_a_few_slices_give_on_average_the_gradient_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    settings = NetworkSettings(encoder=SmallCNNSettings(widths=(4, 6)), gradient_slices=2)
    model = settings.build(1, 1).train()
    slices, mask = torch.rand(2, 4, 1, 12, 12), torch.tensor([[True] * 4, [True] * 3 + [False]])
    rests = torch.randn(2, 4, 6)

    def gradients() -> list[torch.Tensor]:
        model.zero_grad()
        (model.encode(slices, mask) * rests).sum().backward()
        return [one.grad.clone() for one in model.encoder.parameters()]

    model.gradient_slices = None
    whole, embeddings = gradients(), model.encode(slices, mask)
    model.gradient_slices = 2
    pairs = [list(itertools.combinations(range(count), 2)) for count in (4, 3)]
    means = [torch.zeros_like(one) for one in whole]
    for one, other in itertools.product(*pairs):
        chosen = torch.zeros_like(mask)
        chosen[0, list(one)] = chosen[1, list(other)] = True
        monkeypatch.setattr(module, "_choose", lambda *_, chosen=chosen: chosen)
        torch.testing.assert_close(model.encode(slices, mask), embeddings)
        for mean, found in zip(means, gradients(), strict=True):
            mean += found / (len(pairs[0]) * len(pairs[1]))
    for mean, expected in zip(means, whole, strict=True):
        torch.testing.assert_close(mean, expected, rtol=1e-4, atol=1e-5)


def test_slices_that_learn_are_real_as_many_as_asked_and_each_as_likely() -> None:
    torch.manual_seed(0)
    mask = torch.tensor([[True] * 6, [True] * 2 + [False] * 4])
    drawn = torch.stack([module._choose(mask, 3) for _ in range(2000)])
    assert not bool((drawn & ~mask).any())
    assert set(drawn[:, 0].sum(dim=1).tolist()) == {3}
    assert set(drawn[:, 1].sum(dim=1).tolist()) == {2}
    assert bool(((drawn[:, 0].float().mean(dim=0) - 0.5).abs() < 0.05).all())


@pytest.mark.parametrize("chunk", [None, 2])
def test_slices_in_channels_last_order_give_the_same_gradient(chunk: int | None) -> None:
    torch.manual_seed(0)
    model = NetworkSettings(encoder=SmallCNNSettings(widths=(4, 6)), checkpoint_chunk=chunk).build(2, 1).train()
    slices, mask = torch.rand(1, 5, 2, 12, 12), torch.ones(1, 5, dtype=torch.bool)
    found = []
    for order in (False, True):
        model.channels_last = order
        model.zero_grad()
        model.encode(slices, mask).square().sum().backward()
        found.append([one.grad.clone() for one in model.encoder.parameters()])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
