"""The manifest that a study sees: no test series, the split that train would have, inner folds by patient."""

from __future__ import annotations

from pathlib import Path

import pytest

from seriatim.errors import ConfigError
from seriatim.experiment import Experiment, PretrainingSettings
from seriatim.training.development import write_development
from seriatim.training.examples import gather_examples, plan_splits
from tiny_runs import make_experiment, read_rows, write_rows


@pytest.fixture
def experiment(tmp_path: Path, head_ct: Path) -> Experiment:
    """40 patients of two series in four folds; the files of fold 1 do not exist."""
    rows = []
    for patient in range(40):
        for series in range(2):
            path = tmp_path / f"{patient}-{series}"
            if patient % 4 != 1:
                path.mkdir()
            rows.append({"path": path.name, "patient": f"p{patient}", "bleed": patient // 4 % 2, "fold": patient % 4})
    write_rows(tmp_path / "labels.csv", rows)
    overrides = ["data.slice_labels=null", "task.slice_loss_weight=0", f"data.manifest={tmp_path / 'labels.csv'}"]
    return make_experiment(tmp_path, head_ct, *overrides, "data.fold=1")


def test_no_test_series_stands_in_it_and_none_is_looked_for(tmp_path: Path, experiment: Experiment) -> None:
    made = write_development(experiment, tmp_path, folds=None)
    text = made.manifest.read_text()
    rows = read_rows(made.manifest)
    assert len(rows) == 60
    assert {row["fold"] for row in rows} == {"0", "2", "3"}
    assert str(tmp_path / "1-0") not in text
    assert all(Path(row["path"]).is_dir() for row in rows)
    planned = {str(row.case.path): row.split for row in plan_splits(experiment) if row.split != "test"}
    assert {row["path"]: row[made.columns[0]] for row in rows} == planned
    assert set(planned.values()) == {"train", "val"}


def test_inner_folds_validate_every_patient_once(tmp_path: Path, experiment: Experiment) -> None:
    made = write_development(experiment, tmp_path, folds=5)
    rows = read_rows(made.manifest)
    assert len(made.columns) == 5
    assert all(sum(row[column] == "val" for column in made.columns) == 1 for row in rows)
    of_patient: dict[str, set[tuple[str, ...]]] = {}
    for row in rows:
        of_patient.setdefault(row["patient"], set()).add(tuple(row[column] for column in made.columns))
    assert all(len(splits) == 1 for splits in of_patient.values())
    narrow = made.narrow(experiment, made.columns[2])
    assert {row.split for row in plan_splits(narrow)} == {"train", "val"}
    with pytest.raises(ConfigError, match="as many patients"):
        write_development(experiment, tmp_path, folds=31)


def test_few_labels_stay_few(tmp_path: Path, experiment: Experiment) -> None:
    few = experiment.model_copy(update={"data": experiment.data.model_copy(update={"patients_per_class": 4})})
    made = write_development(few, tmp_path, folds=4)
    rows = read_rows(made.manifest)
    for column in made.columns:
        assert sum(row[column] == "val" for row in rows) == 4
        assert sum(row[column] == "unlabelled" for row in rows) == 44


def test_further_series_that_may_be_of_test_patients_are_not_learnt_from(
    tmp_path: Path, experiment: Experiment
) -> None:
    def given(**settings: object) -> Experiment:
        pretraining = PretrainingSettings.model_validate({"unlabelled": [tmp_path], **settings})
        return experiment.model_copy(update={"pretraining": pretraining})

    made = write_development(experiment, tmp_path, folds=None)
    with pytest.raises(ConfigError, match=r"pretraining\.unlabelled may hold series of test patients.*include_test"):
        made.narrow(given(), made.columns[0])
    assert made.narrow(given(include_test=True), made.columns[0]).data.manifest == made.manifest
    untested = experiment.data.model_copy(update={"fold": None})
    made = write_development(experiment.model_copy(update={"data": untested}), tmp_path, folds=None)
    assert made.narrow(given(), made.columns[0]).data.manifest == made.manifest


def test_slice_labels_that_name_a_series_by_its_path_still_do(tmp_path: Path, head_ct: Path) -> None:
    slices = read_rows(head_ct / "slices.csv")
    series = {row["series_uid"]: row["path"] for row in read_rows(head_ct / "labels.csv")}
    counts: dict[str, int] = {}
    table = []
    for row in slices:
        index = counts.get(row["series_uid"], 0)
        counts[row["series_uid"]] = index + 1
        table.append({"path": series[row["series_uid"]], "index": index, "bleed": row["bleed"]})
    by_path = write_rows(tmp_path / "slices.csv", table)
    experiment = make_experiment(tmp_path, head_ct, f"data.slice_labels={by_path}")
    made = write_development(experiment, tmp_path, folds=None)
    own = made.narrow(experiment, made.columns[0])
    before, after = (
        {one.key: one.slice_labels.tolist() for one in gather_examples(each, each.task.build(), lambda _: None).used
         if one.split != "test"}
        for each in (experiment, own)
    )  # fmt: skip
    assert before == after
    assert any(1.0 in labels for label in after.values() for labels in label)
