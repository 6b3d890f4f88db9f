"""A series with its heat in niivue, a viewer of volumes in notebooks: planes in all directions, and rendering."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np

from seriatim.explanation.anomaly import FrameExplanation
from seriatim.explanation.display import find_window, window_of
from seriatim.explanation.explanation import Explanation
from seriatim.explanation.volumes import make_volumes
from seriatim.io.volumes.nifti_write import encode_nifti
from seriatim.series import Volume
from seriatim.trained import Model, Scorer

logger = logging.getLogger(__name__)
OPACITY = 0.5
SMALLEST_SHOWN = 0.02
"""Of the strongest: what is weaker is clear."""


def make_viewer(
    volume: Volume, explanation: Explanation | FrameExplanation, *, model: Model | Scorer | None, height: int
) -> Any:
    """The widget: the images in the first window of the model, and over them its maps of pixels, else the numbers of
    the slices. None where the extra ``niivue`` is not installed, for colour, and where a series has no geometry.
    """
    try:
        from ipyniivue import NiiVue, SliceType
    except ImportError:
        logger.warning('No niivue here: the page is shown. Install it: pip install "seriatim[niivue]".')
        return None
    if volume.affine is None or volume.array.ndim != 3:
        logger.warning("The series is no volume in space with grey values: the page is shown.")
        return None
    low, high, _ = find_window(volume, None if model is None else window_of(model))
    grey = volume.array if volume.array.dtype.itemsize <= 2 else volume.array.astype(np.float32)
    if volume.inverted:
        grey, low, high = -grey.astype(np.float32), -high, -low
    layers = [{"data": encode_nifti(grey, affine=volume.affine), "name": "images.nii.gz", "colormap": "gray",
               "cal_min": low, "cal_max": high, "colorbar_visible": False}]
    layers.append(_make_overlay(volume, explanation))
    viewer = NiiVue(height=height, is_radiological_convention=True, slice_type=SliceType.MULTIPLANAR,
                    is_colorbar=True)
    viewer.load_volumes(layers)
    return viewer


def _make_overlay(volume: Volume, explanation: Explanation | FrameExplanation) -> dict[str, Any]:
    """The last volume that is made: a map of pixels where there is one."""
    for name, values in make_volumes(volume, explanation):  # noqa: B007 - the last is wanted, and not all at once
        pass
    strongest = float(np.abs(values).max()) or 1.0
    signed = {"colormap_negative": "winter", "cal_min_neg": -strongest, "cal_max_neg": -SMALLEST_SHOWN * strongest}
    assert volume.affine is not None
    return {"data": encode_nifti(values, affine=volume.affine), "name": f"{name}.nii.gz", "colormap": "inferno",
            "opacity": OPACITY, "cal_min": SMALLEST_SHOWN * strongest, "cal_max": strongest,
            **(signed if values.min() < 0 else {})}
