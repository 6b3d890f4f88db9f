"""All open sets, by name."""

from __future__ import annotations

import difflib
from collections.abc import Mapping

from seriatim.datasets import ct_ich, medmnist, pocus
from seriatim.datasets.dataset import Dataset
from seriatim.errors import ConfigError

DATASETS: Mapping[str, Dataset] = {
    dataset.name: dataset for dataset in (*medmnist.datasets(), ct_ich.DATASET, pocus.DATASET)
}


def find_dataset(name: str) -> Dataset:
    """The set of that name. Raises ConfigError, which names near ones."""
    if name not in DATASETS:
        near = difflib.get_close_matches(name.lower(), DATASETS, n=3, cutoff=0.5) or list(DATASETS)
        raise ConfigError(f"There is no open set {name!r}. Near: {', '.join(near)}. `seriatim get` lists all.")
    return DATASETS[name]
