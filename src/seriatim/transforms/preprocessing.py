"""From a volume in real-world values to slices (S,C,H,W) in [0,1]: what the network sees, and nothing else.

Two halves, so that the first can be kept in memory and augmentation can stand between them: ``prepare`` orients and
resizes in plane and keeps real-world values; ``finish`` windows, adds neighbour channels, and gives slices. The first
goes through a few slices at a time, which stay in the processor's cache; the second may be asked for a few. What both
do to a few slices (``put`` and ``finish``) they do where these are, on a card too.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field, field_validator
from torch import Tensor

from seriatim.errors import InputError
from seriatim.series import Volume
from seriatim.transforms.in_plane import InPlane, Plan
from seriatim.transforms.pieces import Piece, check_finite, cut, sample
from seriatim.transforms.shape import MaskSettings

AIR_HU = -1000.0
TISSUE_HU = -300.0
"""Above it is soft tissue or bone, below it lung and air."""


class CTSettings(InPlane):
    """CT in Hounsfield units: one channel per window."""

    background: ClassVar[float] = AIR_HU
    kind: Literal["ct"] = "ct"
    windows_hu: tuple[tuple[float, float], ...] = ((40.0, 80.0),)
    """(level, width) of each window in HU; each becomes a channel, [0,1] across the window (Lee et al. 2019, Nature
    Biomedical Engineering)."""

    @field_validator("windows_hu")
    @classmethod
    def _positive(cls, windows: tuple[tuple[float, float], ...]) -> tuple[tuple[float, float], ...]:
        if not windows or any(width <= 0 for _, width in windows):
            raise ValueError("give at least one [level, width] with width > 0, for example [[40, 80]]")
        return windows

    @property
    def channels(self) -> int:
        return len(self.windows_hu) * (2 * self.neighbours + 1)

    @property
    def modalities(self) -> tuple[str, ...]:
        return ("CT",)

    def _content(self, volume: Volume) -> Tensor:
        shown = self._stack(volume)
        shown = (shown.mean(dim=3) if shown.ndim == 4 else shown) > TISSUE_HU
        padding = self._padding(volume)
        return shown if padding is None else shown & ~padding

    def plan(self, volume: Volume) -> Plan:
        check_finite(volume)
        self._refuse_windowed(volume)
        return Plan(placement=self.placement(volume))

    def put(self, piece: Piece, plan: Plan, *, out: Tensor) -> None:
        """HU; outside the slice, and where it is padded, is air."""
        plan.placement.apply(_in_hu(piece), out)

    def _refuse_windowed(self, volume: Volume) -> None:
        """DICOM says what its numbers are; other formats hold HU only where a value is none of a picture's."""
        if volume.series.format == "dicom":
            return
        for piece in cut(volume):
            stack = _in_hu(piece)
            if float(stack.min()) < 0 or float(stack.max()) > 255:
                return
        raise InputError(
            f"BAD_VALUE: series {volume.series.series_uid} holds 0 to 255 and nothing below water: it is windowed "
            "already and not in HU. Give the volume in HU, or use preprocessing.kind intensity."
        )

    def _finish(self, slices: Tensor) -> Tensor:
        finished = slices.new_empty(len(slices), len(self.windows_hu), *slices.shape[2:])
        for channel, (level, width) in enumerate(self.windows_hu):
            torch.sub(slices[:, 0], level - width / 2, out=finished[:, channel])
            finished[:, channel].div_(width).clamp_(0, 1)
        return finished


class IntensitySettings(InPlane):
    """Anything without an absolute scale: MRI, ultrasound, endoscopy, photographs, masks."""

    revision: ClassVar[int] = 2
    kind: Literal["intensity"] = "intensity"
    colour: Literal["grey", "rgb"] = "grey"
    """Whether the network sees one grey channel or three colour channels."""
    percentiles: tuple[float, float] = (0.5, 99.5)
    """The series' own percentiles that become 0 and 1; 8-bit data is divided by 255 instead."""

    @property
    def channels(self) -> int:
        return self.planes * (2 * self.neighbours + 1)

    @property
    def modalities(self) -> tuple[str, ...]:
        return ()

    def _content(self, volume: Volume) -> Tensor:
        stack, padding = self._stack(volume), self._padding(volume)
        grey = stack.mean(dim=3) if stack.ndim == 4 else stack
        if padding is not None:
            grey = grey.masked_fill(padding, float(grey.max() if volume.inverted else grey.min()))
        return grey < grey.mean() if volume.inverted else grey > grey.mean()

    def plan(self, volume: Volume) -> Plan:
        check_finite(volume)
        low, span = self._range(volume)
        return Plan(placement=self.placement(volume), low=low, span=span, inverted=volume.inverted)

    def put(self, piece: Piece, plan: Plan, *, out: Tensor) -> None:
        """[0,1] of the range of the series; outside the slice, and padding, is 0."""
        scaled = (piece.pixels - plan.low).div_(plan.span)
        if plan.inverted:
            scaled = 1 - scaled
        if piece.padding is not None:
            scaled.masked_fill_(piece.padding, 0)
        plan.placement.apply(self._as_planes(scaled), out)

    @property
    def planes(self) -> int:
        return 3 if self.colour == "rgb" else 1

    def _finish(self, slices: Tensor) -> Tensor:
        return slices.clamp(0, 1)

    def scaled_by_series(self, volume: Volume) -> bool:
        return volume.array.dtype.itemsize > 1 or bool(volume.array.min() < 0)

    def _range(self, volume: Volume) -> tuple[float, float]:
        """The value that becomes 0, and how far above it 1 is."""
        if not self.scaled_by_series(volume):
            return 0.0, 255.0
        fractions = torch.tensor(self.percentiles, dtype=torch.float32) / 100
        low, high = (float(value) for value in torch.quantile(sample(volume), fractions))
        return low, max(high - low, 1e-6)

    def _as_planes(self, stack: Tensor) -> Tensor:
        if self.colour == "grey":
            return stack if stack.ndim == 3 else _luma(stack)
        if stack.ndim == 3:
            stack = stack[..., None].expand(*stack.shape, 3)
        return stack.permute(0, 3, 1, 2).flatten(0, 1)


def _in_hu(piece: Piece) -> Tensor:
    """(n,H,W) in HU, air where it is padded; not to be written to."""
    stack = piece.pixels.mean(dim=3) if piece.pixels.ndim == 4 else piece.pixels
    return stack if piece.padding is None else stack.masked_fill(piece.padding, AIR_HU)


def _luma(stack: Tensor) -> Tensor:
    """Rec. 601 luma of (S,H,W,3). Grey stays as it is to the bit, whether or not other frames are coloured."""
    red, green, blue = stack.unbind(dim=3)
    return green + 0.299 * (red - green) + 0.114 * (blue - green)


PreprocessingSettings = Annotated[CTSettings | IntensitySettings | MaskSettings, Field(discriminator="kind")]
