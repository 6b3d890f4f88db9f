"""Which series each method of an anomaly task may learn from: normal ones, and supervised from labelled ones too."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from seriatim.errors import InputError
from seriatim.series.batch import IGNORE
from seriatim.tasks.anomaly import AnomalySettings
from seriatim.tasks.profile import LEAST_SEQUENCES, place_frames
from seriatim.training.examples import Example

FEWEST_FRAMES = 20
logger = logging.getLogger(__name__)


def is_normal(example: Example, settings: AnomalySettings) -> bool:
    """Whether a series is known as normal (any, where no column tells), and no frame of it as abnormal."""
    told = settings.label is None or example.labels[0] == 0.0
    return told and not bool((example.slice_labels == 1.0).any())


def choose_normal(examples: Sequence[Example], settings: AnomalySettings, *, least: int, split: str) -> list[Example]:
    """The normal series that have at least ``least`` frames.

    Raises:
        InputError: they are too few.
    """
    found = [one for one in examples if is_normal(one, settings) and len(one.series.instances) >= least]
    if sum(len(one.series.instances) for one in found) < FEWEST_FRAMES:
        raise InputError(
            f"An anomaly model learns from normal series, and {split} has {len(found)} of at least {least} frames; "
            f"together they need {FEWEST_FRAMES} frames. Add normal series, or check task.label and task.normal."
        )
    return found


def choose_labelled(examples: Sequence[Example], settings: AnomalySettings, *, split: str) -> list[Example]:
    """The series of which at least one frame's label is known.

    Raises:
        InputError: not both normal and abnormal frames are among them.
    """
    found = [one for one in examples if (label_frames(one, settings) != IGNORE).any()]
    kinds = {float(label) for one in found for label in label_frames(one, settings)} - {IGNORE}
    if kinds != {0.0, 1.0}:
        lacking = "abnormal" if 1.0 not in kinds else "normal"
        raise InputError(
            f"The method supervised learns from labelled frames, and {split} has no {lacking} one. Give "
            "data.slice_labels with frames of both kinds in train and val, or leave the method out."
        )
    return found


def label_frames(example: Example, settings: AnomalySettings) -> NDArray[np.float32]:
    """(S,) 1 abnormal, 0 normal, IGNORE not known. Frames of a normal series that no table names are normal."""
    labels = example.slice_labels[:, 0]
    return np.where(labels == IGNORE, np.float32(0.0), labels) if is_normal(example, settings) else labels


def place_all(examples: Sequence[Example], settings: AnomalySettings) -> list[NDArray[np.float64]] | None:
    """Where the frames of normal series are along each, for norms by position; None for norms of all frames alike."""
    automatic = settings.norms_by == "auto"
    if settings.norms_by == "none" or (automatic and any(one.series.axis == "time" for one in examples)):
        return None
    if automatic and len(examples) < LEAST_SEQUENCES:
        logger.warning("%d normal validation series are too few for norms by position: all slices are taken as alike.",
                       len(examples))
        return None
    return [place_frames(one.series.positions) for one in examples]
