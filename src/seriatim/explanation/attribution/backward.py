"""Gradients of a network that stays as it was: its modes, its parameters and cuDNN, also after an error."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import RLock

import torch
from torch import Tensor, nn

from seriatim.errors import ModelError

_TURN = RLock()


@contextmanager
def differentiable_rnn() -> Iterator[None]:
    """Let an LSTM in evaluation mode be differentiated on a GPU.

    cuDNN keeps what its backward needs only in training mode, and training mode would switch dropout on. PyTorch's own
    RNN kernels have no such limit, so cuDNN is off for the forward and the backward inside, and as before afterwards.
    The switch is one of the process: threads take their turns, else the last one out would leave it off. What other
    threads compute meanwhile is computed without cuDNN too.
    """
    with _TURN, torch.backends.cudnn.flags(enabled=False):
        yield


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Put a network into evaluation mode, and every module back into its own mode afterwards."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


@contextmanager
def differentiating(network: nn.Module) -> Iterator[None]:
    """All that a gradient of a network needs, wherever it is asked for: also in inference mode, and on a GPU."""
    with evaluating(network), torch.inference_mode(False), torch.enable_grad(), differentiable_rnn():
        yield


def require_finite(values: Tensor) -> Tensor:
    """The values. Raises ModelError where one is not finite."""
    if not bool(torch.isfinite(values).all()):
        raise ModelError("The model's gradients are not finite for this series; its weights or its input are damaged.")
    return values
