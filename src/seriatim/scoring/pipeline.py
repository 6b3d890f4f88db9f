"""Many series to predictions: the one way in which a batch is scored."""

from __future__ import annotations

from collections.abc import Generator, Sequence

from seriatim.scoring.engine import score_one
from seriatim.series import Prediction, Series
from seriatim.trained import Scorer


def predict_all(series: Sequence[Series], model: Scorer) -> Generator[tuple[int, Prediction], None, None]:
    """The prediction of each series with its index, in any order; what is wrong with a series becomes its prediction.

    The caller may stop early: closing the iterator stops all that works for it.
    """
    for index, one in enumerate(series):
        yield index, score_one(one, model)
