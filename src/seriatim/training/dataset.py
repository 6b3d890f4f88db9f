"""From examples to batches: prepared once, changed by a seed, padded to the longest."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from seriatim.experiment import LoopSettings
from seriatim.io import read_volume
from seriatim.io.isolation.limits import Limits
from seriatim.series import Series
from seriatim.series.batch import SliceBatch
from seriatim.training.examples import Example, series_key
from seriatim.training.sampling import choose_slices, draw_mixing
from seriatim.training.traits import Traits, measure_traits
from seriatim.transforms import Augment, PreprocessingSettings

Draw = tuple[int, int]
"""(example index, seed of its random changes)."""


class PreparedSeries:
    """Reads and prepares a series, and keeps the result in memory where asked to."""

    def __init__(self, preprocessing: PreprocessingSettings, *, cache: bool, limits: Limits | None = None) -> None:
        self._preprocessing = preprocessing
        self._limits = limits
        self._kept: dict[str, Tensor] | None = {} if cache else None
        self._traits: dict[str, Traits] = {}

    def prepare(self, series: Series) -> Tensor:
        """(N,h,w) on the network's grid, before windowing."""
        if self._kept is None:
            return self._read(series)
        key = series_key(series)
        if key not in self._kept:
            self._kept[key] = self._read(series)
        return self._kept[key]

    def traits(self, series: Series) -> Traits:
        """The traits of a series, measured whenever it was read first; it is read for them where it never was."""
        key = series_key(series)
        if key not in self._traits:
            self._read(series)
        return self._traits[key]

    def _read(self, series: Series) -> Tensor:
        prepared, key = self._preprocessing.prepare(read_volume(series, limits=self._limits)), series_key(series)
        if key not in self._traits:
            self._traits[key] = measure_traits(prepared, slices=len(series.instances))
        return prepared

    def slices(self, series: Series) -> Tensor:
        """(S,C,h,w) in [0,1], unchanged: what validation and scoring see."""
        return self._preprocessing.finish(self.prepare(series))


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One training sample; ``inputs`` is (S,C,h,w) slices or (S,E) embeddings, ``mixing`` as of ``SliceBatch``."""

    inputs: Tensor
    positions: Tensor
    labels: Tensor
    slice_labels: Tensor
    key: str
    mixing: float = 1.0


class SequenceDataset(Dataset[Item]):
    """Training samples: the same (index, seed) always gives the same sample, in any process."""

    def __init__(
        self,
        examples: Sequence[Example],
        prepared: PreparedSeries,
        *,
        finish: PreprocessingSettings,
        augment: Augment,
        settings: LoopSettings,
    ) -> None:
        self._examples = examples
        self._prepared = prepared
        self._finish = finish
        self._augment = augment
        self._settings = settings

    def __getitem__(self, draw: Draw) -> Item:
        index, seed = draw
        example = self._examples[index]
        slices = self._finish.finish(self._augment(self._prepared.prepare(example.series), seed))
        return make_item(example, slices, settings=self._settings, seed=seed)


class EmbeddingDataset(Dataset[Item]):
    """Training samples whose embeddings were computed once (two-stage); a sample is one of its views at random."""

    def __init__(
        self, examples: Sequence[Example], embed: Callable[[Series, int], Tensor], *, views: int, settings: LoopSettings
    ) -> None:
        self._examples = examples
        self._embed = embed
        self._views = views
        self._settings = settings

    def __getitem__(self, draw: Draw) -> Item:
        index, seed = draw
        example = self._examples[index]
        view = int(np.random.default_rng((seed, 1)).integers(self._views + 1)) if self._views else 0
        embeddings = self._embed(example.series, view)
        return make_item(example, embeddings, settings=self._settings, seed=seed)


def make_item(example: Example, inputs: Tensor, *, settings: LoopSettings, seed: int) -> Item:
    """The slices of an example that a sample of this seed shows, with their positions and labels."""
    chosen = choose_slices(example.slice_labels, settings, seed)
    return Item(
        inputs=inputs[chosen],
        positions=torch.from_numpy(example.series.positions)[chosen],
        labels=torch.tensor(example.labels, dtype=torch.float32),
        slice_labels=torch.from_numpy(example.slice_labels)[chosen],
        key=example.key,
        mixing=draw_mixing(settings, seed),
    )


def collate(items: Sequence[Item]) -> SliceBatch:
    """Pad to the longest series; padding is zero and masked. The first sample's share of mixup is that of the batch."""
    longest = max(len(item.inputs) for item in items)
    mask = torch.stack([torch.arange(longest) < len(item.inputs) for item in items])
    inputs = _pad([item.inputs for item in items])
    return SliceBatch(
        mask=mask,
        positions=_pad([item.positions for item in items]),
        labels=torch.stack([item.labels for item in items]),
        slice_labels=_pad([item.slice_labels for item in items]),
        keys=tuple(item.key for item in items),
        slices=inputs if inputs.ndim == 5 else None,
        embeddings=inputs if inputs.ndim == 3 else None,
        mixing=items[0].mixing,
    )


def _pad(tensors: Sequence[Tensor]) -> Tensor:
    return torch.nn.utils.rnn.pad_sequence(list(tensors), batch_first=True)


def plan_epoch(count: int, *, epoch: int, seed: int, batch_size: int) -> list[list[Draw]]:
    """The shuffled batches of an epoch, a function of seed and epoch alone, so that a resumed run draws the same."""
    generator = np.random.default_rng((seed, epoch))
    order = generator.permutation(count)
    seeds = generator.integers(0, 2**31, size=count)
    draws = [(int(index), int(drawn)) for index, drawn in zip(order, seeds, strict=True)]
    return [draws[start : start + batch_size] for start in range(0, count, batch_size)]


def load_batches(dataset: Dataset[Item], batches: list[list[Draw]], *, workers: int) -> Iterator[SliceBatch]:
    """Load planned batches in order."""
    loader: DataLoader[Item] = DataLoader(dataset, batch_sampler=batches, collate_fn=collate, num_workers=workers)
    yield from loader
