"""Scoring folders: the same bits whatever the files are called or what lies beside them; a row for every series."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest

from seriatim.errors import InputError, ModelError, OutputError
from seriatim.evaluation import EvaluationSettings, evaluate
from seriatim.io import Limits
from seriatim.io.tables.outputs import cell_text as text
from seriatim.scoring import score
from seriatim.scoring.state import State
from tiny_runs import read_header, read_rows, without, write_rows

COLUMNS = [
    "study_uid", "series_uid", "path", "modality", "slices", "status", "reason", "probability_bleed", "prediction",
    "seconds", "volume", "split", "findings", "prediction_set", "distance",
]  # fmt: skip
SLICE_COLUMNS = [
    "series_uid", "sop_instance_uid", "index", "position", "attention", "score_bleed", "volume", "frame", "study_uid",
]  # fmt: skip


def score_into(output: Path, data: Path, run: Path, **options: object) -> dict[str, dict[str, str]]:
    """Score, and return the rows of scores.csv by series, without what may differ: the path and the time."""
    score(data, model=run, output=output, device="cpu", **options)
    return {row["series_uid"]: row for row in without(read_rows(output / "scores.csv"), "path", "seconds")}


def slices_by_series(output: Path) -> dict[str, list[dict[str, str]]]:
    found: dict[str, list[dict[str, str]]] = {}
    for row in read_rows(output / "slices.csv"):
        found.setdefault(row["series_uid"], []).append(row)
    return found


def copy_case(head_ct: Path, index: int, target: Path) -> Path:
    shutil.copytree(head_ct / read_rows(head_ct / "labels.csv")[index]["path"], target)
    return target


def test_columns_are_the_contract(tiny_scores: Path) -> None:
    assert read_header(tiny_scores / "scores.csv") == COLUMNS
    assert read_header(tiny_scores / "slices.csv") == SLICE_COLUMNS
    assert read_header(tiny_scores / "skipped.csv") == ["path", "reason"]
    assert not list(tiny_scores.glob("*.partial"))


def test_every_series_is_one_row_and_the_counts_add_up(tiny_scores: Path, head_ct: Path, tiny_run: Path) -> None:
    rows, given = read_rows(tiny_scores / "scores.csv"), read_rows(head_ct / "labels.csv")
    assert sorted(row["series_uid"] for row in rows) == sorted(row["series_uid"] for row in given)
    study_of = {row["series_uid"]: row["study_uid"] for row in given}
    split_of = {row["series_uid"]: row["split"] for row in given}
    assert {row["series_uid"]: row["split"] for row in rows} == split_of  # what the model was trained on is marked
    for row in rows:
        assert (row["status"], row["reason"], row["modality"]) == ("scored", "", "CT")
        assert row["study_uid"] == study_of[row["series_uid"]]
        assert 0 < float(row["probability_bleed"]) < 1
        assert float(row["seconds"]) > 0
    threshold = json.loads((tiny_run / "model.json").read_text())["thresholds"]["bleed"]
    assert all((row["prediction"] == "1") == (float(row["probability_bleed"]) >= threshold) for row in rows)
    summary = json.loads((tiny_scores / "run.json").read_text())
    counts = summary["counts"]
    assert counts == {
        "discovered": 12, "scored": 12, "refused": 0, "failed": 0, "not_asked_for": 0, "files_skipped": 2,
    }  # fmt: skip
    assert [Path(row["path"]).name for row in read_rows(tiny_scores / "skipped.csv")] == ["labels.csv", "slices.csv"]
    assert len(summary["model"]["digest"]) == 64
    assert summary["versions"]["torch"]


def test_slices_are_those_of_the_series_in_ascending_position(tiny_scores: Path, head_ct: Path) -> None:
    truth: dict[str, list[dict[str, str]]] = {}
    for row in read_rows(head_ct / "slices.csv"):
        truth.setdefault(row["series_uid"], []).append(row)
    found = slices_by_series(tiny_scores)
    assert found.keys() == truth.keys()
    for uid, rows in found.items():
        expected = sorted(truth[uid], key=lambda row: float(row["position_mm"]))
        assert [row["sop_instance_uid"] for row in rows] == [row["sop_instance_uid"] for row in expected]
        assert [int(row["index"]) for row in rows] == list(range(len(rows)))
        positions = np.array([float(row["position"]) for row in rows])
        steps = np.diff([float(row["position_mm"]) for row in expected])
        np.testing.assert_allclose(np.diff(positions), steps, atol=1e-3)
        attention = np.array([float(row["attention"]) for row in rows])
        assert attention.sum() == pytest.approx(1, abs=1e-6)
        assert (attention >= 0).all()
        assert all(0 < float(row["score_bleed"]) < 1 for row in rows)


def test_file_names_and_instance_numbers_change_no_bit(
    tmp_path: Path, head_ct: Path, tiny_run: Path, tiny_scores: Path
) -> None:
    folder = copy_case(head_ct, 1, tmp_path / "case")
    rng = random.Random(3)
    names = list(range(1000, 1000 + len(list(folder.iterdir()))))
    rng.shuffle(names)
    for name, path in zip(names, sorted(folder.iterdir()), strict=True):
        dataset = pydicom.dcmread(path)
        dataset.InstanceNumber = rng.randint(1, 9999)
        dataset.AcquisitionNumber = 1
        dataset.save_as(folder / f"subfolder{name % 2}_{name}")
        path.unlink()
    (row,) = score_into(tmp_path / "out", tmp_path / "case", tiny_run).values()
    whole = {one["series_uid"]: one for one in without(read_rows(tiny_scores / "scores.csv"), "path", "seconds")}
    assert row == whole[row["series_uid"]]
    assert slices_by_series(tmp_path / "out")[row["series_uid"]] == slices_by_series(tiny_scores)[row["series_uid"]]


def test_neighbours_change_no_bit(tmp_path: Path, head_ct: Path, tiny_run: Path, tiny_scores: Path) -> None:
    expected = {row["series_uid"]: row for row in without(read_rows(tiny_scores / "scores.csv"), "path", "seconds")}
    for index in (0, 4, 9):
        alone = score_into(tmp_path / f"alone{index}", copy_case(head_ct, index, tmp_path / f"c{index}"), tiny_run)
        (uid,) = alone
        assert alone[uid] == expected[uid]
        assert slices_by_series(tmp_path / f"alone{index}")[uid] == slices_by_series(tiny_scores)[uid]
    crowd = tmp_path / "crowd"
    for place, index in enumerate((9, 4, 0)):  # another order, and junk between
        copy_case(head_ct, index, crowd / f"{place}" / "deep")
        (crowd / f"{place}" / "notes.txt").write_text("no image")
    (crowd / "broken.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"\xff" * 50)
    found = score_into(tmp_path / "crowded", crowd, tiny_run)
    assert len(found) == 3
    assert found == {uid: expected[uid] for uid in found}


def test_series_of_mixed_files_in_one_folder_are_told_apart(
    tmp_path: Path, head_ct: Path, tiny_run: Path, tiny_scores: Path
) -> None:
    heap = tmp_path / "heap"
    heap.mkdir()
    for index in (2, 3):
        for path in (head_ct / read_rows(head_ct / "labels.csv")[index]["path"]).iterdir():
            shutil.copy(path, heap / f"{index}{path.name}")
    expected = {row["series_uid"]: row for row in without(read_rows(tiny_scores / "scores.csv"), "path", "seconds")}
    found = score_into(tmp_path / "out", heap, tiny_run)
    assert len(found) == 2
    assert found == {uid: expected[uid] for uid in found}


def test_a_project_that_is_moved_is_evaluated_from_anywhere(
    tmp_path: Path, head_ct: Path, tiny_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for index in (0, 1):
        copy_case(head_ct, index, tmp_path / "before" / "studies" / str(index))
    shutil.copytree(tiny_run, tmp_path / "before" / "run")
    monkeypatch.chdir(tmp_path / "before")
    told = score("studies", model="run", output="scores", device="cpu")
    assert told["model"]["path"] == "../run"
    (tmp_path / "before").rename(tmp_path / "after")
    monkeypatch.chdir(tmp_path)
    after = tmp_path / "after"
    assert sorted(row["path"] for row in read_rows(after / "scores" / "scores.csv")) == ["studies/0", "studies/1"]
    labels = write_rows(after / "labels.csv", [{"path": f"studies/{index}", "bleed": index} for index in (0, 1)])
    settings = EvaluationSettings(labels=labels, include_training=True)
    found = evaluate([after / "scores"], settings=settings, output=after / "evaluation")
    assert found.joined.joined_by == {"end of path": 2}
    assert found.scores[0].models[0].samefile(after / "run")
    said = json.loads((after / "evaluation" / "evaluation.json").read_text())
    assert (said["scores"], said["labels"]) == (["../scores/scores.csv"], "../labels.csv")


def test_only_the_series_asked_for_are_scored(tmp_path: Path, head_ct: Path, tiny_run: Path) -> None:
    uids = [row["series_uid"] for row in read_rows(head_ct / "labels.csv")][:2]
    told: list[tuple[int, int]] = []
    summary = score(
        head_ct, model=tiny_run, output=tmp_path, device="cpu", only=set(uids),
        report=lambda done, of, _: told.append((done, of)),
    )  # fmt: skip
    assert sorted(row["series_uid"] for row in read_rows(tmp_path / "scores.csv")) == sorted(uids)
    assert summary["counts"]["not_asked_for"] == 10
    assert summary["counts"]["discovered"] == 12
    assert told == [(1, 2), (2, 2)]


@pytest.fixture
def mixed(tmp_path: Path, head_ct: Path) -> Path:
    """Good series beside a truncated, a gapped and an MR one."""
    root = tmp_path / "mixed"
    for index in range(2):
        copy_case(head_ct, index, root / f"good{index}")
    for path in sorted(copy_case(head_ct, 2, root / "truncated").iterdir())[4:5]:
        path.write_bytes(path.read_bytes()[:-700])
    datasets = {path: pydicom.dcmread(path) for path in copy_case(head_ct, 3, root / "gap").iterdir()}
    ordered = sorted(datasets, key=lambda path: float(datasets[path].ImagePositionPatient[2]))
    ordered[5].unlink()
    for path in copy_case(head_ct, 4, root / "mr").iterdir():
        dataset = pydicom.dcmread(path)
        dataset.Modality, dataset.SOPClassUID = "MR", "1.2.840.10008.5.1.4.1.1.4"
        dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
        dataset.save_as(path)
    return root


def test_a_bad_series_is_a_row_and_the_rest_is_scored(
    tmp_path: Path, mixed: Path, tiny_run: Path, tiny_scores: Path
) -> None:
    score(mixed, model=tiny_run, output=tmp_path / "out", device="cpu")
    rows = {Path(row["path"]).name: row for row in read_rows(tmp_path / "out" / "scores.csv")}
    assert {name: row["status"] for name, row in rows.items()} == {
        "good0": "scored", "good1": "scored", "truncated": rows["truncated"]["status"], "gap": "refused",
        "mr": "refused",
    }  # fmt: skip
    assert rows["truncated"]["status"] in ("refused", "failed")
    assert rows["gap"]["reason"].startswith("GAP: ")
    assert "mm apart" in rows["gap"]["reason"]
    assert rows["mr"]["reason"] == "MODALITY: the series is MR, the model is for CT."
    for name in ("truncated", "gap", "mr"):
        assert rows[name]["reason"]
        assert (rows[name]["probability_bleed"], rows[name]["prediction"]) == ("", "")
        assert int(rows[name]["slices"]) > 0
    scored = {row["series_uid"] for row in rows.values() if row["status"] == "scored"}
    assert set(slices_by_series(tmp_path / "out")) == scored
    expected = {row["series_uid"]: row for row in read_rows(tiny_scores / "scores.csv")}
    for name in ("good0", "good1"):
        assert rows[name]["probability_bleed"] == expected[rows[name]["series_uid"]]["probability_bleed"]
    counts = json.loads((tmp_path / "out" / "run.json").read_text())["counts"]
    assert counts["scored"] == 2
    assert counts["scored"] + counts["refused"] + counts["failed"] + counts["not_asked_for"] == counts["discovered"]


def test_whatever_goes_wrong_inside_a_series_stays_there(
    tmp_path: Path, head_ct: Path, tiny_run: Path, tiny_scores: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from seriatim.scoring import engine

    bad = read_rows(head_ct / "labels.csv")[5]["series_uid"]
    original = engine.read_volume

    def read(series: object, **options: object) -> object:
        if series.series_uid == bad:
            raise RuntimeError("the decoder\nlost its way at PatientName Doe^Jane")
        return original(series, **options)

    monkeypatch.setattr(engine, "read_volume", read)
    found = score_into(tmp_path, head_ct, tiny_run)
    assert found[bad]["status"] == "failed"
    assert found[bad]["reason"] == "RuntimeError: it cannot be read or computed. Copy or export it again."
    expected = {row["series_uid"]: row for row in without(read_rows(tiny_scores / "scores.csv"), "path", "seconds")}
    assert {uid: row for uid, row in found.items() if uid != bad} == {
        uid: row for uid, row in expected.items() if uid != bad
    }


def test_a_decoder_that_crashes_costs_one_row(
    tmp_path: Path, head_ct: Path, tiny_run: Path, tiny_scores: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from seriatim.io.isolation import isolated

    planted = Path(__file__).parents[1] / "io" / "planted_worker.py"
    monkeypatch.setattr(isolated, "WORKER", ("-P", str(planted)))
    monkeypatch.setattr(isolated, "_workers", isolated._Workers())
    for index, name in enumerate(("first", "bad-segfault", "bad-native-hang", "last")):
        copy_case(head_ct, index, tmp_path / "data" / name)
    found = score_into(tmp_path / "out", tmp_path / "data", tiny_run, limits=Limits(seconds=1, seconds_per_slice=0))
    uids = [row["series_uid"] for row in read_rows(head_ct / "labels.csv")]
    assert [found[uid]["status"] for uid in uids[:4]] == ["scored", "failed", "failed", "scored"]
    assert found[uids[1]]["reason"].startswith("DECODER_CRASH: The decoder died on it (SIGSEGV).")
    assert found[uids[2]]["reason"].startswith("TIMEOUT: Reading took longer than 1 s.")
    expected = {row["series_uid"]: row for row in without(read_rows(tiny_scores / "scores.csv"), "path", "seconds")}
    assert [found[uid] for uid in (uids[0], uids[3])] == [expected[uid] for uid in (uids[0], uids[3])]


def test_reading_in_this_process_changes_no_bit(
    tmp_path: Path, head_ct: Path, tiny_run: Path, tiny_scores: Path
) -> None:
    score_into(tmp_path, head_ct, tiny_run, limits=Limits(isolated=False))
    assert (tmp_path / "slices.csv").read_bytes() == (tiny_scores / "slices.csv").read_bytes()
    here, apart = (without(read_rows(folder / "scores.csv"), "seconds") for folder in (tmp_path, tiny_scores))
    assert here == apart


def test_a_score_that_is_no_number_is_a_failure(
    tmp_path: Path, head_ct: Path, tiny_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from seriatim.trained import ensemble

    original = ensemble.load_model

    def load(*arguments: object, **options: object) -> object:
        model = original(*arguments, **options)
        model.network.volume_head.bias.fill_(float("nan"))
        return model

    monkeypatch.setattr(ensemble, "load_model", load)
    found = score_into(tmp_path, head_ct, tiny_run)
    assert {row["status"] for row in found.values()} == {"failed"}
    assert all("not a number" in row["reason"] for row in found.values())
    assert read_rows(tmp_path / "slices.csv") == []


def test_a_crash_leaves_no_half_table_in_place(
    tmp_path: Path, head_ct: Path, tiny_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(done: int, *_: object) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        score(head_ct, model=tiny_run, output=tmp_path, device="cpu", report=stop)
    assert not (tmp_path / "scores.csv").exists()
    assert not (tmp_path / "run.json").exists()
    with State(tmp_path) as state:  # what was done is not lost
        assert state.count() == {"scored": 3, "refused": 0, "failed": 0, "pending": 9, "gone": 0}


def test_mistakes_are_told_before_anything_is_written(tmp_path: Path, head_ct: Path, tiny_run: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        score(tmp_path / "nothing", model=tiny_run, output=tmp_path / "out", device="cpu")
    with pytest.raises(ModelError, match="not a finished run"):
        score(head_ct, model=tmp_path, output=tmp_path / "out2", device="cpu")
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be made"):
        score(head_ct, model=tiny_run, output=tmp_path / "file" / "out", device="cpu")


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        ("=1+1", "'=1+1"), ("@SUM(A1)", "'@SUM(A1)"), ("a\r\nb", "a b"), ("CT", "CT"), ("-2+1", "'-2+1"), ("-2", "-2"),
        ("", ""),
    ],
)  # fmt: skip
def test_no_cell_is_a_formula_or_breaks_a_line(value: str, cell: str) -> None:
    assert text(value) == cell
