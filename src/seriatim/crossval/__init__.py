"""Cross-validation: one model per fold, each series scored by the one that never saw it, all evaluated together."""

from seriatim.crossval.run import CrossValidation, cross_validate

__all__ = ["CrossValidation", "cross_validate"]
