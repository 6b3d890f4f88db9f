"""Frames that stand still: a frozen probe or a stuck encoder repeats its picture, up to what compression adds."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor

FROZEN = "FROZEN"
"""Noted about a clip most of whose frames repeat the one before."""
STILL = 2 / 255
"""No pixel of a repeated frame, as the network sees it, differs by more."""


def is_still(before: Tensor, frame: Tensor) -> bool:
    """Whether a frame (C,H,W) in [0,1] shows what the one before it shows."""
    return bool((frame - before).abs().amax() <= STILL)


def is_frozen(slices: Tensor) -> bool:
    """Whether most frames of (S,C,H,W) stand still."""
    still = sum(is_still(before, frame) for before, frame in pairwise(slices))
    return len(slices) > 1 and 2 * still > len(slices) - 1
