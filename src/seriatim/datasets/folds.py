"""Folds for sets that are published without: whole groups, labels spread as evenly as they go. Nothing is random."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

FOLDS = 5


def deal_groups(members: Iterable[tuple[str, str]], *, count: int = FOLDS) -> dict[str, str]:
    """The fold ("0", "1", ...) of each group.

    Largest group first, each goes where the shares of all labels stay most alike between folds (the idea of
    scikit-learn's StratifiedGroupKFold, without its shuffling).

    Args:
        members: (group, label) of every series.
        count: how many folds.
    """
    labels: dict[str, Counter[str]] = {}
    for group, label in members:
        labels.setdefault(group, Counter())[label] += 1
    total = sum(labels.values(), Counter())
    folds: list[Counter[str]] = [Counter() for _ in range(count)]
    dealt = {}
    for group in sorted(labels, key=lambda group: (-labels[group].total(), group)):
        # the sum of squares is least where shares are even
        fold = min(range(count), key=lambda index: _cost(folds[index], labels[group], total))
        folds[fold] += labels[group]
        dealt[group] = str(fold)
    return dealt


def _cost(fold: Counter[str], group: Counter[str], total: Counter[str]) -> tuple[float, int]:
    """How much the sum of squared shares grows with the group in this fold; then how full the fold is."""
    growth = sum(((fold[label] + group[label]) ** 2 - fold[label] ** 2) / total[label] ** 2 for label in group)
    return round(growth, 12), fold.total()
