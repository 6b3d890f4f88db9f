"""Averaged weights: they follow those that learn, and are judged and kept in their place."""

from __future__ import annotations

from copy import deepcopy
from typing import Generic, TypeVar

import torch
from torch import nn

Network = TypeVar("Network", bound=nn.Module)


class Average(Generic[Network]):
    """An exponential moving average of a network's weights (Polyak and Juditsky 1992; Tarvainen and Valpola 2017).

    After each step every number moves to the network's by 1 - d, where d is ``decay``, and in the first steps
    (1 + step) / (10 + step) while that is smaller, so that the first weights are soon forgotten. Statistics of
    BatchNorm are averaged like weights; counters are copied.
    """

    def __init__(self, network: Network, *, decay: float) -> None:
        self.network, self.decay = deepcopy(network).requires_grad_(False).eval(), decay

    def follow(self, network: Network, *, step: int) -> None:
        """Move after step number ``step``, counted from 1."""
        decay = min(self.decay, (1 + step) / (10 + step))
        with torch.no_grad():
            given = network.state_dict()
            for name, own in self.network.state_dict().items():
                if own.is_floating_point():
                    own.lerp_(given[name], 1 - decay)
                else:
                    own.copy_(given[name])
