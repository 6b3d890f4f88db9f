"""A series whose slices are made on a CUDA card: only its stored numbers are sent there, a few slices at a time."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property

import torch
from torch import Tensor

from seriatim.series import Volume
from seriatim.trained.intensity import find_percentiles, sample_pixels
from seriatim.transforms import PreprocessingSettings
from seriatim.transforms.pieces import take
from seriatim.transforms.placement import RESIZE_CHUNK
from seriatim.transforms.upload import Upload


class StoredSeries:
    """A volume that acts as the slices (S,C,H,W) in [0,1] that the network sees, as a ``PreparedSeries`` does.

    ``series[a:b]`` sends the volume's own numbers of these slices to the card (int16 and uint8 where it holds them),
    resizes and windows them there, and is on the card; a is 0 or more, and the step 1. For one thread at a time.

    Raises:
        InputError: as ``prepare`` of the preprocessing.
    """

    def __init__(self, volume: Volume, preprocessing: PreprocessingSettings, *, device: str) -> None:
        self.preprocessing = preprocessing
        self._volume, self._device = volume, torch.device(device)
        self._plan = preprocessing.plan(volume)
        self._sample: list[Tensor] = []
        self._sampled = 0

    def __len__(self) -> int:
        return len(self._volume.array)

    def __getitem__(self, part: slice) -> Tensor:
        start, stop, _ = part.indices(len(self))
        first = max(0, start - self.preprocessing.neighbours)
        prepared = self._prepare(first, min(len(self), stop + self.preprocessing.neighbours))
        if start == self._sampled and start < stop:
            self._look(prepared, slice(start - first, stop - first))
        return self.preprocessing.finish(prepared, slice(start - first, stop - first))

    @property
    def intensity(self) -> tuple[float, ...]:
        """The ``measure_intensity`` of the series: of what was seen on the way, and of the slices nobody asked for."""
        while self._sampled < len(self):
            self[self._sampled : self._sampled + RESIZE_CHUNK]
        return find_percentiles(torch.cat(self._sample).cpu())

    @cached_property
    def _upload(self) -> Upload:
        return Upload(self._device)

    def _prepare(self, first: int, last: int) -> Tensor:
        """Some slices on the network's grid, on the card, as ``prepare`` of the preprocessing gives them."""
        settings, prepared = self.preprocessing, self.preprocessing.blank(last - first, device=self._device)
        for start in range(first, last, RESIZE_CHUNK):
            stop = min(start + RESIZE_CHUNK, last)
            piece = take(self._volume, slice(start, stop))
            out = prepared[(start - first) * settings.planes : (stop - first) * settings.planes]
            sent = [piece.stored] if piece.padding is None else [piece.stored, piece.padding]
            with self._upload.send(*sent) as (stored, *padding):
                settings.put(replace(piece, stored=stored, padding=next(iter(padding), None)), self._plan, out=out)
        return prepared

    def _look(self, prepared: Tensor, part: slice) -> None:
        """Keep those pixels of the next slices that ``intensity`` needs."""
        planes, pixels = self.preprocessing.planes, prepared[0].numel() * self.preprocessing.planes
        own = prepared[part.start * planes : part.stop * planes]
        sample = sample_pixels(own, count=len(self) * pixels, seen=self._sampled * pixels)
        self._sample.append(sample.clone())  # not all of what it was taken from
        self._sampled += part.stop - part.start
