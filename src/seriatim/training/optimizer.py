"""AdamW with a rate of its own for each part of the network, and how rates go over the steps of a stage."""

from __future__ import annotations

import math

from torch import nn
from torch.optim import AdamW, Optimizer

from seriatim.experiment import LoopSettings
from seriatim.models.network import SequenceNetwork


def build_optimizer(network: SequenceNetwork, settings: LoopSettings) -> Optimizer:
    """AdamW over what learns; biases and norms have no weight decay (Loshchilov and Hutter, 2019)."""
    rates = _encoder_rates(network, settings)
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for parameter in network.parameters():
        if parameter.requires_grad:
            decay = settings.weight_decay if parameter.ndim > 1 else 0.0
            groups.setdefault((rates.get(id(parameter), 1.0), decay), []).append(parameter)
    return AdamW(
        [
            {"params": members, "rate": rate, "weight_decay": decay}
            for (rate, decay), members in groups.items()
            if rate > 0
        ],
        lr=settings.learning_rate,
    )


def _encoder_rates(network: SequenceNetwork, settings: LoopSettings) -> dict[int, float]:
    """The rate of each parameter of the encoder, by its id, as a multiple of ``learning_rate``.

    Its last block has ``encoder_rate``, and each block before it ``layer_decay`` times the rate of the next (Howard and
    Ruder 2018, ULMFiT; Bao et al. 2021, BEiT): early layers see what all images have, and need to change least.
    """
    blocks = network.encoder.blocks()
    return {
        id(parameter): settings.encoder_rate * settings.layer_decay**depth
        for depth, block in enumerate(reversed(blocks))
        for parameter in block
    }


def set_learning_rate(optimizer: Optimizer, settings: LoopSettings, *, step: int, steps: int) -> float:
    """Set every group's rate for ``step`` of ``steps``: linear warm-up, then cosine to zero or constant."""
    warmup = max(1, round(settings.warmup * steps))
    scale = min(1.0, (step + 1) / warmup)
    if settings.schedule == "cosine" and step >= warmup:
        scale = 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))
    for group in optimizer.param_groups:
        group["lr"] = settings.learning_rate * group["rate"] * scale
    return settings.learning_rate * scale
