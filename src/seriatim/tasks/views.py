"""Test-time augmentation: a series is scored in several fixed views, and the views' answers are averaged."""

from __future__ import annotations

import torch
from torch import Tensor

from seriatim.settings import Settings


class ViewSettings(Settings):
    """In which further views a series is scored; the mean of their probabilities is its score (Simonyan and Zisserman
    2015, section 3.2, who average over an image and its mirror image). Kept with the model: validation, thresholds,
    calibration, `score` and `explain` all see the same views. Nothing is random. Off by default.
    """

    flip_left_right: bool = False
    """Mirrored pictures too; never where a side matters. Doubles the time of the encoder, which is nearly all of it."""
    reverse_order: bool = False
    """The sequence model reads the slices from last to first too. The encoder does not work again, so it costs next to
    nothing; with `neighbours` each slice keeps its own."""


PLAIN = ViewSettings()


def mirror(slices: Tensor) -> Tensor:
    """(S,C,H,W) in the radiological view with left and right exchanged."""
    return torch.flip(slices, dims=(-1,))
