"""Prediction: what scoring says about one series. One row of scores.csv, and its rows of slices.csv."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Status = Literal["scored", "refused", "failed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """The outcome for one discovered series.

    ``probabilities`` maps class to probability (for regression, target to value); ``prediction_set`` names the answers
    of a stated coverage, "" where the model gives none. ``disagreement`` maps class to the standard deviation of
    several models' probabilities, empty of one model. ``attention`` (S,) sums to 1; ``class_attention`` maps class to
    its own (S,), empty where all share one; ``slice_scores`` maps class to (S,) probabilities, empty where the model
    has no slice head. All per-slice fields are in the order of ``sop_instance_uids``; ``frames`` are 0-based frames of
    multi-frame files. ``slice_details`` are further (S,) numbers by name, and ``events`` stretches of slices (start,
    stop, peak, score of the peak), of models that have them. ``findings`` are codes of what was noticed about the
    series; ``duration_s`` is how long a clip lasts, 0 where no times are known; ``distance`` is how far it lies from
    those of training, where 1 is the limit. ``reason`` says why a series was refused or failed, "" when scored.
    """

    study_uid: str
    series_uid: str
    path: Path
    modality: str
    status: Status
    reason: str = ""
    volume: str = ""
    findings: tuple[str, ...] = ()
    frames: tuple[int | None, ...] = ()
    probabilities: Mapping[str, float] = field(default_factory=dict)
    disagreement: Mapping[str, float] = field(default_factory=dict)
    prediction: str = ""
    prediction_set: str = ""
    distance: float | None = None
    seconds: float = 0.0
    slices: int = 0
    sop_instance_uids: tuple[str, ...] = ()
    positions: NDArray[np.float64] | None = None
    attention: NDArray[np.float64] | None = None
    class_attention: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    slice_scores: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    slice_details: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    events: tuple[tuple[int, int, int, float], ...] = ()
    duration_s: float = 0.0

    def __post_init__(self) -> None:
        if self.status != "scored":
            if not self.reason:
                raise ValueError(f"Series {self.series_uid}: a {self.status} series needs a reason.")
            return
        count = len(self.sop_instance_uids)
        per_slice = {"positions": self.positions, "attention": self.attention, **self.slice_scores,
                     **self.slice_details}
        per_slice |= {f"attention of {name}": values for name, values in self.class_attention.items()}
        wrong = {
            name: None if values is None else len(values)
            for name, values in per_slice.items()
            if values is None or len(values) != count
        }
        if not count or wrong:
            raise ValueError(f"Series {self.series_uid}: {count} slices, but per-slice lengths {wrong}.")
