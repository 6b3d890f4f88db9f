"""The encoder compiled for training; where that fails, as it is, with a word about it."""

from __future__ import annotations

import logging
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch._dynamo.exc import TorchDynamoException

logger = logging.getLogger(__name__)


class CompiledEncoder:
    """Calls an encoder in compiled form, for any number of slices. What cannot be compiled is said once, and the plain
    encoder is called from then on.
    """

    def __init__(self, encoder: nn.Module) -> None:
        self._encoder = encoder
        self._call: Callable[[Tensor], Tensor] = torch.compile(encoder, dynamic=True)

    def __call__(self, slices: Tensor) -> Tensor:
        try:
            return self._call(slices)
        except TorchDynamoException as error:
            lines = str(error).strip().splitlines() or [type(error).__name__]
            logger.warning("training.compile: the encoder cannot be compiled here, and training goes on without: %s",
                           lines[0])
            self._call = self._encoder
        plain: Tensor = self._encoder(slices)
        return plain
