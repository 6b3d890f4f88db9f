"""What a run learnt from is known of it: also without labels, and by the runs that it started from."""

from __future__ import annotations

from pathlib import Path

from seriatim.trained import find_split, read_patients, read_splits
from seriatim.trained.splits import merge_splits
from tiny_runs import CLIP_CONFIG, write_config, write_rows


def write_run(run: Path, rows: list[tuple[str, str, str]], *, weights: Path | None = None) -> Path:
    """A run folder with a manifest of (series UID, patient, split), that started from another."""
    run.mkdir()
    write_rows(run / "manifest.csv", [
        {"series_uid": uid, "patient": patient, "split": split, "status": "used"} for uid, patient, split in rows
    ])  # fmt: skip
    content = {**CLIP_CONFIG, "data": {}}
    write_config(run, run, f"data.manifest={run / 'manifest.csv'}",
                 *(() if weights is None else (f"network.weights={weights}",)), content=content)
    return run


def test_series_of_pretraining_and_of_the_run_it_started_from_are_no_new_ones(tmp_path: Path) -> None:
    first = write_run(tmp_path / "first", [("1", "a", "train"), ("2", "b", "val"), ("3", "c", "test")])
    second = write_run(tmp_path / "second", [("3", "c", "train"), ("4", "d", "test")], weights=first)
    write_rows(second / "pretraining.csv", [
        {"series_uid": uid, "patient": patient, "use": use}
        for uid, patient, use in (("3", "c", "train"), ("5", "e", "train"),
                                  ("6", "", "validation"), ("7", "f", "left out"))
    ])  # fmt: skip
    assert read_splits(second) == {"1": "unlabelled", "2": "unlabelled", "3": "train", "4": "test", "5": "unlabelled",
                                   "6": "unlabelled"}
    assert read_patients(second) == {"a", "b", "c", "e"}


def test_a_run_without_tables_tells_nothing(tmp_path: Path) -> None:
    assert read_splits(tmp_path) == {}
    assert read_patients(tmp_path) == frozenset()


def test_of_one_uid_in_two_splits_the_study_tells_and_else_the_best_known(tmp_path: Path) -> None:
    """Careless anonymisers number series from 1 in each study: the last row of a manifest must not speak for all."""
    places = [("1", "s1", "train"), ("1", "s2", "val"), ("1", "s3", "test"), ("2", "s1", "train"), ("2", "s1", "test"),
              ("3", "s4", "test")]  # fmt: skip
    run = tmp_path / "run"
    run.mkdir()
    write_rows(run / "manifest.csv", [
        {"series_uid": uid, "patient": "p", "split": split, "status": "used", "study_uid": study}
        for uid, study, split in places
    ])  # fmt: skip
    splits = read_splits(run)
    asked = [("s1", "1"), ("s2", "1"), ("s3", "1"), ("s9", "1"), ("s1", "2"), ("s4", "3"), ("", "3"), ("s4", "4")]
    assert [find_split(splits, *one) for one in asked] == ["train", "val", "test", "train", "train", "test", "test", ""]
    both = merge_splits([splits, {"1": "unlabelled", "3": "train"}])
    assert [find_split(both, *one) for one in asked[:6]] == [
        "train", "val", "unlabelled", "train", "train", "train"]
