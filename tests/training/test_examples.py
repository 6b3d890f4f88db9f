"""What enters training: every series is its own, bad ones are left out with their reason, wrong sets are refused."""

from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest

from seriatim.errors import ConfigError, InputError
from seriatim.explanation.page.about import tell_model
from seriatim.io import find_series, read_volume
from seriatim.trained import load_model
from seriatim.training import train
from seriatim.training.dataset import PreparedSeries
from seriatim.training.examples import gather_examples, series_key
from seriatim.training.runtime import share
from tiny_runs import CT_CONFIG, make_experiment, read_rows, write_rows

VOLUME_ONLY = {
    **CT_CONFIG,
    "data": {"manifest": "labels.csv"},
    "task": {"kind": "diagnosis", "target": "binary", "labels": ["bleed"]},
}


def absolute_rows(head_ct: Path) -> list[dict[str, str]]:
    return [{**row, "path": str(head_ct / row["path"])} for row in read_rows(head_ct / "labels.csv")]


def gather(tmp_path: Path, rows: list[dict[str, str]], content: dict = VOLUME_ONLY, *overrides: str):
    manifest = write_rows(tmp_path / "labels.csv", rows)
    experiment = make_experiment(tmp_path, tmp_path, f"data.manifest={manifest}", *overrides, content=content)
    prepared = PreparedSeries(experiment.preprocessing, cache=True)
    return gather_examples(experiment, experiment.task.build(), prepared.prepare), prepared


def test_series_that_share_all_their_uids_but_those_of_the_slices_never_share_pixels(
    tmp_path: Path, head_ct: Path
) -> None:
    rows = absolute_rows(head_ct)
    for row in rows:
        folder = tmp_path / Path(row["path"]).name
        folder.mkdir()
        for path in Path(row["path"]).iterdir():
            dataset = pydicom.dcmread(path)
            dataset.SeriesInstanceUID, dataset.StudyInstanceUID = "1.2.3", "1.2.4"
            dataset.save_as(folder / path.name)
        row.update(path=str(folder), series_uid="")
    examples, prepared = gather(tmp_path, rows)
    assert len({example.key for example in examples.used}) == len(rows)
    stacks = [prepared.prepare(example.series) for example in examples.used]
    assert len({float(stack.sum()) for stack in stacks}) == len(rows)


def test_the_same_series_twice_is_refused_within_a_split_too(tmp_path: Path, head_ct: Path) -> None:
    import shutil

    rows = absolute_rows(head_ct)
    train_row = next(row for row in rows if row["split"] == "train")
    shutil.copytree(train_row["path"], tmp_path / "copy")
    twin = {**train_row, "path": str(tmp_path / "copy"), "bleed": str(1 - int(train_row["bleed"]))}
    with pytest.raises(ConfigError, match="stands in train and in train"):
        gather(tmp_path, [*rows, twin])


def test_a_volume_with_a_value_that_is_no_number_is_left_out_and_the_rest_trains(tmp_path: Path, head_ct: Path) -> None:
    array = np.full((20, 20, 6), -1000, np.float32)
    array[3, 3, 3] = np.nan
    nibabel.save(nibabel.Nifti1Image(array, np.diag([1.0, 1.0, 5.0, 1.0])), tmp_path / "bad.nii.gz")
    rows = absolute_rows(head_ct)
    rows.append({**rows[0], "path": "bad.nii.gz", "series_uid": "", "patient": "new", "split": "train"})
    manifest = write_rows(tmp_path / "labels.csv", rows)
    experiment = make_experiment(
        tmp_path, tmp_path, f"data.manifest={manifest}", "training.epochs=1", content=VOLUME_ONLY
    )
    train(experiment, tmp_path / "run")
    left = [row for row in read_rows(tmp_path / "run" / "manifest.csv") if row["status"] == "left out"]
    assert len(left) == 1
    assert "BAD_VALUE" in left[0]["reason"]


def test_a_windowed_volume_is_no_ct(tmp_path: Path, head_ct: Path) -> None:
    array = np.random.default_rng(0).integers(0, 256, (20, 20, 6)).astype(np.uint8)
    nibabel.save(nibabel.Nifti1Image(array, np.diag([1.0, 1.0, 5.0, 1.0])), tmp_path / "eight.nii.gz")
    rows = absolute_rows(head_ct)
    rows.append({**rows[0], "path": "eight.nii.gz", "series_uid": "", "patient": "new", "split": "train"})
    examples, _ = gather(tmp_path, rows)
    assert ["not in HU" in left.reason for left in examples.left_out] == [True]


def test_validation_without_a_known_label_is_refused(tmp_path: Path, head_ct: Path) -> None:
    rows = absolute_rows(head_ct)
    for row in rows:
        if row["split"] == "val":
            row["bleed"] = ""
    with pytest.raises(InputError, match="No series of val has a known label"):
        gather(tmp_path, rows)


def test_a_threshold_that_could_not_be_chosen_is_told(
    tmp_path: Path, head_ct: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = absolute_rows(head_ct)
    for row in rows:
        if row["split"] == "val":
            row["bleed"] = "1"
    manifest = write_rows(tmp_path / "labels.csv", rows)
    options = (f"data.manifest={manifest}", "training.epochs=1")
    train(make_experiment(tmp_path, tmp_path, *options, content=VOLUME_ONLY), tmp_path / "run")
    assert "validation holds one class of bleed only" in caplog.text
    assert "No threshold could be chosen for bleed" in (tmp_path / "run" / "card.md").read_text()
    model = load_model(tmp_path / "run")
    assert model.stand_ins == ("bleed",)
    assert model.with_thresholds({"bleed": 0.3}).stand_ins == ()
    said = tell_model(model).threshold_source
    assert said == "0.5 stands in for bleed: validation holds one answer only"


def test_a_label_that_is_illegal_names_file_and_line(tmp_path: Path, head_ct: Path) -> None:
    rows = absolute_rows(head_ct)
    rows[3]["bleed"] = "maybe"
    with pytest.raises(ConfigError, match=r"labels\.csv, line 5: 'maybe'"):
        gather(tmp_path, rows)


def test_numbers_to_learn_need_no_split_column(tmp_path: Path, head_ct: Path) -> None:
    rows = [{"path": row["path"], "patient": row["patient"], "volume_ml": str(index * 1.5)}
            for index, row in enumerate(absolute_rows(head_ct))]  # fmt: skip
    content = {**VOLUME_ONLY, "task": {"kind": "diagnosis", "target": "regression", "labels": ["volume_ml"]}}
    examples, _ = gather(tmp_path, rows, content)
    assert len(examples.of("val")) >= 1
    assert len(examples.of("train")) > len(examples.of("val"))


def test_every_process_gets_a_batch_even_where_there_are_fewer_batches_than_processes() -> None:
    assert [share([[1]], rank=rank, world=4) for rank in range(4)] == [[[1]]] * 4


def test_a_model_of_axial_slices_refuses_another_plane_and_marks_what_it_was_trained_on(
    tmp_path: Path, head_ct: Path, tiny_run: Path
) -> None:
    from seriatim.scoring import score

    rows = read_rows(head_ct / "labels.csv")
    volume = read_volume(find_series(head_ct / rows[0]["path"]).series[0])
    coronal = (
        np.asarray(volume.array).transpose(2, 0, 1).astype(np.int16)
    )  # (column, slice, row): slices along the rows
    nibabel.save(nibabel.Nifti1Image(coronal, volume.affine[:, [0, 2, 1, 3]]), tmp_path / "coronal.nii.gz")
    axial = np.asarray(volume.array).transpose(2, 1, 0).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(axial, volume.affine), tmp_path / "axial.nii.gz")
    score(tmp_path, model=tiny_run, output=tmp_path / "out", device="cpu")
    status = {
        Path(row["path"]).name: (row["status"], row["reason"]) for row in read_rows(tmp_path / "out" / "scores.csv")
    }
    assert status["axial.nii.gz"] == ("scored", "")
    assert status["coronal.nii.gz"][0] == "refused"
    assert status["coronal.nii.gz"][1].startswith("PLANE: the slices are coronal")


def test_scores_say_which_series_the_model_was_trained_on(tiny_scores: Path, head_ct: Path) -> None:
    split_of = {row["series_uid"]: row["split"] for row in read_rows(head_ct / "labels.csv")}
    assert {row["series_uid"]: row["split"] for row in read_rows(tiny_scores / "scores.csv")} == split_of


def test_series_keys_differ_by_slices(head_ct: Path) -> None:
    keys = [series_key(series) for series in find_series(head_ct).series]
    assert len(set(keys)) == len(keys)
