"""What a mask (B,S) says: how many real slices each series has, and which they and their neighbours are."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional


def count_slices(mask: Bool[Tensor, "batch slices"]) -> Int[Tensor, " batch"]:
    """The number of real slices of each series, on the CPU. While a graph is exported the mask is taken as right.

    Raises:
        ValueError: a series has no real slice, or padding stands before a real slice.
    """
    counts = mask.sum(dim=1)
    if torch.compiler.is_exporting():  # no value is there to be looked at
        return counts
    prefix = torch.arange(mask.shape[1], device=mask.device) < counts[:, None]
    if not (torch.equal(mask, prefix) and bool((counts > 0).all())):
        raise ValueError("In a mask, each series has at least one real slice, and padding only after its real slices.")
    return counts.cpu()


def zero_padding(
    values: Float[Tensor, "batch slices size"], mask: Bool[Tensor, "batch slices"]
) -> Float[Tensor, "batch slices size"]:
    """``values`` with exact zeros on padding, whatever stood there (also NaN)."""
    return torch.where(mask[..., None], values, torch.zeros((), dtype=values.dtype, device=values.device))


def add_deltas(
    embeddings: Float[Tensor, "batch slices size"], mask: Bool[Tensor, "batch slices"]
) -> Float[Tensor, "batch slices 3*size"]:
    """Each slice's embedding, then what it adds to that of the slice before and to that of the slice after it.

    The first slice has no slice before it and the last real one none after it: their differences are 0. So is padding.
    """
    steps = torch.where(mask[:, 1:, None], embeddings[:, 1:] - embeddings[:, :-1], torch.zeros_like(embeddings[:, 1:]))
    before, after = functional.pad(steps, (0, 0, 1, 0)), functional.pad(-steps, (0, 0, 0, 1))
    return zero_padding(torch.cat([embeddings, before, after], dim=2), mask)
