"""Batch scoring of folders: every series a row, nothing lost."""

from seriatim.scoring.batch import score, score_found
from seriatim.scoring.inbox import watch_folder

__all__ = ["score", "score_found", "watch_folder"]
