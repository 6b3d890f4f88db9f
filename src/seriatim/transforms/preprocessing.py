"""From a volume in real-world values to slices (S,C,H,W) in [0,1]: what the network sees, and nothing else.

Two halves, so that the first can be kept in memory and augmentation can stand between them: ``prepare`` orients and
resizes in plane and keeps real-world values; ``finish`` windows, adds neighbour channels, and gives slices. The first
goes through a few slices at a time, which stay in the processor's cache; the second may be asked for a few. What both
do to a few slices (``put`` and ``finish``) they do where these are, on a card too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal, Self

import torch
from pydantic import Field, field_validator, model_validator
from torch import Tensor

from seriatim.errors import InputError
from seriatim.series import Volume
from seriatim.series.geometry import display_orientation
from seriatim.settings import Settings
from seriatim.transforms.orientation import orient
from seriatim.transforms.pieces import Piece, check_finite, cut, sample
from seriatim.transforms.placement import Placement, as_float, mean_pixel, place

AIR_HU = -1000.0
TISSUE_HU = -300.0
"""Above it is soft tissue or bone, below it lung and air."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What ``put`` has to know of the whole volume: where slices land, and which value becomes 0 and which 1."""

    placement: Placement
    low: float = 0.0
    span: float = 1.0
    inverted: bool = False


class _InPlane(Settings):
    """What all kinds of input share: the in-plane grid and the 2.5D channels."""

    background: ClassVar[float] = 0.0
    """What lies around a slice, as ``prepare`` gives it."""
    revision: ClassVar[int] = 1
    """Raised when the same pixels come out otherwise, so that nothing kept from before is taken for the same."""
    size: tuple[int, int] = (224, 224)
    """Rows and columns of the network's input; one number makes it square."""
    spacing_mm: float | None = Field(default=None, gt=0)
    """Resample pixels to this size in mm and centre them in `size`; without it the slice is fitted into `size`."""
    centre: Literal["image", "content"] = "image"
    """What `spacing_mm` crops around: the middle of the image, or the centre of mass of what the whole series shows."""
    stretch: bool = False
    """Fill `size` even if that changes the aspect ratio."""
    neighbours: int = Field(default=0, ge=0, le=8)
    """Neighbour slices on each side as extra channels (2.5D, as in Wang et al. 2021, first place of RSNA 2019); the
    first and last slice stand in beyond the ends."""

    @field_validator("size", mode="before")
    @classmethod
    def _square(cls, size: object) -> object:
        return (size, size) if isinstance(size, int) else size

    @field_validator("size")
    @classmethod
    def _reasonable(cls, size: tuple[int, int]) -> tuple[int, int]:
        if not all(16 <= length <= 2048 for length in size):
            raise ValueError("rows and columns must be 16 to 2048, for example 224")
        return size

    @model_validator(mode="after")
    def _crop_in_mm(self) -> Self:
        if self.centre == "content" and self.spacing_mm is None:
            raise ValueError("centre: content needs spacing_mm, which says how much is kept around it")
        return self

    @property
    def whole_series(self) -> str:
        """Which of the settings need more of a series than the frame itself; "" where none does."""
        if self.neighbours:
            return f"preprocessing.neighbours {self.neighbours} reads later frames"
        return "preprocessing.centre content looks at the whole series" if self.centre == "content" else ""

    def scaled_by_series(self, volume: Volume) -> bool:  # noqa: ARG002  for the kinds that need it
        """Whether the values of a frame depend on the other frames of its series."""
        return False

    def placement(self, volume: Volume) -> Placement:
        """How this volume's slices, already in the radiological view, lie in the network's input."""
        turned = orient(volume.array[:1], volume.affine)
        pixel_mm = mean_pixel(volume.series.spacing_mm)
        if volume.affine is not None and display_orientation(volume.affine).transpose:
            pixel_mm = pixel_mm[::-1]
        source = (int(turned.shape[1]), int(turned.shape[2]))
        centre = (0.5, 0.5) if self.centre == "image" else _centre_of_mass(self._content(volume))
        return place(
            source, self.size, pixel_mm=pixel_mm, spacing_mm=self.spacing_mm, stretch=self.stretch, centre=centre
        )

    def _content(self, volume: Volume) -> Tensor:
        """(S,H,W) True where the radiological view shows the patient and no air or background."""
        raise NotImplementedError

    def _stack(self, volume: Volume) -> Tensor:
        """The whole volume in the radiological view as float32."""
        return as_float(orient(volume.array, volume.affine))

    def _padding(self, volume: Volume) -> Tensor | None:
        """True where a pixel of `_stack` is outside the image; None where the files name no padding."""
        mask = volume.find_padding()
        return None if mask is None else torch.as_tensor(orient(mask, volume.affine))

    @property
    def planes(self) -> int:
        """How many planes of a prepared stack belong to a slice."""
        return 1

    def prepare(self, volume: Volume) -> Tensor:
        """A volume on the network's grid: (S,h,w) float32, or (S*3,h,w) for colour.

        Raises:
            InputError: its values are no numbers, or none that the settings are made for.
        """
        plan, prepared = self.plan(volume), self.blank(len(volume.array))
        for piece in cut(volume):
            self.put(piece, plan, out=prepared[piece.part.start * self.planes : piece.part.stop * self.planes])
        return prepared

    def plan(self, volume: Volume) -> Plan:
        """What ``put`` has to know of a volume. Raises InputError as ``prepare`` does."""
        raise NotImplementedError

    def blank(self, count: int, *, device: torch.device | str = "cpu") -> Tensor:
        """What ``put`` fills for so many slices: (count*planes,h,w) of background."""
        return torch.full((count * self.planes, *self.size), self.background, device=device)

    def put(self, piece: Piece, plan: Plan, *, out: Tensor) -> None:
        """The slices of a piece of a volume on the network's grid, into ``out`` (n*planes,h,w), which is ``blank``.

        All of it happens on the device of the piece, and a slice gets the same bits whatever is beside it.
        """
        raise NotImplementedError

    def finish(self, prepared: Tensor, part: slice = slice(None)) -> Tensor:
        """(S,h,w) as ``prepare`` gives it, or (S*3,h,w) for colour -> (n,C,h,w) in [0,1] of n of the slices."""
        slices = prepared.reshape(-1, self.planes, *prepared.shape[1:])
        if not self.neighbours:
            return self._finish(slices[part])
        return self._add_neighbours(slices, range(len(slices))[part])

    def _add_neighbours(self, slices: Tensor, wanted: range) -> Tensor:
        """(S,P,h,w) -> (n, C*(2n+1), h, w): previous slices first, then the slice itself, then the next ones."""
        last = len(slices) - 1
        start = max(0, min(wanted) - self.neighbours)
        near = self._finish(slices[start : max(wanted) + self.neighbours + 1])
        index = torch.arange(wanted.start, wanted.stop, wanted.step, device=slices.device)  # a card waits for no other
        shifts = range(-self.neighbours, self.neighbours + 1)
        return torch.cat([near[(index + shift).clamp(0, last) - start] for shift in shifts], dim=1)

    def _finish(self, slices: Tensor) -> Tensor:
        """(n,P,h,w) as prepared -> (n,C,h,w) in [0,1], without neighbours."""
        raise NotImplementedError


class CTSettings(_InPlane):
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


class IntensitySettings(_InPlane):
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


def _centre_of_mass(content: Tensor) -> tuple[float, float]:
    """The mean row and column of what is True in (S,H,W), as shares of the image; its middle where nothing is."""
    rows, columns = content.sum(dim=(0, 2)).double(), content.sum(dim=(0, 1)).double()
    if not float(rows.sum()):
        return 0.5, 0.5
    shares = [((torch.arange(len(one)) + 0.5) * one).sum() / one.sum() / len(one) for one in (rows, columns)]
    return float(shares[0]), float(shares[1])


PreprocessingSettings = Annotated[CTSettings | IntensitySettings, Field(discriminator="kind")]
