"""Encode slices in chunks of one fixed size, so that an embedding never depends on its neighbours."""

import torch
from jaxtyping import Float
from torch import Tensor

from seriatim.models.encoder import Encoder

CHUNK = 8


def encode_in_chunks(
    encoder: Encoder, slices: Float[Tensor, "n channels rows columns"], *, chunk_size: int = CHUNK
) -> Float[Tensor, "n embedding"]:
    """Embeddings (N,E) of N slices, bit-identical for a slice whatever N, its place and the other slices.

    Libraries choose their kernels by the shape of the input, so the shape is always the same: the last chunk is filled
    with zeros. The encoder must be in eval mode.
    """
    parts = []
    for start in range(0, len(slices), chunk_size):
        part = slices[start : start + chunk_size]
        if len(part) < chunk_size:
            part = torch.cat([part, part.new_zeros(chunk_size - len(part), *part.shape[1:])])
        embeddings = encoder(part.contiguous(memory_format=torch.channels_last))
        parts.append(embeddings[: len(slices) - start])
    return torch.cat(parts)
