"""Nobody judges a run who was learnt from before it: not by series, not by patient, not by the source of its source."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from seriatim.errors import ConfigError
from seriatim.experiment import Experiment
from seriatim.training.examples import Examples, gather_examples
from seriatim.training.lineage import refuse_seen
from tiny_runs import make_experiment, read_rows, write_rows

SECRET = "SECRET-7"


def examples_of(folder: Path, data: Path, *overrides: str) -> tuple[Examples, Experiment]:
    """``data`` in which the first series of each split is that of a patient of its own: SECRET-7-train, -val, -test."""
    rows = [{**row, "path": str(data / row["path"])} for row in read_rows(data / "labels.csv")]
    for split in ("train", "val", "test"):
        next(row for row in rows if row["split"] == split)["patient"] = f"{SECRET}-{split}"
    manifest = write_rows(folder / "labels.csv", rows)
    experiment = make_experiment(folder, data, f"data.manifest={manifest}", f"network.weights={folder / 'source'}",
                                 *overrides)
    return gather_examples(experiment, experiment.task.build(), lambda _: None), experiment


def write_run(run: Path, rows: list[tuple[str, str, str]], *, table: str = "manifest.csv") -> None:
    """A run that used other series: (patient, what for, status)."""
    run.mkdir(exist_ok=True)
    use = "use" if table == "pretraining.csv" else "split"
    write_rows(run / table, [{"series_uid": f"9.{index}", "patient": patient, use: what, "status": status}
                             for index, (patient, what, status) in enumerate(rows)])


@pytest.mark.parametrize(("judged", "used"), [("val", "train"), ("test", "train"), ("test", "val")])
def test_another_series_of_a_patient_who_judges_is_refused(
    tmp_path: Path, head_ct: Path, judged: str, used: str
) -> None:
    write_run(tmp_path / "source", [(f"{SECRET}-{judged}", used, "used"), ("other", "train", "used")])
    with pytest.raises(ConfigError, match=rf"^1 patient\(s\) of the {judged} split .*source_patients=warn") as refused:
        refuse_seen(*examples_of(tmp_path, head_ct))
    assert SECRET not in str(refused.value)


def test_whoever_was_not_learnt_from_may_judge(
    tmp_path: Path, head_ct: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_run(tmp_path / "source", [
        (f"{SECRET}-val", "val", "used"), (f"{SECRET}-test", "test", "used"), (f"{SECRET}-train", "train", "used"),
        (f"{SECRET}-val", "unlabelled", "used"), (f"{SECRET}-test", "train", "left out"),
    ])  # fmt: skip
    refuse_seen(*examples_of(tmp_path, head_ct))
    assert not caplog.records


def test_pretraining_counts_by_the_patients_of_its_own_table_or_of_the_manifest(tmp_path: Path, head_ct: Path) -> None:
    write_run(tmp_path / "source", [(f"{SECRET}-test", "unlabelled", "used")])
    write_run(tmp_path / "source", [("", "train", "")], table="pretraining.csv")  # of before the column
    with pytest.raises(ConfigError, match="of the test split"):
        refuse_seen(*examples_of(tmp_path, head_ct))
    write_run(tmp_path / "source", [("other", "unlabelled", "used")])
    write_run(tmp_path / "source", [("other", "train", ""), (f"{SECRET}-val", "train", "")], table="pretraining.csv")
    with pytest.raises(ConfigError, match="of the val split"):
        refuse_seen(*examples_of(tmp_path, head_ct))


def test_ids_of_different_people_are_told_and_allowed(
    tmp_path: Path, head_ct: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_run(tmp_path / "source", [(f"{SECRET}-test", "train", "used")])
    refuse_seen(*examples_of(tmp_path, head_ct, "data.source_patients=warn"))
    assert "1 patient(s) of the test split" in caplog.text
    assert SECRET not in caplog.text
    own = next(row["series_uid"] for row in read_rows(head_ct / "labels.csv") if row["split"] == "test")
    write_rows(tmp_path / "source" / "manifest.csv", [
        {"series_uid": own, "patient": "other", "split": "train", "status": "used"}
    ])  # fmt: skip
    with pytest.raises(ConfigError, match="1 series of the test split"):  # the same series are never allowed
        refuse_seen(*examples_of(tmp_path, head_ct, "data.source_patients=warn"))


def test_what_cannot_be_told_is_said(tmp_path: Path, head_ct: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    (tmp_path / "source").mkdir()
    refuse_seen(*examples_of(tmp_path, head_ct))
    assert "copied without manifest.csv" in caplog.text
    write_run(tmp_path / "source", [("other", "train", "used")])
    write_rows(tmp_path / "source" / "pretraining.csv", [
        {"series_uid": "8.1", "patient": "", "use": "train"}, {"series_uid": "8.2", "patient": "", "use": "left out"},
    ])  # fmt: skip
    caplog.clear()
    refuse_seen(*examples_of(tmp_path, head_ct))
    assert "learnt from 1 series of which it knows no patient" in caplog.text
