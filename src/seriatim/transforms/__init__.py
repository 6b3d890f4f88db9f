"""From a volume to the slices a network sees: orientation, in-plane grid, windows, neighbours, augmentation."""

from seriatim.transforms.augmentation import Augment, AugmentationSettings
from seriatim.transforms.placement import Placement
from seriatim.transforms.preprocessing import CTSettings, IntensitySettings, PreprocessingSettings
from seriatim.transforms.shape import MaskSettings

__all__ = [
    "Augment",
    "AugmentationSettings",
    "CTSettings",
    "IntensitySettings",
    "MaskSettings",
    "Placement",
    "PreprocessingSettings",
]
