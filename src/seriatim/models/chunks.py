"""Encode slices in chunks of one fixed size, so that an embedding never depends on its neighbours."""

from collections.abc import Callable
from functools import partial
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from seriatim.models.encoder import Encoder
from seriatim.models.lanes import on_lanes

CHUNK = 8
OfChunk = Callable[[Tensor], Tensor]
"""A chunk (N,C,H,W) to something with a row for each of its slices."""


@runtime_checkable
class Slices(Protocol):
    """Slices that are made when they are asked for; as of a tensor (S,C,H,W), ``slices[a:b]`` is (b-a,C,H,W)."""

    def __len__(self) -> int: ...

    def __getitem__(self, part: slice, /) -> Tensor: ...


def encode_in_chunks(
    encoder: OfChunk, slices: Slices, *, chunk_size: int = CHUNK,
    view: OfChunk | None = None, device: torch.device | None = None,
) -> Float[Tensor, "n embedding"]:
    """Embeddings (N,E) of N slices (C,H,W), bit-identical for a slice whatever N, its place and the other slices.

    Libraries choose their kernels by the shape of the input, so the shape is always the same: the last chunk is filled
    with zeros. They also add up otherwise with more threads, so on the CPU each chunk is computed by one, and chunks
    side by side (``lanes``). Without gradients an ``Encoder`` computes in its form ``for_inference``. ``view`` is how
    the encoder, which must be in eval mode, sees a chunk (N,C,H,W): mirrored, for example. ``device`` is where it is;
    None where the slices are.
    """
    device = slices[:1].device if device is None else device
    if isinstance(encoder, Encoder):
        encoder = encoder.for_inference()
    work = partial(_encode, encoder, slices, chunk_size, view, device)
    starts = range(0, len(slices), chunk_size)
    parts = on_lanes(work, starts) if device.type == "cpu" else [work(start) for start in starts]
    return torch.cat(parts)


def _encode(encoder: OfChunk, slices: Slices, chunk_size: int, view: OfChunk | None,
            device: torch.device, start: int) -> Tensor:
    part = slices[start : start + chunk_size].to(device)
    part, count = part if view is None else view(part), len(part)
    if count < chunk_size:
        part = torch.cat([part, part.new_zeros(chunk_size - count, *part.shape[1:])])
    return encoder(part.contiguous(memory_format=torch.channels_last))[:count]
