"""Many runs of one experiment: cross-validation, the search for settings, and what more labels would bring."""

from seriatim.studies.crossval import CrossValidation, cross_validate
from seriatim.studies.tune import Tuned, tune, tune_nested

__all__ = ["CrossValidation", "Tuned", "cross_validate", "tune", "tune_nested"]
