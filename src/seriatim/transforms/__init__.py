"""From a volume to the slices a network sees: orientation, in-plane grid, windows, neighbours, augmentation."""

from seriatim.transforms.augmentation import Augment, AugmentationSettings
from seriatim.transforms.placement import Placement
from seriatim.transforms.preprocessing import CTSettings, IntensitySettings, PreprocessingSettings

__all__ = ["Augment", "AugmentationSettings", "CTSettings", "IntensitySettings", "Placement", "PreprocessingSettings"]
