"""Many runs of one experiment: cross-validation, the search for settings, and what more labels would bring."""

from seriatim.studies.crossval import CrossValidation, cross_validate
from seriatim.studies.learning_curve import Point, learning_curve
from seriatim.studies.tune import Tuned, tune, tune_nested

__all__ = ["CrossValidation", "Point", "Tuned", "cross_validate", "learning_curve", "tune", "tune_nested"]
