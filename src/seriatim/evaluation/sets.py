"""Prediction sets against labels: how often they hold the truth, and how much they leave open."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from seriatim.evaluation.intervals import bootstrap, proportion
from seriatim.evaluation.join import Pair
from seriatim.evaluation.measures import Measures
from seriatim.evaluation.samples import Question, Samples

COLUMN = "prediction_set"


def measure_sets(question: Question, samples: Samples, pairs: Sequence[Pair]) -> Measures:
    """``set_coverage`` over all and within each answer, and ``set_size``; nothing where scores have no sets.

    An empty set is a miss. A file whose model gives no sets is left out.
    """
    if question.target not in ("binary", "multiclass"):
        return {}
    given = [(index, pairs[row].score.get(COLUMN)) for index, row in enumerate(samples.rows)]
    with_sets = {pairs[samples.rows[index]].file for index, text in given if text}
    chosen = [(index, set((text or "").split("|")) - {""}) for index, text in given
              if pairs[samples.rows[index]].file in with_sets]
    if not chosen:
        return {}
    kept = samples.take(np.array([index for index, _ in chosen], dtype=int))
    answers = ("0", "1") if question.target == "binary" else question.classes
    true = kept.labels[:, 0].astype(int) if question.target == "binary" else kept.labels.argmax(axis=1)
    hits = np.array([answers[one] in found for one, (_, found) in zip(true, chosen, strict=True)])
    sizes = np.array([len(found) for _, found in chosen], dtype=float)
    measures = {"set_coverage": proportion(hits, kept.clusters)}
    for place, answer in enumerate(answers):
        inside = np.flatnonzero(true == place)
        if len(inside):
            measures[f"set_coverage_{answer}"] = proportion(hits[inside], kept.clusters.take(inside))
    measures["set_size"] = bootstrap(lambda index: float(sizes[index].mean()), kept.clusters)
    return measures
