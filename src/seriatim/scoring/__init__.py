"""Batch scoring of folders: every series a row, nothing lost."""

from seriatim.scoring.batch import score, score_found

__all__ = ["score", "score_found"]
