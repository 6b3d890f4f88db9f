"""An encoder recorded as a CUDA graph: one launch for all that a chunk needs, where a small encoder needs hundreds."""

from __future__ import annotations

import logging
import threading

import torch
from torch import Tensor

from seriatim.models.chunks import OfChunk
from seriatim.models.encoder import Encoder

WARM_UP = 3
"""Times an encoder computes before it is recorded: libraries set up on first use (PyTorch, CUDA semantics: graphs)."""
_one_at_a_time = threading.Lock()
"""A process may record one graph at a time, and what a graph reads and gives stands in memory of its own."""
logger = logging.getLogger(__name__)


class CapturedEncoder:
    """An encoder of chunks (N,C,H,W), all of one shape and on one card, recorded at the first and replayed for each.

    What cannot be recorded is computed step by step, and a line in the log says so. Weights must not change.
    """

    def __init__(self, encoder: OfChunk) -> None:
        self._encoder = encoder
        self._replay: OfChunk | None = None

    def __call__(self, chunk: Tensor) -> Tensor:
        with _one_at_a_time, torch.inference_mode():
            if self._replay is None:
                self._replay = self._record(chunk)
            return self._replay(chunk)

    def _record(self, chunk: Tensor) -> OfChunk:
        if isinstance(self._encoder, Encoder):
            self._encoder = self._encoder.for_inference()  # kept: the graph reads its weights where they are
        try:
            return record(self._encoder, chunk)
        except RuntimeError as error:
            logger.warning("the encoder cannot be recorded as a CUDA graph, and computes without: %s", error)
            return self._encoder


def record(encoder: OfChunk, chunk: Tensor) -> OfChunk:
    """A function that gives what ``encoder`` gives of chunks of the shape of this one, by one graph.

    Raises:
        RuntimeError: it does something that no graph can hold.
    """
    entry = chunk.clone()
    computing, side = torch.cuda.current_stream(chunk.device), torch.cuda.Stream(chunk.device)  # type: ignore[no-untyped-call]
    side.wait_stream(computing)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.stream(side):
        for _ in range(WARM_UP):
            encoder(entry)
        with torch.cuda.graph(graph, stream=side, capture_error_mode="thread_local"):  # others go on meanwhile
            found = encoder(entry)
    computing.wait_stream(side)

    def replay(again: Tensor) -> Tensor:
        entry.copy_(again)
        graph.replay()
        return found.clone()

    return replay
