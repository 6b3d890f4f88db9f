"""Whether a model is judged by patients that it knows from their other series."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from seriatim.evaluation.join import Pair
from seriatim.evaluation.scores import Scores
from seriatim.trained import read_patients

KNOWN_PATIENTS = ("are of patients whose ids are those of patients that the model was trained or tuned on: if they are "
                  "the same people, the figures are too good for new patients")


def count_known_patients(pairs: Sequence[Pair], scores: Sequence[Scores]) -> int:
    """How many series that a model does not know are of a patient whose id stands in its manifest, or in that of a run
    which it started from, as trained or tuned on; none of a model whose run folder is not there.
    """
    read = cache(read_patients)
    known = [frozenset[str]().union(*map(read, one.models)) for one in scores]
    return sum(bool(pair.patient) and not pair.trained_on and pair.patient in known[pair.file] for pair in pairs)
