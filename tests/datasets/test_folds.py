"""Folds of whole groups, labels spread."""

from __future__ import annotations

from collections import Counter

from seriatim.datasets.folds import deal_groups


def test_groups_stay_whole_and_labels_are_spread() -> None:
    members = [(f"p{index}", "yes" if index % 3 == 0 else "no") for index in range(60)]
    folds = deal_groups(members)
    counts = Counter((folds[group], label) for group, label in members)
    assert {counts[fold, "yes"] for fold in "01234"} == {4}
    assert {counts[fold, "no"] for fold in "01234"} == {8}


def test_a_large_group_does_not_keep_a_label_from_the_other_folds() -> None:
    members = [("large", "a")] * 10 + [(f"small{index}", "a") for index in range(10)] + [("other", "b")] * 3
    folds = deal_groups(members, count=2)
    counts = Counter((folds[group], label) for group, label in members)
    assert counts["0", "a"] == counts["1", "a"] == 10


def test_the_order_of_the_rows_does_not_matter() -> None:
    members = [(f"p{index}", "ab"[index % 2]) for index in range(11)]
    assert deal_groups(members) == deal_groups(members[::-1])
