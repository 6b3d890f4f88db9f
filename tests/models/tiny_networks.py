"""Tiny networks, masks and the kinds of parts that the tests of models go through."""

import torch

from seriatim.models import NetworkSettings, SequenceNetwork, SequenceOutput

TEMPORALS = [
    {"kind": "lstm", "hidden": 6},
    {"kind": "gru", "hidden": 5, "layers": 2, "bidirectional": False},
    {"kind": "lstm", "hidden": 4, "project": 7},
    {"kind": "transformer", "size": 8, "heads": 2, "feedforward": 12, "dropout": 0.0},
    {"kind": "transformer", "size": 6, "heads": 3, "layers": 1, "dropout": 0.0, "position": "slice"},
    {"kind": "none"},
]
HOWS = ["max", "top_k", "mean", "log_sum_exp", "linear_softmax"]
POOLINGS = ["attention", "mean", "max", "last", {"kind": "attention", "per_class": True}] + [
    {"kind": "slice_scores", "how": how, "top": 2} for how in HOWS
]


def build(temporal=None, pooling="attention", *, outputs=2, encoder=None, seed=0, **more) -> SequenceNetwork:
    content = {
        "encoder": encoder or {"kind": "small_cnn", "widths": [4, 8]},
        "temporal": temporal or TEMPORALS[0],
        "pooling": {"kind": pooling} if isinstance(pooling, str) else pooling,
        **more,
    }
    torch.manual_seed(seed)
    return NetworkSettings.model_validate(content).build(in_channels=1, outputs=outputs)


def make_mask(counts: list[int], *, padding: int = 0) -> torch.Tensor:
    return torch.arange(max(counts) + padding)[None] < torch.tensor(counts)[:, None]


def run(network: SequenceNetwork, slices: torch.Tensor, mask: torch.Tensor) -> SequenceOutput:
    with torch.no_grad():
        return network(slices, mask)
