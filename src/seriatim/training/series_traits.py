"""The traits of series, from memory, from the embedding store, or from their files."""

from __future__ import annotations

import hashlib

from seriatim.experiment import BaseExperiment
from seriatim.series import Series
from seriatim.training.dataset import PreparedSeries
from seriatim.training.embeddings import EmbeddingStore
from seriatim.training.traits import FORMAT, Traits, pack_traits, unpack_traits


class SeriesTraits:
    """Finds the traits of series. With ``training.embedding_store`` they lie there, as embeddings do: a run that need
    not read a series for its embeddings need not read it for its traits.
    """

    def __init__(self, prepared: PreparedSeries, experiment: BaseExperiment) -> None:
        self._prepared = prepared
        recipe = f"traits {FORMAT} {experiment.preprocessing.model_dump_json()}".encode()
        folder = experiment.training.embedding_store
        self._store = EmbeddingStore(folder, recipe=hashlib.sha256(recipe).digest()) if folder else None

    def of(self, series: Series) -> Traits:
        """The traits of a series. Raises InputError where it cannot be read."""
        if self._store is None:
            return self._prepared.traits(series)
        slices = len(series.instances)
        kept = self._store.fetch(series, "", lambda: pack_traits(self._prepared.traits(series), slices=slices))
        return unpack_traits(kept)
