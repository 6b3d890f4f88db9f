"""Labels find their series by UID or path; what does not fit is an error that names the repair."""

import csv

import pytest

from seriatim.errors import ConfigError
from seriatim.evaluation.join import cluster, join
from seriatim.evaluation.scores import read_scores


def write(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def score(uid, path, *, status="scored", volume="", study=""):
    reason = "" if status == "scored" else "GAP: slices 3-4"
    row = {"study_uid": study, "series_uid": uid, "path": path, "status": status, "reason": reason}
    return {**row, "probability_bleed": "0.5" if status == "scored" else "", "volume": volume}


def joined(tmp_path, scores, labels, *, labels_in="data"):
    tables = [read_scores(write(tmp_path / "out" / "scores.csv", scores))]
    return join(tables, write(tmp_path / labels_in / "labels.csv", labels))


def matches(result):
    return {pair.label.get("name"): pair.score["series_uid"] for pair in result.pairs}


def test_series_uid_wins_over_path(tmp_path):
    result = joined(
        tmp_path,
        [score("1.1", "a"), score("1.2", "b")],
        [{"series_uid": "1.2", "path": "a", "name": "x"}, {"series_uid": "", "path": "b", "name": "y"}],
    )
    assert matches(result) == {"x": "1.2"}
    assert [one.reason for one in result.missing] == ["not in scores.csv"]
    assert result.unlabelled == 1


@pytest.mark.parametrize(
    "path",
    ["{data}/series/a", "series/a", "a", "./series/a", "other/series/a", "/moved/data/series/a", "../data/series/a"],
)
def test_a_path_is_found_however_scoring_named_it(tmp_path, path):
    labels = [{"path": "series/a", "name": "a"}, {"path": "series/b", "name": "b"}]
    result = joined(tmp_path, [score("1", path.format(data=tmp_path / "data"))], labels)
    assert matches(result) == {"a": "1"}


def test_a_label_of_a_folder_fits_the_one_scored_series_below_it(tmp_path):
    labels = [{"path": "p1", "name": "a"}, {"path": "p2", "name": "b"}]
    scores = [score("1", f"{tmp_path}/data/p1/study/ct"), score("2", f"{tmp_path}/data/p1/scout", status="refused")]
    result = joined(tmp_path, scores, labels)
    assert matches(result) == {"a": "1"}
    assert result.labelled == 2


def test_ends_of_paths_need_one_common_folder(tmp_path):
    labels = [{"path": "a", "name": "a"}, {"path": "b", "name": "b"}]
    moved = joined(tmp_path, [score("1", "/moved/a"), score("2", "/moved/b"), score("3", "/moved/c")], labels)
    assert matches(moved) == {"a": "1", "b": "2"}
    assert moved.joined_by == {"end of path": 2}
    with pytest.raises(ConfigError, match=r"below different folders.*series_uid column, or absolute paths"):
        joined(tmp_path, [score("1", "/site1/a"), score("2", "/site2/b")], labels)


def test_numbers_of_patients_and_series_are_not_mixed_up(tmp_path):
    scores = [score("1", "/data/1/2"), score("2", "/data/2/1")]
    assert matches(joined(tmp_path, scores, [{"path": one, "name": one} for one in "12"])) == {"1": "1", "2": "2"}


def test_labels_of_another_set_with_the_same_names_are_refused(tmp_path):
    for name in ("data", "other"):
        (tmp_path / name / "series" / "0000").mkdir(parents=True)
    labels = [{"path": "series/0000", "name": "x"}]
    with pytest.raises(ConfigError, match=r"labels of other data.*series_uid"):
        joined(tmp_path, [score("1", f"{tmp_path}/other/series/0000")], labels)
    assert joined(tmp_path, [score("1", f"{tmp_path}/data/series/0000")], labels).joined_by == {"path": 1}


def test_where_a_label_leads_to_a_scored_series_ends_of_paths_do_not_count(tmp_path, monkeypatch):
    (tmp_path / "data" / "series" / "a").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    labels = [{"path": "series/a", "name": "a"}, {"path": "series/b", "name": "b"}]
    result = joined(tmp_path, [score("1", "data/series/a"), score("2", "/other/series/b")], labels)
    assert matches(result) == {"a": "1"}
    assert (result.joined_by, result.unlabelled) == ({"path": 1}, 1)


def test_one_series_uid_in_two_studies_is_told_apart_by_study_uid(tmp_path):
    scores = [score("1", "x/a", study="8"), score("1", "x/b", study="9")]
    labels = [{"series_uid": "1", "study_uid": study, "name": study} for study in "98"]
    result = joined(tmp_path, scores, labels)
    assert {pair.label["name"]: pair.score["study_uid"] for pair in result.pairs} == {"8": "8", "9": "9"}
    with pytest.raises(ConfigError, match=r"fits 2 scored series.*study_uid"):
        joined(tmp_path, scores, [{"series_uid": "1"}])


@pytest.mark.parametrize("root", ["{data}", "/moved", "."])
def test_one_folder_with_two_studies_is_told_apart_by_study_uid(tmp_path, root):
    root = root.format(data=tmp_path / "data")
    scores = [score("1", f"{root}/p", study="8"), score("1", f"{root}/p", study="9")]
    labels = [{"path": "p", "study_uid": study} for study in "98"]
    result = joined(tmp_path, scores, labels)
    assert {pair.label["study_uid"]: pair.score["study_uid"] for pair in result.pairs} == {"8": "8", "9": "9"}


def test_each_series_is_evaluated_by_the_fold_that_did_not_train_on_it(tmp_path):
    splits = [{"1": "test", "2": "train", "3": "val"}, {"1": "train", "2": "test", "3": "train"}]
    tables = []
    for fold, split_of in enumerate(splits):
        rows = [{**score(uid, f"s{uid}"), "split": split} for uid, split in split_of.items()]
        tables.append(read_scores(write(tmp_path / str(fold) / "scores.csv", rows)))
    result = join(tables, write(tmp_path / "labels.csv", [{"series_uid": uid} for uid in "123"]))
    assert {(pair.score["series_uid"], pair.file) for pair in result.pairs} == {("1", 0), ("2", 1)}
    assert (result.left_out, result.labelled) == (1, 3)


def test_windows_paths_and_names_that_begin_alike(tmp_path):
    labels = [{"path": "series\\a", "name": "a"}, {"path": "series\\aa", "name": "aa"}]
    result = joined(tmp_path, [score("1", "series/aa"), score("2", "series/a")], labels)
    assert matches(result) == {"a": "2", "aa": "1"}


def test_a_label_that_fits_two_scored_series_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"fits 2 scored series.*series_uid"):
        joined(tmp_path, [score("1", "p/a"), score("1", "p/a", volume="2")], [{"path": "p/a"}])


def test_volumes_of_one_series_are_told_apart(tmp_path):
    scores = [score("1", "a", volume="echo 1"), score("1", "a", volume="echo 2")]
    labels = [{"series_uid": "1", "volume": "echo 2", "name": "x"}]
    result = joined(tmp_path, scores, labels)
    assert [pair.score["volume"] for pair in result.pairs] == ["echo 2"]


def test_a_path_that_fits_two_labels_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"fits line 2 .* and line 3 .*series_uid"):
        joined(tmp_path, [score("1", "7")], [{"path": "train/7"}, {"path": "test/7"}])


@pytest.mark.parametrize("labels", [[{"series_uid": "1"}] * 2, [{"path": "a"}, {"path": "./x/../a"}]])
def test_two_labels_for_one_series_are_refused(tmp_path, labels):
    with pytest.raises(ConfigError, match="lines 2 and 3"):
        joined(tmp_path, [score("1", "a")], labels)


def test_labels_of_another_set_are_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"No row of .* fits"):
        joined(tmp_path, [score("1", "a")], [{"path": "b"}])
    with pytest.raises(ConfigError, match="neither a column series_uid nor path"):
        joined(tmp_path, [score("1", "a")], [{"bleed": "1"}])


def test_no_labelled_series_vanishes(tmp_path):
    scores = [score("1", "a"), score("2", "b", status="refused"), score("3", "c", status="failed")]
    result = joined(tmp_path, scores, [{"series_uid": uid} for uid in "1234"])
    assert len(result.pairs) == 1
    assert [one.status for one in result.missing] == ["refused", "failed", "missing"]
    assert result.labelled == 4


def test_one_series_in_two_files_is_refused(tmp_path):
    paths = [write(tmp_path / str(fold) / "scores.csv", [score("1", "a")]) for fold in range(2)]
    with pytest.raises(ConfigError, match=r"scores\.csv only once"):
        join([read_scores(path) for path in paths], write(tmp_path / "labels.csv", [{"series_uid": "1"}]))


def test_series_are_clustered_by_patient_then_by_study(tmp_path):
    scores = [score(str(uid), f"s{uid}", study=study) for uid, study in enumerate(["9", "9", "8", ""])]
    named = joined(tmp_path, scores, [{"series_uid": str(uid), "patient": "p"} for uid in range(4)])
    assert cluster(named.pairs)[0].number.tolist() == [0, 0, 0, 0]
    unnamed = joined(tmp_path, scores, [{"series_uid": str(uid)} for uid in range(4)])
    clusters, by = cluster(unnamed.pairs)
    assert clusters.number.tolist() == [0, 0, 1, 2]
    assert by == "series or study"


def test_a_table_that_is_not_a_scores_csv_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="no column 'series_uid'"):
        read_scores(write(tmp_path / "scores.csv", [{"path": "a"}]))


def test_whose_a_series_is_may_stand_in_a_column_of_another_name(tmp_path):
    scores = [score("1", "a", study="9"), score("2", "b", study="8")]
    tables = [read_scores(write(tmp_path / "scores.csv", scores))]
    labels = write(tmp_path / "labels.csv", [{"series_uid": uid, "subject": "p"} for uid in "12"])
    clusters, by = cluster(join(tables, labels, patient="subject").pairs)
    assert (clusters.number.tolist(), by) == ([0, 0], "patient")
    with pytest.raises(ConfigError, match="no column 'person' of patients"):
        join(tables, labels, patient="person")


def test_a_series_that_stands_twice_in_the_scores_is_told_as_that(tmp_path):
    with pytest.raises(ConfigError, match=r"Series 1\.1, which line 2 of .* stands 2 times in the scores"):
        joined(tmp_path, [score("1.1", "a"), score("1.1", "a")], [{"series_uid": "1.1", "name": "x"}])
