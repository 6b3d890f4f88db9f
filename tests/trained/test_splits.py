"""What a run learnt from is known of it: also without labels, and by the runs that it started from."""

from __future__ import annotations

from pathlib import Path

from seriatim.trained import read_patients, read_splits
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
