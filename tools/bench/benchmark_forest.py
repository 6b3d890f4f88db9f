"""The bar of a set of shapes: a random forest on the areas of a mask's sections along its three axes.

As ../shared/data/README.md has it for AdrenalMNIST3D. Nothing is chosen but the threshold, out of bag.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from benchmark_linear import Array, series_labels
from benchmark_scores import Answer, write_scores
from sklearn.ensemble import RandomForestClassifier

from seriatim.experiment import Experiment
from seriatim.io import read_volume
from seriatim.series import Series
from seriatim.tasks.metrics import youden_threshold
from seriatim.training.examples import gather_examples

TREES = 500


def run_forest(experiment: Experiment, folder: Path) -> None:
    """Train on the training series of one fold, score its held-out series, and write tables."""
    if (folder / "run.json").is_file():
        return
    task = experiment.task.build()
    examples = gather_examples(experiment, task, check=lambda _: None)
    train, held_out = [*examples.of("train"), *examples.of("val")], examples.of("test")
    labels = np.array([series_labels(one, task)[0] for one in train])
    forest = RandomForestClassifier(TREES, min_samples_leaf=2, class_weight="balanced", oob_score=True, random_state=0)
    forest.fit(areas([one.series for one in train]), labels)
    threshold = youden_threshold(labels, forest.oob_decision_function_[:, 1])
    scores = forest.predict_proba(areas([one.series for one in held_out]))[:, 1]
    answers = [(one.series, _answer(score, len(one.series.instances)))
               for one, score in zip(held_out, scores, strict=True)]
    write_scores(folder, experiment, answers, thresholds={task.class_names[0]: threshold})


def areas(series: Sequence[Series]) -> Array:
    """(N,3*side) voxels of the shape in each section of each axis; all masks must be of one size."""
    masks = (read_volume(one).array != 0 for one in series)
    return np.array([np.concatenate([mask.sum(axis) for axis in ((1, 2), (0, 2), (0, 1))]) for mask in masks])


def _answer(score: float, slices: int) -> Answer:
    return Answer(probabilities=np.array([score]), attention=np.full(slices, 1 / slices),
                  slice_scores=np.full((slices, 1), score))
