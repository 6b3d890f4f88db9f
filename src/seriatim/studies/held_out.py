"""The series that a run did not train on, as far as they can still be found."""

from __future__ import annotations

from pathlib import Path

from seriatim.trained import AnomalyModel, Model, find_split, read_splits
from seriatim.training.examples import Example, gather_examples
from seriatim.training.split import Split

HELD_OUT: tuple[Split, ...] = ("val", "test")


def find_held_out(
    model: Model | AnomalyModel, *, slice_labels: Path | None = None, limit: int | None = None
) -> list[Example]:
    """The validation series of a run, then its test series, at most ``limit`` of each; those that are gone are logged.

    The run's own manifest has the last word: a series that it put into another of its splits, or left out of
    validation, is not among them.

    Raises:
        ConfigError: the manifest is gone, or a label is wrong.
    """
    experiment = model.experiment
    if slice_labels is not None:
        data = experiment.data.model_copy(update={"slice_labels": slice_labels})
        experiment = experiment.model_copy(update={"data": data})
    examples = gather_examples(experiment, model.task, check=lambda _: None, only=HELD_OUT)
    known = read_splits(model.path)
    found: list[Example] = []
    for split in HELD_OUT:
        own = [one for one in examples.of(split)
               if (find_split(known, one.series.study_uid, one.series.series_uid) or "test") == split]
        found += own[:limit]
    return found
