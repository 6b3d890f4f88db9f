"""From a volume to what a radiologist sees: windowed, turned into the radiological view, with square pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seriatim.explanation.explanation import Letters
from seriatim.series import Volume
from seriatim.series.geometry import display_orientation, spacing_of
from seriatim.trained import AnomalyModel, Ensemble, Model
from seriatim.transforms.orientation import orient
from seriatim.transforms.placement import resize

DEFAULT_WINDOW_HU = (40.0, 400.0)
"""(level, width) for CT without a window of its own: soft tissue."""
PERCENTILES = (0.5, 99.5)
"""The grey levels of the series that become black and white where values have no absolute scale."""
PERCENTILE_SAMPLE = 1_000_000
LONGEST_SIDE = 1024
"""Display pixels along the longer edge at most: more than a montage shows, and a mammogram still fits in memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceView:
    """T slices ready to draw: ``images`` uint8 (T,H,W) or (T,H,W,3), the directions at their edges, their window."""

    images: NDArray[np.uint8]
    letters: Letters | None
    window_text: str


def show_slices(
    volume: Volume, indices: Sequence[int], *, window_hu: tuple[float, float] | None = None
) -> SliceView:
    """Window, turn and scale chosen slices of a volume for display.

    ``window_hu`` is (level, width), used as in DICOM PS3.3 C.11.2.1.3.2 (LINEAR_EXACT); without it CT gets the soft
    tissue window, 8-bit values are shown as stored, and anything else between its own percentiles. MONOCHROME1 is
    turned to bright-is-high. Without an affine the slices stay as stored and have no letters.
    """
    low, high, text = find_window(volume, window_hu)
    values = np.nan_to_num(volume.array[list(indices)].astype(np.float32), nan=low, posinf=high, neginf=low)
    grey = np.clip((values - low) / max(high - low, 1e-6), 0, 1) * 255
    planes = turn_slices(255 - grey if volume.inverted else grey, volume)
    return SliceView(images=planes.round().to(torch.uint8).numpy(), letters=letters_of(volume), window_text=text)


def turn_slices(values: NDArray[np.float32], volume: Volume, *, longest: int = LONGEST_SIDE) -> Tensor:
    """Values (T,h,w) or (T,h,w,3) of a volume's slices in the radiological view with square pixels, (T,H,W[,3]).

    The longer edge has at most ``longest`` pixels.
    """
    size = size_shown(volume, longest=longest)
    return _resize(torch.from_numpy(orient(values, volume.affine)), (size.rows, size.columns))


def letters_of(volume: Volume) -> Letters | None:
    """The patient directions at the (left, right, top, bottom) edges of the turned slices; None where not known."""
    return None if volume.affine is None else display_orientation(volume.affine).letters


def fit_heat(heat: Tensor, *, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Bring maps that cover the turned slices, (T,h,w) on any grid, onto the grid of their display images."""
    height, width = images.shape[1:3]
    return resize(heat.detach().float().cpu(), (height, width)).clamp(0, 1).numpy()


def find_window(volume: Volume, window_hu: tuple[float, float] | None) -> tuple[float, float, str]:
    """The values shown as black and white, and the window in words ("" where values are shown as stored)."""
    if window_hu is None and volume.series.modality == "CT":
        window_hu = DEFAULT_WINDOW_HU
    if window_hu is not None:
        level, width = window_hu
        return level - width / 2, level + width / 2, f"L {level:g} W {width:g} HU"
    if volume.array.dtype == np.uint8:
        return 0.0, 255.0, ""
    sample = volume.array.reshape(-1)
    sample = sample[:: max(1, sample.size // PERCENTILE_SAMPLE)]
    finite = sample[np.isfinite(sample)]
    if not finite.size:
        return 0.0, 1.0, ""
    low, high = (float(value) for value in np.percentile(finite, PERCENTILES))
    return low, high, f"window {low:.4g} to {high:.4g}"


@dataclass(frozen=True, slots=True)
class DisplaySize:
    """Rows and columns of a slice as it is shown, and the side of its square pixels in mm (1 where not known)."""

    rows: int
    columns: int
    pixel_mm: float


def size_shown(volume: Volume, *, longest: int = LONGEST_SIDE) -> DisplaySize:
    """The turned slice with square pixels of its finer spacing, within ``longest``."""
    rows, columns = volume.array.shape[1:3]
    if volume.affine is not None and display_orientation(volume.affine).transpose:
        rows, columns = columns, rows
    height_mm, width_mm = _pixel_mm(volume)
    pixel_mm = max(min(height_mm, width_mm), rows * height_mm / longest, columns * width_mm / longest)
    height, width = max(1, round(rows * height_mm / pixel_mm)), max(1, round(columns * width_mm / pixel_mm))
    return DisplaySize(height, width, pixel_mm)


def _pixel_mm(volume: Volume) -> tuple[float, float]:
    """(height, width) of a pixel of the turned slice; 1 x 1 where the files hold no spacing."""
    if volume.affine is not None:
        width_mm, height_mm, _ = spacing_of(volume.affine)
        return (width_mm, height_mm) if display_orientation(volume.affine).transpose else (height_mm, width_mm)
    if volume.series.spacing_mm is not None:
        width_mm, height_mm, _ = volume.series.spacing_mm
        return height_mm, width_mm
    return 1.0, 1.0


def _resize(planes: Tensor, size: tuple[int, int]) -> Tensor:
    """(T,H,W) or (T,H,W,3) -> the same at another size."""
    if planes.ndim == 3:
        return resize(planes, size)
    return torch.stack([resize(channel, size) for channel in planes.unbind(-1)], dim=-1)


def window_of(model: Model | Ensemble | AnomalyModel) -> tuple[float, float] | None:
    """The first CT window of a model, as (level, width); None where it has none."""
    windows = getattr(model.experiment.preprocessing, "windows_hu", None)
    return windows[0] if windows else None
