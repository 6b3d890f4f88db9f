"""Many runs of one experiment: cross-validation trains one model per fold and evaluates all of them together."""

from seriatim.studies.crossval import CrossValidation, cross_validate

__all__ = ["CrossValidation", "cross_validate"]
