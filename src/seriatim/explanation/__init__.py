"""Explanations: attention, contributions and Grad-CAM of a series, as a picture and as numbers."""

from seriatim.explanation.batch import explain, explain_volume
from seriatim.explanation.explanation import Explanation

__all__ = ["Explanation", "explain", "explain_volume"]
