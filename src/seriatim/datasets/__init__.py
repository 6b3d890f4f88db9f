"""Open sets by name: fetched from their publishers, a mirror or a folder, verified, and made ready for training."""

from seriatim.datasets.catalogue import DATASETS, find_dataset
from seriatim.datasets.dataset import Dataset, Licence
from seriatim.datasets.get import Got, get_dataset

__all__ = ["DATASETS", "Dataset", "Got", "Licence", "find_dataset", "get_dataset"]
