"""Whether a model knew a series before it was asked about it: then what it says is no test."""

from __future__ import annotations

from seriatim.trained import Model, Scorer, read_splits

KNOWN_BEFORE = {
    "train": "The model was trained on this series: what it says of it is no test.",
    "val": "The model and its threshold were chosen on validation series, and this is one of them: it is no test.",
    "unlabelled": "The model, or one that it started from, learnt from the images of this series: it is no test.",
}
"""What is said of a series by its split in the model's manifest."""


def tell_split(model: Scorer | Model, series_uid: str) -> str:
    """That the model knew the series before it was asked; "" where it did not, or nothing tells."""
    splits = read_splits(model.path) if isinstance(model, Model) else model.read_splits()
    return KNOWN_BEFORE.get(splits.get(series_uid, ""), "")
