"""The in-plane grid and the 2.5D channels, which all kinds of input share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, Self

import torch
from pydantic import Field, field_validator, model_validator
from torch import Tensor

from seriatim.series import Volume
from seriatim.series.geometry import display_orientation
from seriatim.settings import Settings
from seriatim.transforms.orientation import orient
from seriatim.transforms.pieces import Piece, cut
from seriatim.transforms.placement import Placement, as_float, mean_pixel, place


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What ``put`` has to know of the whole volume: where slices land, and which value becomes 0 and which 1."""

    placement: Placement
    low: float = 0.0
    span: float = 1.0
    inverted: bool = False
    depth: Tensor | None = None
    """(S,H,W) what a kind of input has measured of the whole volume, in the radiological view."""


class InPlane(Settings):
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
        start = max(0, min(wanted, default=0) - self.neighbours)
        near = self._finish(slices[start : max(wanted, default=0) + self.neighbours + 1])
        index = torch.arange(wanted.start, wanted.stop, wanted.step, device=slices.device)  # a card waits for no other
        shifts = range(-self.neighbours, self.neighbours + 1)
        return torch.cat([near[(index + shift).clamp(0, last) - start] for shift in shifts], dim=1)

    def _finish(self, slices: Tensor) -> Tensor:
        """(n,P,h,w) as prepared -> (n,C,h,w) in [0,1], without neighbours."""
        raise NotImplementedError


def _centre_of_mass(content: Tensor) -> tuple[float, float]:
    """The mean row and column of what is True in (S,H,W), as shares of the image; its middle where nothing is."""
    rows, columns = content.sum(dim=(0, 2)).double(), content.sum(dim=(0, 1)).double()
    if not float(rows.sum()):
        return 0.5, 0.5
    shares = [((torch.arange(len(one)) + 0.5) * one).sum() / one.sum() / len(one) for one in (rows, columns)]
    return float(shares[0]), float(shares[1])
