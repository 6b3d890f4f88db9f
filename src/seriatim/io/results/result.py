"""What is written of one scored series, as plain data: no DICOM, no model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from seriatim.series import Prediction, Series

MANUFACTURER = "seriatim"
Answer = Literal["binary", "multiclass", "multilabel", "regression", "anomaly"]
MapKind = Literal["attention", "gradcam", "anomaly"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Algorithm:
    """Which model it was: its name, the ``version`` of the software, the model's digest, and what else tells it."""

    name: str
    version: str
    digest: str
    parameters: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceMaps:
    """A number for each place of some slices: ``values`` float32 (T,h,w) on any grid that covers the slice as stored.

    ``indices`` (T,) are the slices, ascending; ``label`` is the class that the values speak for, "" where for none.
    """

    kind: MapKind
    indices: tuple[int, ...]
    values: NDArray[np.float32]
    label: str = ""

    def __post_init__(self) -> None:
        if self.values.ndim != 3 or len(self.values) != len(self.indices) or not self.indices:
            raise ValueError(f"{len(self.indices)} slices, but maps of the shape {self.values.shape}.")
        if list(self.indices) != sorted(set(self.indices)) or not np.isfinite(self.values).all():
            raise ValueError("Maps hold finite numbers, one map for each slice in ascending order.")


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceAttribution:
    """What a method says each slice did for a class: ``values`` (S,); ``code`` and ``title`` name the method."""

    code: str
    title: str
    label: str
    values: NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesResult:
    """All that is known about one scored series.

    ``answer`` says what the numbers of ``prediction`` mean. ``thresholds`` maps class to where it was decided (empty
    where there is none), ``thresholds_from`` says what they were chosen on and ``stand_ins`` in words which
    were not; ``calibrated`` whether validation bent the probabilities to mean what they say.
    ``top`` are the slices to look at first, the first of them first; ``chosen_by`` says in words why these.
    ``picture`` is uint8 (H,W,3), the explanation as it is drawn, without identifiers.
    """

    series: Series
    prediction: Prediction
    algorithm: Algorithm
    answer: Answer
    thresholds: Mapping[str, float] = field(default_factory=dict)
    thresholds_from: str = ""
    stand_ins: str = ""
    calibrated: bool = False
    top: tuple[int, ...] = ()
    chosen_by: str = ""
    attribution: SliceAttribution | None = None
    maps: tuple[SliceMaps, ...] = ()
    picture: NDArray[np.uint8] | None = None

    def __post_init__(self) -> None:
        if self.prediction.status != "scored":
            raise ValueError(f"Series {self.series.series_uid} was not scored: there is no result to write.")
        count = len(self.series.instances)
        if self.prediction.sop_instance_uids != tuple(one.sop_instance_uid for one in self.series.instances):
            raise ValueError(f"Series {self.series.series_uid}: the prediction is about other images.")
        if self.attribution is not None and self.attribution.values.shape != (count,):
            raise ValueError(f"An attribution of {count} slices has the shape {self.attribution.values.shape}.")
        if not all(0 <= index < count for index in (*self.top, *(place for one in self.maps for place in one.indices))):
            raise ValueError(f"Series {self.series.series_uid} has {count} slices, and others are named.")
