"""Explanation: everything a picture and a table say about one series, as plain arrays. No torch, no files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from seriatim.series import Series
from seriatim.series.series import Axis
from seriatim.trained.faithfulness import Faithfulness

Unit = Literal["mm", "s", "index"]
Letters = tuple[str, str, str, str]


class Drawn(Protocol):
    """What the axis of positions is labelled by, and header and footer tell."""

    @property
    def unit(self) -> Unit: ...
    @property
    def positions(self) -> NDArray[np.float64]: ...
    @property
    def noun(self) -> str: ...
    @property
    def letters(self) -> Letters | None: ...
    @property
    def window_text(self) -> str: ...
    @property
    def findings(self) -> tuple[str, ...]: ...
    @property
    def model_name(self) -> str: ...
    @property
    def model_digest(self) -> str: ...
    @property
    def known_before(self) -> str: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Why a model scored one series as it did: S slices, of which T are shown.

    ``label`` is the class explained and ``probability`` its number (for regression, the value); ``prediction`` is the
    model's answer in words, e.g. "bleed", ``threshold`` what it was decided at (None where there is none).
    ``positions`` (S,) ascend in ``unit``; ``attention`` (S,) sums to 1; ``slice_scores`` maps class to (S,), and so
    does ``class_attention``, which is empty where all classes share one. ``top`` are the T slice indices shown, those
    first that ``shown_attribution`` ranks first. ``images`` uint8 (T,H,W) or (T,H,W,3), windowed, in the radiological
    view, pixels square; ``heat`` (T,H,W) in [0,1] on the same grid, None for an encoder without feature maps.
    ``letters`` are the patient directions at the (left, right, top, bottom) edges. ``findings`` are codes or short
    texts without identifiers. ``truth`` bool (S,) marks labelled slices, ``frames`` are as in ``Instance``.

    ``attributions`` maps methods of ``SLICE_METHODS`` to (S,) or, by class, (S,K) in the order of ``classes``; the one
    to show first is ``shown_attribution``, and ``shown_because`` says why in words. ``completeness`` is the error of
    the integrated gradients' sum, as a share. ``pixel_maps`` maps methods of ``PIXEL_METHODS`` to (T,H,W) like
    ``heat``, which is that of ``shown_map``; ``map_because`` says why that one. ``faithfulness`` was measured on this
    series, ``model_faithfulness`` on series that the model was not trained on; None where it was not measured.

    ``probabilities`` are those of all classes (for regression, values); ``prediction_set`` holds the answers that are
    likely enough, in words ("" where the model makes no sets). ``known_before`` says that the model learnt from this
    series or was chosen by it ("" where it was not), ``calibration`` what its probability means.
    """

    series_uid: str
    label: str
    probability: float
    prediction: str
    axis: Axis
    unit: Unit
    positions: NDArray[np.float64]
    attention: NDArray[np.float64]
    sop_instance_uids: tuple[str, ...]
    top: tuple[int, ...]
    images: NDArray[np.uint8]
    heat: NDArray[np.float32] | None = None
    slice_scores: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    class_attention: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    truth: NDArray[np.bool_] | None = None
    threshold: float | None = None
    letters: Letters | None = None
    window_text: str = ""
    findings: tuple[str, ...] = ()
    model_name: str = ""
    model_digest: str = ""
    frames: tuple[int | None, ...] = ()
    classes: tuple[str, ...] = ()
    attributions: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    shown_attribution: str = "attention"
    shown_because: str = ""
    completeness: float | None = None
    pixel_maps: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    shown_map: str = "grad_cam"
    map_because: str = ""
    faithfulness: Faithfulness | None = None
    model_faithfulness: Faithfulness | None = None
    probabilities: Mapping[str, float] = field(default_factory=dict)
    prediction_set: str = ""
    known_before: str = ""
    calibration: str = ""

    def __post_init__(self) -> None:
        self._check_slices()
        self._check_attributions()
        self._check_images()

    @property
    def noun(self) -> str:
        """What one step of the series is called."""
        return "frame" if self.axis == "time" else "slice"

    def attribution(self, name: str = "") -> NDArray[np.float64]:
        """(S,) of one method (the one shown first) for the class explained."""
        values = self.attributions.get(name or self.shown_attribution, self.attention)
        return values if values.ndim == 1 else values[:, self.classes.index(self.label)]

    def _check_attributions(self) -> None:
        count, classes = len(self.sop_instance_uids), len(self.classes)
        legal = {(count,), (count, classes)}
        wrong = {name: values.shape for name, values in self.attributions.items() if values.shape not in legal}
        bad = [name for name, values in self.attributions.items() if not np.isfinite(values).all()]
        if wrong or bad:
            raise ValueError(f"Attributions of {count} slices and {classes} classes have the shapes {wrong}, and are "
                             f"not finite for {bad}.")
        if self.attributions and self.shown_attribution not in self.attributions:
            raise ValueError(f"The attribution shown is {self.shown_attribution}, and there are "
                             f"{', '.join(self.attributions)}.")
        if any(values.ndim == 2 for values in self.attributions.values()) and self.label not in self.classes:
            raise ValueError(f"Attributions by class need {self.label} among the classes {self.classes}.")

    def _check_slices(self) -> None:
        count = len(self.sop_instance_uids)
        fields = {
            "positions": self.positions, "attention": self.attention, "truth": self.truth, **self.slice_scores,
            **{f"attention of {name}": values for name, values in self.class_attention.items()},
        }
        given = {name: values for name, values in fields.items() if values is not None}
        wrong = {name: values.shape for name, values in given.items() if values.shape != (count,)}
        if not count or wrong:
            raise ValueError(f"An explanation of {count} slices got per-slice shapes {wrong}.")
        bad = [name for name, values in given.items() if not np.isfinite(values).all()]
        if bad or not np.isfinite(self.probability):
            raise ValueError(f"An explanation holds finite numbers only, unlike its {', '.join(bad) or 'probability'}.")
        if not (np.diff(self.positions) > 0).all() or (self.attention < 0).any():
            raise ValueError("Positions must strictly ascend, and attention must not be negative.")
        if not self.top or len(set(self.top)) != len(self.top) or not all(0 <= index < count for index in self.top):
            raise ValueError(f"The slices shown must be distinct and within 0..{count - 1}, not {self.top}.")

    def _check_images(self) -> None:
        shape = self.images.shape
        grey, colour = self.images.ndim == 3, self.images.ndim == 4 and shape[-1] == 3
        if self.images.dtype != np.uint8 or not (grey or colour) or shape[0] != len(self.top) or 0 in shape:
            raise ValueError(f"Images must be uint8 ({len(self.top)},H,W[,3]), not {self.images.dtype} {shape}.")
        for name, map_ in self.pixel_maps.items():
            if map_.shape != shape[:3] or not ((map_ >= 0) & (map_ <= 1)).all():
                raise ValueError(f"The maps of {name} must be {shape[:3]} within [0,1], not {map_.shape}.")
        if self.heat is None:
            return
        if self.heat.shape != shape[:3] or not ((self.heat >= 0) & (self.heat <= 1)).all():
            raise ValueError(f"Heat must be {shape[:3]} within [0,1], not {self.heat.shape}.")


def unit_of(series: Series) -> Unit:
    """What the positions are counted in; images in a folder have an order and no times."""
    if series.axis == "space":
        return "mm" if series.affine is not None else "index"
    return "index" if series.format == "stack" else "s"
