"""The names of all ways to explain, in words: what each says, in which unit, and the paper it is from. No torch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

AttributionUnit = Literal["share", "probability", "logit"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """One way to explain. ``unit`` of its numbers: a share (they sum to 1 over the series), a probability, or logits.

    Those in logits have a sign: positive speaks for the class. ``title`` is its name on pictures and pages, ``says``
    one sentence about what a number means, ``source`` the paper.
    """

    title: str
    says: str
    source: str
    unit: AttributionUnit = "logit"

    @property
    def signed(self) -> bool:
        """Whether numbers below 0 speak against the class."""
        return self.unit == "logit"


SLICE_METHODS: dict[str, Method] = {
    "attention": Method(
        title="attention",
        says="the weight of the slice in the pooling of the series; not signed, and no measure of what it did",
        source="Ilse, Tomczak and Welling 2018",
        unit="share",
    ),
    "slice_scores": Method(
        title="slice score",
        says="the slice's own probability, learnt from slice labels",
        source="trained by task.slice_loss_weight",
        unit="probability",
    ),
    "gradient_input": Method(
        title="gradient × input",
        says="how far the slice moved the logit, to first order",
        source="Shrikumar et al. 2016",
    ),
    "integrated_gradients": Method(
        title="integrated gradients",
        says="the slice's share in the difference of the logit to that of a series of baseline slices",
        source="Sundararajan, Taly and Yan 2017",
    ),
    "leave_out": Method(
        title="leave one out",
        says="by how much the logit falls when the slice is taken out of the series",
        source="Li, Monroe and Jurafsky 2016; Zeiler and Fergus 2014",
    ),
    "leave_window_out": Method(
        title="leave a window out",
        says="by how much the logit falls, per slice, when the slice and its neighbours are taken out of the series",
        source="Zeiler and Fergus 2014",
    ),
}
"""What gives every slice a number, by the name in tables and settings."""

PIXEL_METHODS: dict[str, Method] = {
    "grad_cam": Method(
        title="Grad-CAM",
        says="where in the slice the evidence for the class lies, by the gradient at the last feature maps",
        source="Selvaraju et al. 2017",
    ),
    "grad_cam_plus_plus": Method(
        title="Grad-CAM++",
        says="as Grad-CAM, with places weighed by higher derivatives, for several findings in one slice",
        source="Chattopadhay et al. 2018",
    ),
    "occlusion": Method(
        title="occlusion",
        says="by how much the logit falls when a patch of the slice is covered",
        source="Zeiler and Fergus 2014",
    ),
}
"""What gives every pixel of a chosen slice a number."""


def name_method(name: str, *, noun: str) -> Method:
    """A method in the words of a series whose steps are called ``noun``: slice, or frame."""
    method = {**SLICE_METHODS, **PIXEL_METHODS}[name]
    return replace(method, title=method.title.replace("slice", noun), says=method.says.replace("slice", noun))


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """One way to measure how faithful an explanation is; ``better`` says which way is good."""

    title: str
    says: str
    better: Literal["high", "low"] = "high"


MEASURES: dict[str, Measure] = {
    "insertion": Measure(
        title="insertion",
        says="mean probability while the slices that matter most are put in first (Petsiuk, Das and Saenko 2018)",
    ),
    "deletion": Measure(
        title="deletion",
        says="mean probability while the slices that matter most are taken out first",
        better="low",
    ),
    "gap": Measure(
        title="insertion less deletion",
        says="how far the order of slices parts the two curves; 0 for random orders, below 0 worse than they",
    ),
    "beats_random": Measure(title="beats random orders", says="the share of random orders whose gap is smaller"),
    "leave_one_out": Measure(
        title="agreement with leave one out",
        says="rank correlation (Spearman) with what leaving out each slice does",
    ),
    "randomised": Measure(
        title="with shuffled weights",
        says="rank correlation with itself after the weights are shuffled: near 0 where it depends on what was learnt "
             "(Adebayo et al. 2018)",
        better="low",
    ),
    "noise": Measure(
        title="under noise",
        says="rank correlation with itself when a tenth of noise is added to the embeddings",
    ),
    "agreement": Measure(
        title="between models",
        says="rank correlation between the explanations of several models (seeds, members of an ensemble)",
    ),
    "completeness": Measure(
        title="completeness error",
        says="how far the sum of the slices' numbers is from the difference of the logit to the baseline's, as a share "
             "of it",
        better="low",
    ),
    "pointing": Measure(title="pointing game", says="the share of series whose first slice is truly positive"),
    "average_precision": Measure(
        title="average precision", says="of the ranking of the slices against their true labels, within a series"
    ),
    "seconds": Measure(title="seconds a slice", says="how long a map of one slice took when it was measured",
                       better="low"),
}
"""What is measured of every method, by the name in tables."""
