"""What normal sequences of new patients will get: each validation patient judged by norms of the others."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from seriatim.models.detectors import Evidence
from seriatim.tasks.anomaly import AnomalyTask

FOLDS = 5
TOO_OFTEN = 2.0
logger = logging.getLogger(__name__)


def judge_by_others(
    task: AnomalyTask, normal: Sequence[Sequence[Evidence]], seconds: Sequence[float], *,
    places: Sequence[NDArray[np.float64]] | None, patients: Sequence[str],
) -> dict[str, float]:  # fmt: skip
    """``new_normal_frames_above``, the share of normal validation frames above the threshold, and where frames have
    times ``new_false_alarms_per_minute``: in five parts of whole patients, each by the norms and the threshold of the
    other four. Norms that frames are part of flatter them, the more the fewer patients there are.

    Arguments as of ``AnomalyTask.learn_norms``, with the patient of each sequence. Nothing where the others are too
    few to learn norms from.
    """
    part = np.unique(np.asarray(patients, dtype=str), return_inverse=True)[1] % FOLDS
    above = frames = events = 0
    for one in np.unique(part):
        others = [i for i in range(len(normal)) if part[i] != one]
        try:
            judge = task.learn_norms([normal[i] for i in others], [seconds[i] for i in others],
                                     places=[places[i] for i in others] if places else None)
        except (ValueError, IndexError):
            return {}
        assert judge.norms is not None
        for i in set(range(len(normal))) - set(others):
            scores = judge.judge(normal[i], places[i] if places else None)
            above += int((scores.surprise >= judge.norms.threshold).sum())
            frames += len(scores.surprise)
            events += len(scores.events) if seconds[i] > 0 else 0
    found = {"new_normal_frames_above": above / frames}
    return found | ({"new_false_alarms_per_minute": 60 * events / sum(seconds)} if sum(seconds) > 0 else {})


def warn_of_few(task: AnomalyTask, figures: dict[str, float], *, patients: int) -> None:
    """Say so where a threshold will not hold for new patients, or where nothing tells whether it will."""
    assert task.norms is not None
    asked = float(np.exp(-task.norms.threshold))
    share = figures.get("new_normal_frames_above")
    if share is None:
        logger.warning("The threshold rests on %d normal validation patient(s): too few to tell how many normal frames "
                       "of new ones reach it. Add normal series to val.", patients)
    elif share > TOO_OFTEN * asked:
        logger.warning("%.1f %% of the normal frames of validation patients that norms were not learnt from reach the "
                       "threshold, not %.1f %%: normal patients differ too much for so few (%d). Add normal series to "
                       "val.", 100 * share, 100 * asked, patients)
