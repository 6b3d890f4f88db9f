"""From tables to figures: what is asked, measured, written and refused; numbers against scikit-learn."""

import csv
import json
import math

import numpy as np
import pytest
import sklearn.metrics
from typer.testing import CliRunner

from seriatim.errors import ConfigError
from seriatim.evaluation import EvaluationSettings, describe, evaluate

CLASSES = ["covid", "pneumonia", "regular"]


def write(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def score_row(uid, numbers, *, prediction=""):
    head = {"study_uid": f"{uid}.0", "series_uid": uid, "path": f"s{uid}", "modality": "CT", "slices": 4}
    return {**head, "status": "scored", "reason": "", **numbers, "prediction": prediction, "seconds": 1, "volume": ""}


def write_run(folder, *, target, labels, classes, thresholds=None):
    task = {"kind": "diagnosis", "target": target, "labels": labels, "classes": classes}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "run.json").write_text(json.dumps({"task": task, "thresholds": thresholds or {}}))


def make_binary(folder, *, count=40, first=0, threshold=0.5, seed=0):
    """A scored folder; returns scores.csv, the labels and the probabilities."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    values = 1 / (1 + np.exp(-random.normal(size=count) - 2 * labels + 1))
    rows = [score_row(f"1.{first + i}", {"probability_bleed": repr(float(v))}) for i, v in enumerate(values)]
    write_run(folder, target="binary", labels=["bleed"], classes=["bleed"], thresholds={"bleed": threshold})
    return write(folder / "scores.csv", rows), labels, values


def label_rows(labels, *, first=0, patients=None, name="bleed"):
    whose = patients if patients is not None else range(first, first + len(labels))
    rows = zip(labels, whose, strict=True)
    return [{"series_uid": f"1.{first + i}", name: v, "patient": f"p{p}"} for i, (v, p) in enumerate(rows)]


def run(tmp_path, scores, labels, **options):
    scores = scores if isinstance(scores, list) else [scores]
    settings = EvaluationSettings(labels=write(tmp_path / "labels.csv", labels), **options)
    found = evaluate(scores, settings=settings, output=tmp_path / "eval")
    text = (tmp_path / "eval" / "evaluation.json").read_text()
    assert "NaN" not in text
    assert json.loads(text) == json.loads(json.dumps(describe(found, settings, folder=tmp_path / "eval")))
    return json.loads(text)


def test_binary_figures_equal_sklearn(tmp_path):
    scores, labels, values = make_binary(tmp_path / "out", threshold=0.6)
    found = run(tmp_path, scores, label_rows(labels))["metrics"]
    called = values >= 0.6
    expected = {
        "auc": sklearn.metrics.roc_auc_score(labels, values),
        "average_precision": sklearn.metrics.average_precision_score(labels, values),
        "accuracy": sklearn.metrics.accuracy_score(labels, called),
        "balanced_accuracy": sklearn.metrics.balanced_accuracy_score(labels, called),
        "ppv": sklearn.metrics.precision_score(labels, called),
        "npv": sklearn.metrics.precision_score(1 - labels, ~called),
        "sensitivity": sklearn.metrics.recall_score(labels, called),
        "specificity": sklearn.metrics.recall_score(1 - labels, ~called),
        "f1": sklearn.metrics.f1_score(labels, called),
        "brier": sklearn.metrics.brier_score_loss(labels, values),
        "log_loss": sklearn.metrics.log_loss(labels, values),
    }
    assert {found.pop(f"calibration_{name}")["method"] for name in ("slope", "intercept")} == {"wald"}
    error = found.pop("calibration_error")
    assert {name: one["value"] for name, one in found.items()} == pytest.approx(expected)
    assert 0 < error["value"] < 1
    assert error["low"] is None
    assert all(one["low"] <= one["value"] <= one["high"] for one in found.values())
    assert [found[name]["method"] for name in ("auc", "accuracy")] == ["delong, logit", "wilson"]


def test_patients_with_several_series_widen_the_intervals(tmp_path):
    scores, labels, _ = make_binary(tmp_path / "out")
    alone = run(tmp_path, scores, label_rows(labels))
    shared = run(tmp_path, scores, label_rows(labels, patients=np.arange(40) // 4))
    assert shared["intervals"]["clusters"] == 10
    assert shared["metrics"]["auc"]["method"] == "delong, clustered, logit"
    assert shared["metrics"]["accuracy"]["method"] == "wilson, clustered"
    assert shared["metrics"]["brier"]["method"] == "bootstrap over patients"
    assert shared["metrics"]["auc"]["value"] == alone["metrics"]["auc"]["value"]


def test_folds_are_pooled_and_each_decided_by_its_own_threshold(tmp_path):
    one, labels_1, values_1 = make_binary(tmp_path / "f1", threshold=0.3, seed=1)
    two, labels_2, values_2 = make_binary(tmp_path / "f2", threshold=0.7, first=40, seed=2)
    found = run(tmp_path, [one, two], label_rows(np.concatenate([labels_1, labels_2])))
    right = np.concatenate([(values_1 >= 0.3) == labels_1, (values_2 >= 0.7) == labels_2])
    assert found["metrics"]["accuracy"]["value"] == pytest.approx(right.mean())
    areas = [sklearn.metrics.roc_auc_score(labels_1, values_1), sklearn.metrics.roc_auc_score(labels_2, values_2)]
    assert found["metrics"]["auc_mean_of_files"]["value"] == pytest.approx(np.mean(areas))
    assert [one["metrics"]["auc"]["value"] for one in found["files"]] == pytest.approx(areas)
    assert found["thresholds"] == [{"bleed": 0.3}, {"bleed": 0.7}]


def test_labelled_series_without_a_score_are_counted_with_their_reason(tmp_path):
    scores, labels, _ = make_binary(tmp_path / "out", count=12)
    rows = list(csv.DictReader(scores.open()))
    rows[0] |= {"status": "refused", "reason": "GAP: slices 3-4", "probability_bleed": ""}
    write(scores, rows)
    labelled = [*label_rows(labels), {"series_uid": "9.9", "bleed": 1, "patient": "z"}]
    labelled[1]["bleed"] = ""
    counts = run(tmp_path, scores, labelled)["counts"]
    assert (counts["labelled"], counts["evaluated"]) == (13, 10)
    assert counts["not_evaluated"] == {"refused: GAP: slices 3-4": 1, "missing: not in scores.csv": 1, "label empty": 1}


def test_multi_class_figures_equal_sklearn(tmp_path):
    random = np.random.default_rng(0)
    true = np.arange(60) % 3
    values = random.dirichlet(np.ones(3), 60) * 0.5 + 0.5 * np.eye(3)[true] * random.random((60, 1))
    values /= values.sum(axis=1, keepdims=True)
    rows = [
        score_row(f"1.{i}", {f"probability_{c}": repr(float(x)) for c, x in zip(CLASSES, v, strict=True)})
        for i, v in enumerate(values)
    ]
    write_run(tmp_path / "out", target="multiclass", labels=["label"], classes=CLASSES)
    labels = label_rows([CLASSES[one] for one in true], name="label")
    content = run(tmp_path, write(tmp_path / "out" / "scores.csv", rows), labels)
    found, predicted = content["metrics"], values.argmax(axis=1)
    expected = sklearn.metrics.roc_auc_score(true, values, multi_class="ovr")
    assert found["auc_macro"]["value"] == pytest.approx(expected)
    assert found["accuracy"]["value"] == pytest.approx((true == predicted).mean())
    balanced = sklearn.metrics.balanced_accuracy_score(true, predicted)
    assert found["balanced_accuracy"]["value"] == pytest.approx(balanced)
    assert found["f1_macro"]["value"] == pytest.approx(sklearn.metrics.f1_score(true, predicted, average="macro"))
    assert found["log_loss"]["value"] == pytest.approx(sklearn.metrics.log_loss(true, values))
    squared = ((values - np.eye(3)[true]) ** 2).sum(axis=1).mean()
    assert found["brier"]["value"] == pytest.approx(squared)
    assert found["ppv_covid"]["value"] == pytest.approx((true[predicted == 0] == 0).mean())
    assert not {"accuracy_covid", "balanced_accuracy_covid"} & set(found)
    assert found["sensitivity_covid"]["value"] == pytest.approx((predicted[true == 0] == 0).mean())
    assert content["confusion"]["counts"] == sklearn.metrics.confusion_matrix(true, predicted).tolist()


def test_several_labels_are_measured_where_they_are_known(tmp_path):
    random = np.random.default_rng(0)
    truth, values = random.integers(0, 2, (40, 2)), random.random((40, 2))
    rows = [score_row(f"1.{i}", {"probability_a": v[0], "probability_b": v[1]}) for i, v in enumerate(values)]
    thresholds = {"a": 0.5, "b": 0.5}
    write_run(tmp_path / "out", target="multilabel", labels=["a", "b"], classes=["a", "b"], thresholds=thresholds)
    labels = [{"series_uid": f"1.{i}", "a": t[0], "b": t[1] if i < 30 else ""} for i, t in enumerate(truth)]
    found = run(tmp_path, write(tmp_path / "out" / "scores.csv", rows), labels)["metrics"]
    known = sklearn.metrics.roc_auc_score(truth[:30, 1], values[:30, 1])
    assert found["auc_b"]["value"] == pytest.approx(known)
    assert (found["auc_a"]["n"], found["auc_b"]["n"]) == (40, 30)
    whole = sklearn.metrics.roc_auc_score(truth[:, 0], values[:, 0])
    assert found["auc_macro"]["value"] == pytest.approx((whole + known) / 2)
    called = values >= 0.5
    scores = [sklearn.metrics.f1_score(truth[:stop, k], called[:stop, k]) for k, stop in ((0, 40), (1, 30))]
    assert found["f1_macro"]["value"] == pytest.approx(np.mean(scores))
    balanced = [found[f"balanced_accuracy_{name}"]["value"] for name in "ab"]
    assert found["balanced_accuracy_macro"]["value"] == pytest.approx(np.mean(balanced))


def test_regression_figures_equal_sklearn(tmp_path):
    random = np.random.default_rng(0)
    truth = random.normal(50, 10, 30)
    values = truth + random.normal(0, 5, 30)
    rows = [score_row(f"1.{i}", {"value_age": repr(float(v))}) for i, v in enumerate(values)]
    write_run(tmp_path / "out", target="regression", labels=["age"], classes=["age"])
    labels = label_rows([repr(float(one)) for one in truth], name="age")
    found = run(tmp_path, write(tmp_path / "out" / "scores.csv", rows), labels)["metrics"]
    assert found["mae"]["value"] == pytest.approx(sklearn.metrics.mean_absolute_error(truth, values))
    assert found["bias"]["value"] == pytest.approx((np.asarray(values) - truth).mean())
    assert found["r2"]["value"] == pytest.approx(sklearn.metrics.r2_score(truth, values))
    assert found["pearson"]["low"] < found["pearson"]["value"] < found["pearson"]["high"]
    assert (tmp_path / "eval" / "agreement.png").stat().st_size > 5000


@pytest.mark.parametrize("labels", [[1], [0], [1, 1, 1], [0, 1]])
def test_what_few_series_cannot_say_is_null_with_a_reason(tmp_path, labels):
    scores, _, _ = make_binary(tmp_path / "out", count=len(labels))
    found = run(tmp_path, scores, label_rows(labels))["metrics"]
    assert all(one["low"] is not None or one["reason"] for one in found.values())
    assert (tmp_path / "eval" / "roc.png").exists()


def make_slices(folder, attention, *, shared_uid=False):
    """slices.csv of series 1.0, 1.1, ... from a list of attention weights each."""
    rows = [
        {"series_uid": f"1.{i}", "sop_instance_uid": f"1.{i}.{0 if shared_uid else k}", "index": k, "attention": weight}
        for i, weights in enumerate(attention)
        for k, weight in enumerate(weights)
    ]
    return write(folder / "slices.csv", rows)


@pytest.mark.parametrize("shared_uid", [False, True])
def test_the_top_attended_slice_is_held_against_the_truth(tmp_path, shared_uid):
    """Series 1.1 looks at its bleed, 1.3 beside it, 1.5 ties between a right and a wrong slice."""
    scores, labels, _ = make_binary(tmp_path / "out", count=6)
    attention = [[0.5, 0.3, 0.2]] * 6
    attention[3], attention[5] = [0.2, 0.5, 0.3], [0.4, 0.4, 0.2]
    rows = list(csv.DictReader(make_slices(tmp_path / "out", attention, shared_uid=shared_uid).open()))
    for row in rows:
        bleeds = int(row["series_uid"][2:]) % 2 == 1 and row["index"] == "0"
        row |= {"bleed": int(bleeds)}
        del row["attention"]
    found = run(tmp_path, scores, label_rows(labels), slices=write(tmp_path / "truth.csv", rows))["slices"]
    top = found["metrics"]["top_attended_slice_is_positive"]
    assert (top["value"], top["n"]) == (pytest.approx(0.5), 3)
    assert found["chance"]["top_attended_slice_is_positive"] == pytest.approx(1 / 3)
    assert found["metrics"]["slice_auc_of_attention"]["value"] == pytest.approx((1 + 0 + 0.75) / 3)
    assert found["series"]["top_attended_slice_is_positive"]["with_slice_truth"] == 6
    of_one = [{**row, "patient": "same"} for row in label_rows(labels)]
    of_one = run(tmp_path, scores, of_one, slices=tmp_path / "truth.csv")["slices"]["metrics"]
    assert of_one["top_attended_slice_is_positive"]["reason"] == "an interval needs two patients"


def test_frames_are_found_by_frame_or_index_and_further_columns_do_no_harm(tmp_path):
    """Only one frame of each file was scored, so that its UID is not shared; its file has another frame's truth too."""
    scores, labels, _ = make_binary(tmp_path / "out", count=2)
    scored = [
        {"series_uid": "1.1", "sop_instance_uid": f"5.{k}", "index": k, "attention": w, "frame": k + 3, "new": "?"}
        for k, w in enumerate([0.7, 0.2, 0.1])
    ]
    write(tmp_path / "out" / "slices.csv", scored)
    by_uid = {"series_uid": "1.1", "index": "", "frame": "", "note": "-"}
    truth = [
        {**by_uid, "sop_instance_uid": "5.0", "frame": 3, "bleed": 1},
        {**by_uid, "sop_instance_uid": "5.0", "frame": 4, "bleed": 0},
        {**by_uid, "sop_instance_uid": "5.1", "bleed": 1},  # of the file, so of none of its frames
        {**by_uid, "sop_instance_uid": "", "index": 2, "bleed": 0},
    ]
    found = run(tmp_path, scores, label_rows(labels), slices=write(tmp_path / "truth.csv", truth))["slices"]
    assert found["metrics"]["top_attended_slice_is_positive"]["value"] == 1
    assert found["chance"]["top_attended_slice_is_positive"] == pytest.approx(1 / 2)


def make_named_slices(tmp_path, column, values):
    """Scored binary series 1.0, 1.1 of three slices, and a truth whose label column is ``column``."""
    scores, labels, _ = make_binary(tmp_path / "out", count=2)
    rows = list(csv.DictReader(make_slices(tmp_path / "out", [[0.5, 0.3, 0.2]] * 2).open()))
    write(tmp_path / "out" / "slices.csv", [{**row, "score_bleed": row["attention"]} for row in rows])
    truth = [{**row, column: values[int(row["index"])] if row["series_uid"] == "1.1" else 0} for row in rows]
    return scores, label_rows(labels), write(tmp_path / "truth.csv", truth)


def test_slice_labels_of_another_name_are_known_from_the_run_or_named(tmp_path):
    scores, labels, truth = make_named_slices(tmp_path, "abnormal", [1, 0, 0])
    with pytest.raises(ConfigError, match=r"no label column \(bleed\).*--slice-label"):
        run(tmp_path, scores, labels, slices=truth)
    with pytest.raises(ConfigError, match=r"--slice-label names odd;.*abnormal"):
        run(tmp_path, scores, labels, slices=truth, slice_names=("odd",))
    named = run(tmp_path, scores, labels, slices=truth, slice_names=("abnormal",))["slices"]
    path = tmp_path / "out" / "run.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"task": content["task"] | {"slice_labels": ["abnormal"]}}))
    assert run(tmp_path, scores, labels, slices=truth)["slices"] == named
    assert named["metrics"]["top_attended_slice_is_positive"]["value"] == 1
    assert named["metrics"]["slice_auc_of_score"]["n"] == 6


def test_slices_labelled_with_names_of_classes_are_measured_for_each_class(tmp_path):
    rows = [score_row(f"1.{i}", {f"probability_{c}": 1 / 3 for c in CLASSES}) for i in range(2)]
    write_run(tmp_path / "out", target="multiclass", labels=["label"], classes=CLASSES)
    make_slices(tmp_path / "out", [[0.5, 0.3, 0.2]] * 2)
    cells = ["covid", "regular", ""]
    truth = [{"series_uid": "1.0", "index": k, "label": cell} for k, cell in enumerate(cells)]
    options = {"slices": write(tmp_path / "truth.csv", truth)}
    labels = label_rows(["covid", "regular"], name="label")
    found = run(tmp_path, write(tmp_path / "out" / "scores.csv", rows), labels, **options)["slices"]["metrics"]
    values = [found[f"top_attended_slice_is_positive_{name}"]["value"] for name in CLASSES]
    assert values == [1, None, 0]


def split_rows(path, splits):
    rows = list(csv.DictReader(path.open()))
    return write(path, [{**row, "split": split} for row, split in zip(rows, splits, strict=True)])


def test_series_the_model_learned_from_are_left_out_and_counted(tmp_path):
    scores, labels, values = make_binary(tmp_path / "out")
    split_rows(scores, ["train"] * 12 + ["val"] * 8 + ["test"] * 10 + [""] * 10)
    found = run(tmp_path, scores, label_rows(labels))
    assert found["metrics"]["auc"]["value"] == pytest.approx(sklearn.metrics.roc_auc_score(labels[20:], values[20:]))
    assert (found["counts"]["evaluated"], found["counts"]["left_out"], found["counts"]["trained_on"]) == (20, 20, 0)
    rows = {row["metric"]: row for row in csv.DictReader((tmp_path / "eval" / "evaluation.csv").open())}
    assert rows["series_left_out"]["value"] == "20"
    every = run(tmp_path, scores, label_rows(labels), include_training=True)
    assert every["metrics"]["auc"]["value"] == pytest.approx(sklearn.metrics.roc_auc_score(labels, values))
    assert (every["counts"]["left_out"], every["counts"]["trained_on"]) == (0, 20)


@pytest.mark.parametrize("with_slices", [False, True])
def test_nothing_but_training_series_ends_with_nothing_usable(tmp_path, with_slices):
    from seriatim.cli import app

    scores, labels, truth = make_named_slices(tmp_path, "bleed", [1, 0, 0])
    split_rows(scores, ["train", "val"])
    command = ["evaluate", str(scores), "--labels", str(write(tmp_path / "labels.csv", labels))]
    command += ["--output", str(tmp_path / "eval"), *(["--slices", str(truth)] if with_slices else [])]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 3, result.output
    assert "2 left out: the model was trained or tuned on them" in result.output
    result = CliRunner().invoke(app, [*command, "--include-training"])
    assert result.exit_code == 0, result.output
    assert "2 of them counted although the model was trained or tuned on them" in result.output


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda folder: (folder / "run.json").unlink(), "--label"),
        (lambda folder: write_run(folder, target="binary", labels=["bleed"], classes=["bleed"]), "--threshold"),
        (lambda folder: write_run(folder, target="binary", labels=["ich"], classes=["bleed"]), "no label column 'ich'"),
        (lambda folder: write_run(folder, target="binary", labels=["bleed"], classes=["x"]), "no column probability_x"),
        (lambda folder: (folder / "run.json").write_text("{"), "cannot be read"),
    ],
)
def test_what_is_not_known_is_asked_for_and_never_guessed(tmp_path, break_it, message):
    scores, labels, _ = make_binary(tmp_path / "out")
    break_it(tmp_path / "out")
    with pytest.raises(ConfigError, match=message):
        run(tmp_path, scores, label_rows(labels))


def test_a_label_or_score_that_is_no_number_is_refused(tmp_path):
    scores, labels, _ = make_binary(tmp_path / "out", count=4)
    with pytest.raises(ConfigError, match="perhaps"):
        run(tmp_path, scores, [*label_rows(labels)[:3], {"series_uid": "1.3", "bleed": "perhaps", "patient": "p"}])
    rows = list(csv.DictReader(scores.open()))
    rows[2]["probability_bleed"] = "nan"
    with pytest.raises(ConfigError, match=r"series 1\.2 is scored"):
        run(tmp_path, write(scores, rows), label_rows(labels))


def test_command_line_from_end_to_end_without_a_run_json(tmp_path):
    from seriatim.cli import app

    scores, labels, values = make_binary(tmp_path / "out")
    (tmp_path / "out" / "run.json").unlink()
    table = write(tmp_path / "labels.csv", label_rows(labels, name="ich"))
    options = ["--labels", str(table), "--output", str(tmp_path / "eval"), "--label", "ich", "--threshold", "0.4"]
    result = CliRunner().invoke(app, ["evaluate", str(scores), *options])
    assert result.exit_code == 0, result.output
    assert "40 series labelled, 40 scored and evaluated" in result.output
    assert "Labels joined by series_uid (40)" in result.output
    rows = {row["metric"]: row for row in csv.DictReader((tmp_path / "eval" / "evaluation.csv").open())}
    assert list(rows["auc"]) == ["metric", "value", "low", "high", "method", "n"]
    assert float(rows["accuracy"]["value"]) == pytest.approx(((values >= 0.4) == labels).mean())
    assert {path.name for path in (tmp_path / "eval").iterdir()} == {
        "evaluation.json", "evaluation.csv", "evaluation.html", "roc.png", "reliability.png", "decision.png",
    }  # fmt: skip


def test_prediction_sets_are_held_against_the_labels(tmp_path):
    scores, labels, _ = make_binary(tmp_path / "out", count=20)
    with scores.open() as file:
        rows = list(csv.DictReader(file))
    sets = ["0|1" if i < 10 else str(label) if i < 18 else "" for i, label in enumerate(labels)]
    write(scores, [{**row, "prediction_set": one} for row, one in zip(rows, sets, strict=True)])
    found = run(tmp_path, scores, label_rows(labels))["metrics"]
    assert found["set_coverage"]["value"] == pytest.approx(18 / 20)
    assert found["set_coverage_1"]["value"] == pytest.approx(9 / 10)
    assert found["set_size"]["value"] == pytest.approx((10 * 2 + 8) / 20)


def test_series_of_patients_the_model_may_know_are_told(tmp_path):
    scores, labels, _ = make_binary(tmp_path / "out")
    split_rows(scores, ["train"] * 4 + [""] * 36)
    model = tmp_path / "run"
    told = json.loads((tmp_path / "out" / "run.json").read_text()) | {"model": {"path": str(model)}}
    (tmp_path / "out" / "run.json").write_text(json.dumps(told))
    rows = label_rows(labels, patients=np.arange(40) // 2)  # the patients p0 and p1 have series 0 to 3
    assert run(tmp_path, scores, rows)["counts"]["of_known_patients"] == 0
    write(model / "manifest.csv", [
        {"series_uid": f"9.{patient}", "patient": patient, "split": split, "status": "used"}
        for patient, split in (("p0", "train"), ("p5", "train"), ("p6", "val"), ("p7", "test"))
    ])  # fmt: skip
    found = run(tmp_path, scores, rows)
    assert (found["counts"]["evaluated"], found["counts"]["of_known_patients"]) == (36, 4)
    assert "4 series are of patients whose ids" in (tmp_path / "eval" / "evaluation.html").read_text()


@pytest.mark.parametrize(
    ("content", "where"),
    [
        ({"thresholds": {"bleed": math.nan}}, "thresholds.bleed"),
        ({"thresholds": {"bleed": "high"}}, "thresholds.bleed"),
        ({"thresholds": [1]}, "thresholds"),
        ({"task": "binary"}, "task"),
        ({"task": {"target": ["binary"], "labels": ["bleed"]}}, "task.target"),
        ({"model": "x"}, "model"),
        ({"model": {"members": [1]}}, "model.members.0"),
    ],
)
def test_a_run_json_that_holds_something_else_is_told_and_where(tmp_path, content, where):
    scores, labels, _ = make_binary(tmp_path / "out")
    told = json.loads((tmp_path / "out" / "run.json").read_text())
    (tmp_path / "out" / "run.json").write_text(json.dumps(told | content))
    with pytest.raises(ConfigError, match=rf"run\.json: {where}.*Score again"):
        run(tmp_path, scores, label_rows(labels))


@pytest.mark.parametrize("value", ["1.7", "-0.2"])
def test_what_is_no_probability_is_refused(tmp_path, value):
    scores, labels, _ = make_binary(tmp_path / "out")
    with scores.open(newline="") as file:
        rows = list(csv.DictReader(file))
    rows[3]["probability_bleed"] = value
    write(scores, rows)
    with pytest.raises(ConfigError, match=f"probability_bleed {value}, and a probability lies from 0 to 1"):
        run(tmp_path, scores, label_rows(labels))


def test_a_label_that_is_none_is_told_with_its_line(tmp_path):
    scores, labels, _ = make_binary(tmp_path / "out")
    rows = label_rows(labels)
    rows[4]["bleed"] = "maybe"
    with pytest.raises(ConfigError, match=r"line 6 of .*: 'maybe' in column 'bleed'"):
        run(tmp_path, scores, rows)


def test_of_positives_alone_there_is_no_average_precision(tmp_path):
    """It would be 1 whatever the scores."""
    scores, labels, _ = make_binary(tmp_path / "out")
    found = run(tmp_path, scores, [{**row, "bleed": 1} for row in label_rows(labels)])["metrics"]
    assert found["average_precision"]["value"] is None
