"""An answer in words: what a probability is shown as, what it means, and which slices speak for it."""

from __future__ import annotations

from collections.abc import Sequence

from seriatim.explanation.explanation import Explanation
from seriatim.explanation.methods import SLICE_METHODS
from seriatim.trained import Ensemble


def tell_share(value: float) -> str:
    """A number in [0,1] with two digits; one that they would round to certainty is told as beyond the last of them."""
    return {"1.00": "> 0.99", "0.00": "< 0.01", "-0.00": "< 0.01"}.get(told := f"{value:.2f}", told)


def tell_number(value: float) -> str:
    """A probability as ``tell_share``; a number of regression with four digits."""
    return tell_share(value) if 0 <= value <= 1 else f"{value:.4g}".replace("-", "−")


def tell_rest(explanation: Explanation) -> str:
    """That none but the slices shown raises the score, or none at all; "" where others may, or no sign tells it."""
    if not SLICE_METHODS[explanation.shown_attribution].signed:
        return ""
    raising = {index for index, value in enumerate(explanation.attribution()) if value > 0}
    if not raising:
        return f"no {explanation.noun} raises the score"
    return "" if raising - {*explanation.top} else f"no other {explanation.noun} raises the score"


def tell_stand_ins(names: Sequence[str]) -> str:
    """That validation could not choose the thresholds of some classes; "" where it chose all."""
    return f"0.5 stands in for {', '.join(names)}: validation holds one answer only" if names else ""


def tell_calibration(model: Ensemble) -> str:
    """What the probability means; "" of regression."""
    if model.experiment.task.target == "regression":
        return ""
    fitted = model.task.calibration
    if fitted is None:
        return "The probability is not calibrated: 0.8 does not mean that it holds for 80 of 100 such series."
    whose = "" if len(model.members) == 1 else ", each model by its own; their mean was not"
    return f"The probability is calibrated on validation ({fitted.kind}{whose})."
