"""Mirrored series and labels that name a side do not go together."""

from __future__ import annotations

import logging
import re

from seriatim.experiment import Experiment

logger = logging.getLogger(__name__)
SIDES = frozenset({"left", "right", "laterality", "side"})


def tell_mirrored_sides(experiment: Experiment) -> None:
    """Warn where series are mirrored whose labels or classes name a side: a mirrored left is a right."""
    mirrored = [name for name in ("augmentation", "test_time") if getattr(experiment, name).flip_left_right]
    task = experiment.task
    named = [name for name in (*task.labels, *task.classes, *task.slice_labels)
             if SIDES & set(re.split(r"[^a-z]+", name.lower()))]
    if mirrored and named:
        logger.warning("%s.flip_left_right mirrors series, and %r names a side: of a mirrored series that label is "
                       "wrong. Set it to false, unless the label holds for both sides.", mirrored[0], named[0])
