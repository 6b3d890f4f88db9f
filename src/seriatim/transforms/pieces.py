"""A volume in pieces of a few slices, which stay in the processor's cache from the stored numbers to the network's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from seriatim.errors import InputError
from seriatim.series import Volume
from seriatim.transforms.orientation import orient
from seriatim.transforms.placement import RESIZE_CHUNK, as_float

MOST_SAMPLED = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """Some slices of a volume in the radiological view.

    ``stored`` (n,H,W) or (n,H,W,3) are the volume's own numbers, not to be written to; ``padding`` (n,H,W) is True
    outside the image, None where the files name no padding.
    """

    part: slice
    stored: Tensor
    padding: Tensor | None

    @property
    def pixels(self) -> Tensor:
        """``stored`` as float32; not to be written to."""
        return as_float(self.stored)


def cut(volume: Volume) -> Iterator[Piece]:
    """The slices of a volume in order, a few at a time."""
    for start in range(0, len(volume.array), RESIZE_CHUNK):
        yield take(volume, slice(start, start + RESIZE_CHUNK))


def take(volume: Volume, part: slice) -> Piece:
    """These slices of a volume."""
    outside = volume.find_padding(part)
    return Piece(
        part=part,
        stored=torch.as_tensor(orient(volume.array[part], volume.affine)),
        padding=None if outside is None else torch.as_tensor(orient(outside, volume.affine)),
    )


def check_finite(volume: Volume) -> None:
    """Refuse what is not a number; a network would turn it into a score all the same.

    Raises:
        InputError: the volume holds some.
    """
    if volume.array.dtype.kind != "f":
        return
    counts = torch.cat([(~torch.isfinite(piece.pixels)).flatten(1).sum(dim=1) for piece in cut(volume)])
    if bool(counts.any()):
        noun, first = "frame" if volume.series.axis == "time" else "slice", int(counts.nonzero()[0])
        raise InputError(
            f"BAD_VALUE: {int(counts.sum())} pixels of series {volume.series.series_uid} are not finite numbers, first "
            f"in {noun} {first}. Write its files again."
        )


def sample(volume: Volume) -> Tensor:
    """One to two MOST_SAMPLED values at even steps through all that are no padding (through all, where none is)."""
    real = sum(piece.stored.numel() if piece.padding is None else int((~piece.padding).sum()) for piece in cut(volume))
    step = max(1, (real or volume.array.size) // MOST_SAMPLED)
    taken, seen = [], 0
    for piece in cut(volume):
        values = piece.stored.flatten() if piece.padding is None or not real else piece.stored[~piece.padding]
        taken.append(as_float(values[-seen % step :: step].clone()))
        seen += len(values)
    return torch.cat(taken)

