"""Random changes in training, by MONAI. Geometric ones are drawn once per series and so the same on all its slices."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from seriatim.settings import Settings

KEY = "image"

Augment = Callable[[Tensor, int], Tensor]
"""(prepared (N,h,w), seed) -> changed (N,h,w): the same seed gives the same change."""


class AugmentationSettings(Settings):
    """How far training images are changed. A stack's planes stand in MONAI's channel axis, so they change together."""

    rotate_degrees: float = Field(default=0.0, ge=0, le=180)
    """Rotate in plane by up to this angle."""
    scale: float = Field(default=0.0, ge=0, lt=1)
    """Zoom by up to this share."""
    translate: float = Field(default=0.0, ge=0, lt=1)
    """Shift by up to this share of the image."""
    flip_left_right: bool = False
    """Mirror half of the series (never where a side matters)."""
    intensity_scale: float = Field(default=0.0, ge=0, lt=1)
    """Multiply values by up to 1 +- this."""
    intensity_shift: float = Field(default=0.0, ge=0)
    """Add up to +- this, in the units of the prepared stack (HU for CT, [0,1] otherwise)."""
    noise: float = Field(default=0.0, ge=0)
    """Add Gaussian noise with up to this standard deviation, in the same units."""
    probability: float = Field(default=0.8, ge=0, le=1)
    """How often each change happens."""

    @property
    def active(self) -> bool:
        return any((self.rotate_degrees, self.scale, self.translate, self.flip_left_right)) or any(
            (self.intensity_scale, self.intensity_shift, self.noise)
        )

    def build(self, size: tuple[int, int]) -> Augment:
        """The augmentation for stacks of ``size`` as one function; the identity where nothing is switched on."""
        if not self.active:
            return lambda prepared, _seed: prepared
        compose = self._compose(size)

        def augment(prepared: Tensor, seed: int) -> Tensor:
            compose.set_random_state(seed=seed % 2**32)
            changed = compose({KEY: prepared})[KEY]
            return torch.as_tensor(changed.as_tensor() if hasattr(changed, "as_tensor") else changed)

        return augment

    def _compose(self, size: tuple[int, int]) -> Any:
        from seriatim.compat import import_torchvision

        import_torchvision()
        from monai import transforms as monai

        steps: list[Any] = []
        if self.rotate_degrees or self.scale or self.translate:
            steps.append(
                monai.RandAffined(
                    KEY,
                    prob=self.probability,
                    rotate_range=math.radians(self.rotate_degrees),
                    scale_range=(self.scale, self.scale),
                    translate_range=tuple(self.translate * length for length in size),
                    padding_mode="border",
                )
            )
        if self.flip_left_right:
            steps.append(monai.RandFlipd(KEY, prob=0.5, spatial_axis=1))
        if self.intensity_scale:
            steps.append(monai.RandScaleIntensityd(KEY, factors=self.intensity_scale, prob=self.probability))
        if self.intensity_shift:
            steps.append(monai.RandShiftIntensityd(KEY, offsets=self.intensity_shift, prob=self.probability))
        if self.noise:
            steps.append(monai.RandGaussianNoised(KEY, std=self.noise, prob=self.probability))
        return monai.Compose(steps)
