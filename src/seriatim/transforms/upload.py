"""Tensors to a CUDA card through two pinned buffers in turns: while the card works on one, the next is on its way."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

ALIGNMENT = 16
"""Bytes. A tensor within a buffer begins at a multiple of it, which is one of every size of number."""


class _Slot:
    """A buffer here, pinned so that it can be copied beside all else, and its like on the card.

    ``copied``: the card has what was last put in. ``used``: what works with it on the card is done.
    """

    def __init__(self) -> None:
        self.copied = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]  # a thread that waits sleeps
        self.used = torch.cuda.Event()  # type: ignore[no-untyped-call]
        self.host = self.card = torch.empty(0, dtype=torch.uint8)


class Upload:
    """Sends tensors to ``device``, in order, from one thread at a time.

    On the card are never more than the last two that were sent: a third waits until the first is done with. So this
    process is at most a few steps ahead of the card, however long the series. (PyTorch, CUDA semantics: pinned memory
    buffers and streams; a ``non_blocking`` copy from pinned memory is done when an event after it is.)
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._copying = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._slots = deque([_Slot(), _Slot()])

    @contextmanager
    def send(self, *tensors: Tensor) -> Iterator[list[Tensor]]:
        """The tensors, which are on the CPU, as they are on the card, for the current stream. What works with them must
        be given to that stream before the context ends, and they must not be kept.
        """
        slot = self._slots[0]
        self._slots.rotate()
        computing = torch.cuda.current_stream(self._device)
        size = sum(_room_of(one) for one in tensors)
        slot.copied.synchronize()
        if size > len(slot.host):
            self._widen(slot, size)
            slot.used.record(computing)  # the card may still work with what was in this memory before
        for place, tensor in zip(_parts(slot.host, tensors), tensors, strict=True):
            place.copy_(tensor)
        self._copying.wait_event(slot.used)
        with torch.cuda.stream(self._copying):
            slot.card[:size].copy_(slot.host[:size], non_blocking=True)
        slot.copied.record(self._copying)
        computing.wait_event(slot.copied)
        try:
            yield list(_parts(slot.card, tensors))
        finally:
            slot.used.record(computing)

    def _widen(self, slot: _Slot, size: int) -> None:
        with torch.inference_mode(False):  # else they could only be written to in that mode
            slot.host = torch.empty(size, dtype=torch.uint8, pin_memory=True)
            slot.card = torch.empty(size, dtype=torch.uint8, device=self._device)


def _room_of(tensor: Tensor) -> int:
    return -(-tensor.numel() * tensor.element_size() // ALIGNMENT) * ALIGNMENT


def _parts(buffer: Tensor, like: Sequence[Tensor]) -> Iterator[Tensor]:
    """Places for tensors in a buffer of bytes, one after the other."""
    start = 0
    for one in like:
        yield buffer[start : start + one.numel() * one.element_size()].view(one.dtype).view(one.shape)
        start += _room_of(one)
