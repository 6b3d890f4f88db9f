"""Many runs of one experiment: cross-validation, the search for settings, more labels, the worth of explanations."""

from seriatim.studies.crossval import CrossValidation, cross_validate
from seriatim.studies.faithfulness import FaithfulnessOptions, measure_faithfulness
from seriatim.studies.learning_curve import Point, learning_curve
from seriatim.studies.tune import Tuned, tune, tune_nested

__all__ = [
    "CrossValidation",
    "FaithfulnessOptions",
    "Point",
    "Tuned",
    "cross_validate",
    "learning_curve",
    "measure_faithfulness",
    "tune",
    "tune_nested",
]
