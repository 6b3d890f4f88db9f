"""Batch scoring of folders: every series a row, nothing lost."""

from seriatim.scoring.batch import score

__all__ = ["score"]
