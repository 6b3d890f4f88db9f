"""What a mask (B,S) says: how many real slices each series has, and which they are."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


def count_slices(mask: Bool[Tensor, "batch slices"]) -> Int[Tensor, " batch"]:
    """The number of real slices of each series, on the CPU.

    Raises:
        ValueError: a series has no real slice, or padding stands before a real slice.
    """
    counts = mask.sum(dim=1)
    prefix = torch.arange(mask.shape[1], device=mask.device) < counts[:, None]
    if not (torch.equal(mask, prefix) and bool((counts > 0).all())):
        raise ValueError("In a mask, each series has at least one real slice, and padding only after its real slices.")
    return counts.cpu()


def zero_padding(
    values: Float[Tensor, "batch slices size"], mask: Bool[Tensor, "batch slices"]
) -> Float[Tensor, "batch slices size"]:
    """``values`` with exact zeros on padding, whatever stood there (also NaN)."""
    return torch.where(mask[..., None], values, torch.zeros((), dtype=values.dtype, device=values.device))
