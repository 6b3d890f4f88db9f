"""The figures of subgroups: how good the model is in each value of a column of the label table."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from seriatim.errors import ConfigError
from seriatim.evaluation.join import Pair
from seriatim.evaluation.measures import Measures, measure
from seriatim.evaluation.samples import Question, Samples

MOST_GROUPS = 20
EMPTY = "(empty)"

Subgroups = dict[str, dict[str, Measures]]
"""By column, by value of the column: the figures of its series."""


def measure_subgroups(
    question: Question, samples: Samples, pairs: Sequence[Pair], *, columns: Sequence[str]
) -> Subgroups:
    """The figures of every value of every column; series without a value are a group of their own.

    Raises:
        ConfigError: the label table has no such column, or the column has more values than a table can hold.
    """
    found: Subgroups = {}
    for column in columns:
        if pairs and column not in pairs[0].label:
            raise ConfigError(f"The labels have no column {column!r}; they have {', '.join(pairs[0].label)}.")
        values = np.array([pairs[row].label[column] or EMPTY for row in samples.rows], dtype=object)
        groups = sorted(set(values))
        if len(groups) > MOST_GROUPS:
            raise ConfigError(
                f"The column {column!r} has {len(groups)} values, and subgroups are {MOST_GROUPS} at most. Put its "
                "values in classes first, for example ages in decades."
            )
        found[column] = {
            str(group): measure(question, samples.take(np.flatnonzero(values == group))) for group in groups
        }
    return found
