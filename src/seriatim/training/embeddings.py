"""Embeddings of two-stage runs: computed once, kept in memory or in a folder where every later run finds them."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from seriatim.errors import OutputError
from seriatim.experiment import BaseExperiment
from seriatim.io.content import digest_files
from seriatim.io.tables.outputs import make_folder
from seriatim.models.chunks import CHUNK
from seriatim.models.encoder import digest_weights
from seriatim.models.inference import REVISION
from seriatim.series import Series
from seriatim.tasks.predict import EncodingNetwork, embed_series
from seriatim.tasks.views import mirror
from seriatim.training.dataset import PreparedSeries
from seriatim.training.examples import series_key
from seriatim.transforms import Augment

MIRRORED = "mirrored"
logger = logging.getLogger(__name__)


class EmbeddingStore:
    """(S,E) float32 arrays in a folder, one ``.npy`` file each, named by what made them and read by memory map.

    The name is the SHA-256 of the bytes of the series' files and their order, the preprocessing, the encoder's settings
    and weights, and for an augmented view how it was changed. So no run gets what another encoder made, and a changed
    file is embedded anew. Files are put in place whole, and a damaged one is made again.
    """

    def __init__(self, folder: Path, *, recipe: bytes) -> None:
        self._folder, self._recipe = make_folder(folder), recipe

    def fetch(self, series: Series, view: str, compute: Callable[[], Tensor]) -> Tensor:
        """The stored embeddings of a series, computed and stored where they are not there yet."""
        key = hashlib.sha256(self._recipe + digest_series(series) + view.encode()).hexdigest()
        path = self._folder / key[:2] / f"{key}.npy"
        try:
            stored = np.load(path, mmap_mode="c", allow_pickle=False)  # copy on write: torch wants a writable array
            if stored.dtype == np.float32 and stored.ndim == 2 and len(stored) == len(series.instances):
                return torch.from_numpy(stored)
            logger.warning("a file of the embedding store is not what its name says, and is made again")
        except FileNotFoundError:
            pass
        except (OSError, ValueError, EOFError):
            logger.warning("a file of the embedding store is damaged, and is made again")
        embeddings = compute().detach().float().cpu()
        _put(path, embeddings.numpy())
        return embeddings


class Embedder:
    """Embeds series with a frozen encoder: plainly, and in ``views`` augmented ways."""

    def __init__(
        self, network: EncodingNetwork, prepared: PreparedSeries, experiment: BaseExperiment, *, augment: Augment | None
    ) -> None:
        self._network, self._prepared, self._experiment, self._augment = network, prepared, experiment, augment
        folder = experiment.training.embedding_store
        self._store = EmbeddingStore(folder, recipe=make_recipe(experiment, network)) if folder else None
        self._kept: dict[tuple[str, int | str], Tensor] = {}

    def embed(self, series: Series, view: int = 0) -> Tensor:
        """(S,E). View 0 is the series as it is, each other view changes it by a seed of its own."""
        key: tuple[str, int | str] = (series_key(series), view)
        if key not in self._kept:
            self._kept[key] = self._fetch(series, view)
        return self._kept[key]

    def embed_mirrored(self, series: Series) -> Tensor:
        """(S,E) of the series as it is, with left and right exchanged: a view of test-time augmentation."""
        key: tuple[str, int | str] = (series_key(series), MIRRORED)
        if key not in self._kept:
            self._kept[key] = self._keep(series, MIRRORED, lambda: mirror(self._prepared.slices(series)))
        return self._kept[key]

    def embed_views(self, series: Series) -> list[Tensor]:
        """(S,E) in each view of ``test_time``: what validation and scoring read."""
        mirrored = self._experiment.test_time.flip_left_right
        return [self.embed(series), *([self.embed_mirrored(series)] if mirrored else [])]

    def _fetch(self, series: Series, view: int) -> Tensor:
        name = f"{self._experiment.seed} {view} {self._experiment.augmentation.model_dump_json()}" if view else ""
        return self._keep(series, name, lambda: self._slices(series, name))

    def _keep(self, series: Series, name: str, slices: Callable[[], Tensor]) -> Tensor:
        def compute() -> Tensor:
            return embed_series(self._network, slices()).cpu().clone()  # loader processes cannot read a card's memory

        return compute() if self._store is None else self._store.fetch(series, name, compute)

    def _slices(self, series: Series, name: str) -> Tensor:
        if not name or self._augment is None:
            return self._prepared.slices(series)
        seed = int.from_bytes(hashlib.sha256(f"{series_key(series)} {name}".encode()).digest()[:4], "big")
        return self._experiment.preprocessing.finish(self._augment(self._prepared.prepare(series), seed))


def make_recipe(experiment: BaseExperiment, network: EncodingNetwork) -> bytes:
    """A digest of all that turns a series into embeddings, beside the series itself."""
    device = next(network.parameters()).device.type
    settings = {
        "format": str(REVISION),
        "torch": torch.__version__,
        "device": device,
        "preprocessing": experiment.preprocessing.model_dump(mode="json"),
        "encoder": experiment.network.encoder.model_dump(mode="json", exclude={"weights"}),
    }
    if network.chunk_size != CHUNK:  # kernels are chosen by the shape, and round otherwise
        settings["chunk"] = network.chunk_size
    if experiment.preprocessing.revision > 1:
        settings["revision"] = experiment.preprocessing.revision
    told = json.dumps(settings, sort_keys=True).encode()
    return hashlib.sha256(told + digest_weights(network.encoder)).digest()


def digest_series(series: Series) -> bytes:
    """A digest of the bytes of a series' files and of the order in which their slices are read."""
    places = {path: place for place, path in enumerate(dict.fromkeys(one.path for one in series.instances))}
    order = json.dumps([[places[one.path], one.frame] for one in series.instances])
    return hashlib.sha256(digest_files(places) + order.encode()).digest()


def _put(path: Path, values: np.ndarray) -> None:
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            np.save(file, values, allow_pickle=False)
        partial.replace(path)
    except OSError as error:
        raise OutputError(
            f"The embedding store {path.parent.parent} cannot be written: {error.strerror}. Free space, or choose "
            "another folder for training.embedding_store."
        ) from error
