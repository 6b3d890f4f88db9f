"""Whose series pretraining may learn from: never those of who judges, and of each left out one the reason."""

from __future__ import annotations

import shutil
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest

from seriatim.errors import InputError
from seriatim.synth import synthesize
from seriatim.training.dataset import PreparedSeries
from seriatim.training.examples import gather_examples
from seriatim.training.unlabelled import PretrainingSeries, gather_pretraining
from tiny_runs import make_experiment, read_rows, write_rows


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """14 more series, of other patients."""
    folder = tmp_path_factory.mktemp("more") / "others"
    synthesize("head-ct", folder, count=14, size=32, seed=5)
    return folder


def gather(folder: Path, data: Path, *overrides: str, fewest: int = 3) -> PretrainingSeries:
    experiment = make_experiment(folder, data, *overrides)
    examples = gather_examples(experiment, experiment.task.build(), lambda _: None)
    traits = PreparedSeries(experiment.preprocessing, cache=False).traits
    return gather_pretraining(experiment, examples, fewest=fewest, check=lambda _: None, traits=traits)


def uids(data: Path, split: str) -> set[str]:
    return {row["series_uid"] for row in read_rows(data / "labels.csv") if row["split"] == split}


def uids_of(series: tuple) -> set[str]:
    return {one.series_uid for one in series}


def reasons(found: PretrainingSeries) -> dict[str, str]:
    return {row["series_uid"]: row["reason"] for row in found.rows if row["use"] == "left out"}


def test_without_more_the_training_split_is_learnt_from_and_validation_judges(tmp_path: Path, head_ct: Path) -> None:
    found = gather(tmp_path, head_ct, "pretraining={}")
    assert uids_of(found.train) == uids(head_ct, "train")
    assert uids_of(found.validation) == uids(head_ct, "val")
    assert not reasons(found)


def test_a_folder_that_holds_it_all_brings_nobody_who_judges(tmp_path: Path, head_ct: Path) -> None:
    found = gather(tmp_path, head_ct, f"pretraining.unlabelled=[{head_ct}]")
    assert uids_of(found.train) == uids(head_ct, "train")
    assert uids_of(found.validation) == uids(head_ct, "val")
    left_out = reasons(found)
    assert all("validation split" in left_out[uid] for uid in uids(head_ct, "val"))
    assert all("test split" in left_out[uid] for uid in uids(head_ct, "test"))
    assert all("already" in left_out[uid] for uid in uids(head_ct, "train"))


def test_series_of_the_test_split_are_learnt_from_only_where_asked_for_and_given(tmp_path: Path, head_ct: Path) -> None:
    asked = ("pretraining.include_test=true", "data.validation_fraction=0.0001")
    assert uids_of(gather(tmp_path, head_ct, *asked).train) == uids(head_ct, "train")
    given = gather(tmp_path, head_ct, f"pretraining.unlabelled=[{head_ct}]", *asked)
    assert uids_of(given.train) == uids(head_ct, "train") | uids(head_ct, "test")
    assert uids_of(given.validation) == uids(head_ct, "val")


def test_other_series_are_learnt_from_and_a_share_of_them_judges(tmp_path: Path, head_ct: Path, others: Path) -> None:
    options = (f"pretraining.unlabelled=[{others}]", "data.validation_fraction=0.3")
    found = gather(tmp_path, head_ct, *options)
    new = {row["series_uid"] for row in read_rows(others / "labels.csv")}
    train, judges = uids_of(found.train) & new, uids_of(found.validation) & new
    assert train | judges == new
    assert 1 <= len(judges) <= 8
    assert uids_of(gather(tmp_path, head_ct, *options).validation) == uids_of(found.validation)
    assert uids_of(gather(tmp_path, head_ct, *options, "seed=1").validation) != uids_of(found.validation)


def test_a_manifest_names_patients_and_those_who_judge_are_left_out(
    tmp_path: Path, head_ct: Path, others: Path
) -> None:
    judge = next(row["patient"] for row in read_rows(head_ct / "labels.csv") if row["split"] == "val")
    rows = [{"path": str(others / row["path"]), "patient": row["patient"] + "x"}
            for row in read_rows(others / "labels.csv")]
    rows[3]["patient"] = judge
    manifest = write_rows(tmp_path / "more.csv", rows)
    found = gather(tmp_path, head_ct, f"pretraining.unlabelled=[{manifest}]")
    uid = read_rows(others / "labels.csv")[3]["series_uid"]
    assert list(reasons(found)) == [uid]
    assert "validation split" in reasons(found)[uid]
    one_patient = [{**row, "patient": "p"} for row in rows]
    write_rows(manifest, one_patient)
    together = gather(tmp_path, head_ct, f"pretraining.unlabelled=[{manifest}]", "data.validation_fraction=0.5")
    new = {row["series_uid"] for row in read_rows(others / "labels.csv")}
    assert len({bool(new & uids_of(part)) for part in (together.train, together.validation)}) == 2  # all in one


def test_few_labels_leave_the_other_training_patients_to_learn_from(tmp_path: Path, head_ct: Path) -> None:
    rows = [{**row, "path": str(head_ct / row["path"]), "fold": str(index % 3)}
            for index, row in enumerate(read_rows(head_ct / "labels.csv"))]
    patients = {row["patient"]: row["fold"] for row in reversed(rows)}
    manifest = write_rows(tmp_path / "m.csv", [{**row, "fold": patients[row["patient"]]} for row in rows])
    found = gather(tmp_path, head_ct, f"data.manifest={manifest}", "data.fold=0", "data.patients_per_class=2",
                   "pretraining={}")
    test = {row["series_uid"] for row in rows if patients[row["patient"]] == "0"}
    seen = uids_of(found.train) | uids_of(found.validation)
    assert seen == {row["series_uid"] for row in rows} - test


def test_the_images_of_who_judges_are_not_learnt_from_under_other_names(tmp_path: Path, head_ct: Path) -> None:
    folder = tmp_path / "renamed"
    renamed = {}
    for split in ("train", "val", "test"):
        row = next(row for row in read_rows(head_ct / "labels.csv") if row["split"] == split)
        shutil.copytree(head_ct / row["path"], folder / split)
        for path in (folder / split).rglob("*"):
            if path.is_file():
                dataset = pydicom.dcmread(path)
                dataset.SeriesInstanceUID += ".9"
                dataset.StudyInstanceUID += ".9"
                dataset.SOPInstanceUID += ".9"
                dataset.save_as(path)
        renamed[split] = row["series_uid"] + ".9"
    options = (f"pretraining.unlabelled=[{folder}]", "data.validation_fraction=0.0001")
    left_out = reasons(gather(tmp_path, head_ct, *options))
    assert set(left_out) == {renamed["val"], renamed["test"]}
    assert all("same images" in reason for reason in left_out.values())
    assert not reasons(gather(tmp_path, head_ct, *options, "data.near_duplicates=ignore"))


def test_what_cannot_be_used_is_left_out_with_its_reason(tmp_path: Path, head_ct: Path) -> None:
    folder = tmp_path / "more"
    synthesize("ultrasound", folder, count=1, size=32)
    for name, shape in (("short", (20, 20, 2)), ("long", (20, 20, 9))):
        array = np.random.default_rng(0).integers(0, 900, shape).astype(np.int16)
        nibabel.save(nibabel.Nifti1Image(array, np.diag([1.0, 1.0, 5.0, 1.0])), folder / f"{name}.nii.gz")
    found = gather(tmp_path, head_ct, f"pretraining.unlabelled=[{folder}]", "data.validation_fraction=0.0001")
    told = {Path(row["path"]).name: row["reason"] for row in found.rows if row["source"] == str(folder)}
    assert "2 slices, and pretraining needs 3" in told["short.nii.gz"]
    assert told["long.nii.gz"] == ""
    assert sum("runs in time" in reason for reason in told.values()) == 1
    with pytest.raises(InputError, match="No series is left for the train"):
        gather(tmp_path, head_ct, "pretraining={}", fewest=1000)
