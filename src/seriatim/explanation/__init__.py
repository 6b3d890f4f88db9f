"""Explanations: what each slice and pixel had in the answer, how faithful that is, as a picture and as numbers."""

from seriatim.explanation.batch import explain
from seriatim.explanation.build import ExplainOptions, explain_volume
from seriatim.explanation.explanation import Explanation
from seriatim.explanation.notebook import show

__all__ = ["ExplainOptions", "Explanation", "explain", "explain_volume", "show"]
