"""What the transformer reads: places of slices, and never padding; the same in training and scoring."""

import math

import pytest
import torch
from pydantic import ValidationError
from tiny_networks import build, make_mask

from seriatim.models.transformer import TransformerSettings, encode_sinusoids

TRANSFORMER = {"kind": "transformer", "size": 8, "heads": 2, "feedforward": 16, "dropout": 0.0}


def test_sinusoids_are_those_of_the_paper():
    found = encode_sinusoids(torch.tensor([[0.0, 3.0, 700.5]]), size=6)
    for place, row in zip((0.0, 3.0, 700.5), found[0].tolist(), strict=True):
        for i in range(3):
            angle = place / 10000 ** (2 * i / 6)
            assert row[2 * i] == pytest.approx(math.sin(angle), abs=1e-4)
            assert row[2 * i + 1] == pytest.approx(math.cos(angle), abs=1e-4)


def read_places(position: str, count: int, *, padding: int = 0) -> torch.Tensor:
    transformer = TransformerSettings(size=8, heads=2, position=position).build(8)
    return transformer._encode_positions(make_mask([count], padding=padding))[0, :count]


def test_relative_places_run_from_end_to_end_whatever_the_number_of_slices():
    few, many = read_places("relative", 5), read_places("relative", 9, padding=3)
    torch.testing.assert_close(many[::2], few)
    assert torch.isfinite(read_places("relative", 1)).all()
    torch.testing.assert_close(read_places("slice", 9)[:5], read_places("slice", 5))


@pytest.mark.parametrize("count", [1, 2, 3000])
def test_any_number_of_slices_is_read(count):
    output = build(TRANSFORMER).eval().read(torch.randn(1, count, 8), make_mask([count]))
    assert torch.isfinite(output.volume_logits).all()


def test_training_and_scoring_read_alike():
    """Torch has a path of its own for eval without gradients; both give one answer, with padding in the batch too."""
    network, mask = build(TRANSFORMER), make_mask([7, 3, 1])
    embeddings = torch.randn(3, 7, 8)
    trained = network.train().read(embeddings, mask)
    with torch.inference_mode():
        scored = network.eval().read(embeddings, mask)
    torch.testing.assert_close(trained.volume_logits, scored.volume_logits, atol=1e-6, rtol=0)
    torch.testing.assert_close(trained.context, scored.context, atol=2e-6, rtol=0)


def test_gradients_reach_every_real_slice_and_no_padding():
    network, mask = build(TRANSFORMER), make_mask([5, 2])
    embeddings = torch.randn(2, 5, 8, requires_grad=True)
    network.read(embeddings, mask).volume_logits.square().sum().backward()
    assert torch.equal(embeddings.grad.abs().sum(dim=2) > 0, mask)
    assert all(one.grad is not None and (one.grad != 0).any() for one in network.temporal.parameters())


def test_heads_divide_the_size():
    with pytest.raises(ValidationError, match="multiple of heads; 8 is none of 3"):
        TransformerSettings(size=8, heads=3)
