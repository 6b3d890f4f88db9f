"""Cross-validation: folds by patient, every series scored by the model that never saw it, and stops gone on from."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml

from anomaly_runs import FRAMES, draw_clip, write_clip
from seriatim.errors import ConfigError, InputError, ModelError
from seriatim.evaluation.intervals import Clusters
from seriatim.evaluation.samples import Samples
from seriatim.experiment import Experiment, read_experiment
from seriatim.io import find_series
from seriatim.scoring import score
from seriatim.studies import cross_validate
from seriatim.studies.crossval import average_thresholds
from seriatim.studies.runs import evaluation_settings, run_all, tell_tested_rows
from seriatim.tasks import DiagnosisSettings
from seriatim.tasks.metrics import sensitivity_specificity, youden_threshold
from seriatim.tasks.predict import embed_series
from seriatim.trained import load_ensemble, load_model
from seriatim.training import embeddings
from tiny_runs import CommandLine, make_experiment, read_rows, write_config, write_rows

ONE_EPOCH = ("training.epochs=1", "data.folds=3")
Done = tuple[Path, Experiment]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, head_ct: Path) -> tuple[Path, Experiment]:
    folder = tmp_path_factory.mktemp("crossval")
    experiment = make_experiment(folder, head_ct, *ONE_EPOCH)
    cross_validate(experiment, folder / "out")
    return folder / "out", experiment


def test_every_series_is_scored_once_by_the_model_that_left_it_out(done: Done, head_ct: Path) -> None:
    output, _ = done
    rows = [row for fold in "012" for row in read_rows(output / f"fold{fold}" / "scores" / "scores.csv")]
    labels = read_rows(head_ct / "labels.csv")
    assert sorted(row["series_uid"] for row in rows) == sorted(row["series_uid"] for row in labels)
    assert {row["split"] for row in rows} == {"test"}
    evaluation = json.loads((output / "evaluation" / "evaluation.json").read_text())
    assert evaluation["counts"]["evaluated"] == len(labels)
    assert len(evaluation["files"]) == 3


def test_no_patient_is_in_two_folds_and_the_folds_are_alike_in_labels(done: Done, head_ct: Path) -> None:
    table = read_rows(done[0] / "folds.csv")
    folds_of: dict[str, set[str]] = {}
    for row in table:
        folds_of.setdefault(row["patient"], set()).add(row["fold"])
    assert all(len(folds) == 1 for folds in folds_of.values())
    label = {row["path"]: row["bleed"] for row in read_rows(head_ct / "labels.csv")}
    positive = [sum(label[row["path"]] == "1" for row in table if row["fold"] == fold) for fold in "012"]
    assert sum(positive) > 2
    assert max(positive) - min(positive) <= 1


def test_finished_folds_are_not_done_again_and_a_lost_one_comes_out_the_same(done: Done) -> None:
    output, experiment = done
    told: list[str] = []
    weights = {fold: output / f"fold{fold}" / "run" / "model.safetensors" for fold in "012"}
    before = {fold: path.stat().st_mtime_ns for fold, path in weights.items()}
    kept = (output / "fold1" / "scores" / "scores.csv").read_text()
    (output / "fold1" / "scores" / "run.json").unlink()
    (output / "fold1" / "run" / "model.json").unlink()  # as after a kill at the end of training
    cross_validate(experiment, output, report=lambda fold, *_: told.append(fold))
    assert told == ["1"]
    again = read_rows(output / "fold1" / "scores" / "scores.csv")
    for new, old in zip(again, csv.DictReader(kept.splitlines()), strict=True):
        assert new["probability_bleed"] == old["probability_bleed"]
    assert all(weights[fold].stat().st_mtime_ns == before[fold] for fold in "02")


def test_other_settings_need_another_folder(done: Done) -> None:
    output, experiment = done
    other = experiment.model_copy(update={"seed": 7})
    with pytest.raises(ConfigError, match="other settings"):
        cross_validate(other, output)


def test_other_folds_need_another_folder(tmp_path: Path, head_ct: Path) -> None:
    """Else series would be scored twice, and others never."""
    rows = [{**row, "path": str(head_ct / row["path"])} for row in read_rows(head_ct / "labels.csv")]
    fold_of = {row["patient"]: number % 2 for number, row in enumerate(rows)}
    manifest, worked = tmp_path / "folds.csv", []

    def work(_: Experiment, name: str, folder: Path) -> None:
        worked.append(name)
        raise InterruptedError

    def run(experiment: Experiment) -> None:
        cross_validate(experiment, tmp_path / "out", work=work)

    write_rows(manifest, [{**row, "fold": fold_of[row["patient"]]} for row in rows])
    experiment = make_experiment(tmp_path, head_ct, f"data.manifest={manifest}")
    for _ in range(2):
        with pytest.raises(InterruptedError):
            run(experiment)
    write_rows(manifest, [{**row, "fold": fold_of[row["patient"]], "bleed": 1 - int(row["bleed"])} for row in rows])
    with pytest.raises(ConfigError, match=r"Labels of .*folds\.csv or of its slices changed since"):
        run(experiment)
    write_rows(manifest, [{**row, "fold": 1 - fold_of[row["patient"]]} for row in rows][::-1])
    with pytest.raises(ConfigError, match=r"The rows or folds of .*folds\.csv changed since"):
        run(experiment)
    assert len(worked) == 2


def test_the_folder_scores_as_one_model_with_a_threshold_from_out_of_fold_predictions(
    done: Done, tmp_path: Path, head_ct: Path
) -> None:
    output, _ = done
    case = head_ct / read_rows(head_ct / "labels.csv")[0]["path"]
    score(case, model=output, output=tmp_path / "all", device="cpu")
    told = json.loads((tmp_path / "all" / "run.json").read_text())
    assert len(told["model"]["members"]) == 3
    true = {row["series_uid"]: int(row["bleed"]) for row in read_rows(head_ct / "labels.csv")}
    chosen = []
    for fold in "012":
        rows = read_rows(output / f"fold{fold}" / "scores" / "scores.csv")
        labels = [true[row["series_uid"]] for row in rows]
        assert 0 < sum(labels) < len(labels)
        chosen.append(youden_threshold(labels, [float(row["probability_bleed"]) for row in rows]))
    assert told["thresholds"] == {"bleed": pytest.approx(sum(chosen) / 3)}
    assert "the series each left out, 12 in all" in told["thresholds_from"]
    (row,) = read_rows(tmp_path / "all" / "scores.csv")
    assert row["split"] == "train"  # it was, for all folds but one: no figure may count it


def test_the_threshold_of_all_folds_is_right_for_models_that_score_on_different_scales() -> None:
    """Five models alike but for scale and offset: the mean of their own thresholds, not one on all predictions."""
    random, gains = np.random.default_rng(0), {"folds": [], "together": []}
    task = DiagnosisSettings(target="binary", labels=("a",)).build()
    for _ in range(60):
        labels, files = (random.random(200) < 0.4).astype(float), np.arange(200) % 5
        offset, scale = random.normal(size=5), np.exp(0.4 * random.normal(size=5))
        noise, new, shared = random.normal(size=200), (random.random(2000) < 0.4), random.normal(size=2000)
        given = 1 / (1 + np.exp(-scale[files] * (2 * labels - 1 + noise) - offset[files]))
        samples = Samples(labels=labels[:, None], scores=given[:, None], decisions=given[:, None] > 0.5, files=files,
                          rows=np.arange(200), clusters=Clusters(np.arange(200)), clustered_by="series")
        mean = np.mean([1 / (1 + np.exp(-scale[k] * (2 * new - 1 + shared) - offset[k])) for k in range(5)], axis=0)
        thresholds = {"folds": average_thresholds(task, samples)["a"], "together": youden_threshold(labels, given)}
        for name, threshold in thresholds.items():
            gains[name].append(sum(sensitivity_specificity(new, mean >= threshold)) - 1)
    assert np.mean(gains["folds"]) > np.mean(gains["together"]) + 0.02
    assert np.mean(gains["folds"]) > 0.63  # the best of all thresholds reaches 0.68


def test_a_fold_of_one_answer_chooses_no_threshold() -> None:
    task = DiagnosisSettings(target="binary", labels=("a",)).build()
    labels, files = np.array([[0.0], [1], [1], [1]]), np.array([0, 0, 1, 1])
    samples = Samples(labels=labels, scores=np.array([[0.2], [0.4], [0.8], [0.9]]), decisions=labels > 0.5, files=files,
                      rows=np.arange(4), clusters=Clusters(np.arange(4)), clustered_by="series")
    assert average_thresholds(task, samples) == {"a": pytest.approx(0.3)}
    assert average_thresholds(task, samples.take(np.array([0, 2])))["a"] == pytest.approx(0.5)  # none has both


def test_a_changed_member_or_a_hostile_list_is_refused(done: Done, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(done[0], copy)
    with pytest.raises(ModelError, match="several folds, and one is asked for"):
        load_model(copy)
    path = copy / "ensemble.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"members": {"../out/fold0/run": "0"}}))
    with pytest.raises(ModelError, match="runs in its own folder"):
        load_ensemble(copy)
    path.write_text(json.dumps(content | {"members": dict.fromkeys(content["members"], "0")}))
    with pytest.raises(ModelError, match="Run crossval again"):
        load_ensemble(copy)
    path.write_text("[]")
    with pytest.raises(ModelError, match="cannot be read"):
        load_ensemble(copy)


@pytest.mark.slow
def test_folds_side_by_side_give_the_same_scores(done: Done, tmp_path: Path) -> None:
    output, experiment = done
    cross_validate(experiment, tmp_path / "out", jobs=2)
    for fold in "012":
        first, second = (read_rows(one / f"fold{fold}" / "scores" / "scores.csv") for one in (output, tmp_path / "out"))
        assert [row["probability_bleed"] for row in first] == [row["probability_bleed"] for row in second]


def test_two_stage_folds_embed_each_series_once(
    tmp_path: Path, head_ct: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedded: list[int] = []

    def count(network: object, slices: object, **options: object) -> object:
        embedded.append(1)
        return embed_series(network, slices, **options)

    monkeypatch.setattr(embeddings, "embed_series", count)
    experiment = make_experiment(tmp_path, head_ct, "training.epochs=1", "data.folds=2", "training.mode=two-stage")
    cross_validate(experiment, tmp_path / "out")
    assert len(embedded) == 12
    assert (tmp_path / "out" / "embeddings").is_dir()


def hold(place: Path) -> None:
    """Work that never ends, and shows that it goes on."""
    while True:
        place.write_text(str(time.time()))
        time.sleep(0.1)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.slow
def test_processes_of_a_killed_command_end_with_it(tmp_path: Path) -> None:
    """They would train on into the folders into which the same command, given again, trains."""
    code = ("from functools import partial; from pathlib import Path\n"
            "from seriatim.studies.runs import run_all; from test_crossval import hold\n"
            "if __name__ == '__main__':\n"
            f"    list(run_all({{name: partial(hold, Path({str(tmp_path)!r}, name)) for name in 'ab'}}, jobs=2))\n")
    script = tmp_path / "script.py"
    script.write_text(code)
    path = os.pathsep.join([*sys.path, str(Path(__file__).parent)])
    parent = subprocess.Popen([sys.executable, str(script)], env={**os.environ, "PYTHONPATH": path})
    deadline = time.monotonic() + 200
    while not all((tmp_path / name).exists() for name in "ab"):
        assert parent.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.1)
    parent.kill()
    parent.wait()
    time.sleep(2)
    last = [(tmp_path / name).read_text() for name in "ab"]
    time.sleep(1)
    assert [(tmp_path / name).read_text() for name in "ab"] == last


@pytest.mark.slow
def test_a_process_that_the_system_ends_is_told_with_the_repair() -> None:
    with pytest.raises(ConfigError, match="fewer --jobs"):
        list(run_all({"a": die, "b": die}, jobs=2))


def test_rows_marked_test_are_told_since_folds_hold_them_too(
    tmp_path: Path, head_ct: Path, caplog: pytest.LogCaptureFixture
) -> None:
    experiment = make_experiment(tmp_path, head_ct, "data.folds=3")
    tell_tested_rows(experiment)
    tested = sum(row["split"] == "test" for row in read_rows(head_ct / "labels.csv"))
    assert f"{tested} of 12 rows" in caplog.text
    assert "'split'" in caplog.text
    caplog.clear()
    tell_tested_rows(make_experiment(tmp_path, head_ct))
    assert not caplog.text


def test_without_folds_the_repair_is_named(tmp_path: Path, head_ct: Path) -> None:
    experiment = make_experiment(tmp_path, head_ct, "training.epochs=1")
    with pytest.raises(ConfigError, match=r"data\.folds=5"):
        cross_validate(experiment, tmp_path / "out")
    with pytest.raises(ConfigError, match="as many patients"):
        cross_validate(make_experiment(tmp_path, head_ct, "data.folds=50"), tmp_path / "out")


def test_the_command_prints_the_pooled_figures(
    done: Done, tmp_path: Path, head_ct: Path, seriatim_command: CommandLine
) -> None:
    config = write_config(tmp_path, head_ct, *ONE_EPOCH)
    outcome = seriatim_command("crossval", config, "--output", done[0])
    assert outcome.code == 0, outcome.err
    assert "12 series labelled, 12 scored and evaluated" in outcome.out


def test_a_crossval_is_compared_and_evaluated_by_its_folder_alone(
    done: Done, tmp_path: Path, head_ct: Path, seriatim_command: CommandLine
) -> None:
    output, _ = done
    other = tmp_path / "other"
    shutil.copytree(output, other)
    compared = seriatim_command("compare", output, other, "--output", tmp_path / "comparison")
    assert compared.code == 0, compared.err
    assert "12 series compared" in compared.out
    evaluated = seriatim_command("evaluate", output, "--by", "bleed", "--output", tmp_path / "eval")
    assert evaluated.code == 0, evaluated.err
    again = json.loads((tmp_path / "eval" / "evaluation.json").read_text())
    first = json.loads((output / "evaluation" / "evaluation.json").read_text())
    assert again["metrics"] == first["metrics"]
    assert set(again["subgroups"]["bleed"]) == {"0", "1"}
    scores = output / "fold0" / "scores" / "scores.csv"
    unknown = seriatim_command("compare", output, scores, "--output", tmp_path / "no")
    assert unknown.code == 2
    assert "Give --labels" in unknown.err


def test_patients_are_counted_by_the_column_that_the_folds_were_made_by(
    done: Done, tmp_path: Path, head_ct: Path, seriatim_command: CommandLine
) -> None:
    output, experiment = done
    rows = read_rows(head_ct / "labels.csv")
    for index, row in enumerate(rows):
        row |= {"path": str(head_ct / row["path"]), "subject": f"s{index // 2}"}
        del row["patient"]
    write_rows(tmp_path / "labels.csv", rows)
    data = experiment.data.model_copy(update={"manifest": tmp_path / "labels.csv", "patient": "subject"})
    assert evaluation_settings(experiment.model_copy(update={"data": data})).patient == "subject"
    other = tmp_path / "other"
    shutil.copytree(output, other)
    told = json.loads((other / "crossval.json").read_text())
    told["experiment"]["data"] |= {"manifest": str(data.manifest), "patient": "subject"}
    (other / "crossval.json").write_text(json.dumps(told))
    for command in (("evaluate", other), ("compare", other, output, "--labels", data.manifest, "--patient", "subject")):
        outcome = seriatim_command(*command, "--output", tmp_path / command[0])
        assert outcome.code == 0, outcome.err
    for name in ("evaluate/evaluation.json", "compare/comparison.json"):
        intervals = json.loads((tmp_path / name).read_text())["intervals"]
        assert (intervals["clusters"], intervals["clustered_by"]) == (6, "patient")


def test_a_fold_without_usable_series_stops_with_the_reason(tmp_path: Path, head_ct: Path) -> None:
    data = tmp_path / "data"
    rows = [{"path": f"{one}.dcm", "patient": one, "bleed": one % 2, "fold": one // 2} for one in range(4)]
    write_rows(data / "labels.csv", rows)
    for row in rows:
        (data / str(row["path"])).write_text("no image")
    (data / "slices.csv").write_text((head_ct / "slices.csv").read_text())
    with pytest.raises(InputError, match="No usable series for train"):
        cross_validate(make_experiment(tmp_path, data), tmp_path / "out")


def test_explanations_of_all_folds_are_measured_out_of_fold_and_told_of_the_whole(
    done: Done, tmp_path: Path, head_ct: Path
) -> None:
    from seriatim.explanation import explain_volume
    from seriatim.explanation.faithfulness.series import MeasureOptions
    from seriatim.io import find_series, read_volume
    from seriatim.studies import FaithfulnessOptions, measure_faithfulness

    output = tmp_path / "folds"
    shutil.copytree(done[0], output)
    few = MeasureOptions(orders=4, draws=1, shuffles=1)
    found = measure_faithfulness([output], options=FaithfulnessOptions(device="cpu", limit=1, measure=few))
    assert found.count == 3
    rows = read_rows(output / "faithfulness.csv")
    folds = {row["path"].split("/")[-1]: row["fold"] for row in read_rows(output / "folds.csv")}
    paths = {row["series_uid"]: row["path"].split("/")[-1] for row in read_rows(head_ct / "labels.csv")}
    assert {Path(row["run"]).parent.name for row in rows} == {"fold0", "fold1", "fold2"}
    assert all((Path(row["run"]).parent.name == f"fold{folds[paths[row['series_uid']]]}") == (row["split"] == "test")
               for row in rows)
    of = {split: {row["series_uid"] for row in rows if row["split"] == split} for split in ("val", "test")}
    assert found.choice is not None
    assert found.choice.overlap == len(of["val"] & of["test"])
    assert all((output / f"fold{fold}" / "run" / "faithfulness.json").is_file() for fold in "012")
    series = find_series(head_ct / read_rows(head_ct / "labels.csv")[0]["path"]).series[0]
    explanation = explain_volume(read_volume(series), load_ensemble(output), top=1)
    assert explanation.model_faithfulness == found
    assert explanation.shown_attribution == found.best


def test_anomaly_folds_are_scored_by_models_that_saw_neither_them_nor_what_is_abnormal(tmp_path: Path) -> None:
    rows, slices = [], []
    for number in range(12):
        abnormal, frames = number % 6 == 0, draw_clip(number)
        if abnormal:
            frames[6:10] = 255 - frames[6:10]
        clip = write_clip(tmp_path / f"c{number}", frames)
        (series,) = find_series(clip).series
        rows.append({"path": f"c{number}", "series_uid": series.series_uid, "patient": f"p{number}",
                     "odd": int(abnormal), "fold": number // 6})  # fmt: skip
        slices += [{"series_uid": series.series_uid, "index": index, "odd": int(abnormal and 6 <= index < 10)}
                   for index in range(FRAMES)]  # fmt: skip
    write_rows(tmp_path / "labels.csv", rows)
    write_rows(tmp_path / "slices.csv", slices)
    content = {"name": "folds", "preprocessing": {"kind": "intensity", "size": 32},
               "data": {"manifest": "labels.csv", "slice_labels": "slices.csv", "validation_fraction": 0.4},
               "network": {"encoder": {"kind": "small_cnn", "widths": [8, 16]}}, "training": {"accelerator": "cpu"},
               "task": {"kind": "anomaly", "methods": [{"kind": "gaussian"}], "false_alarm_rate": 0.2}}  # fmt: skip
    (tmp_path / "folds.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(ConfigError, match=r"task\.label is not set"):
        cross_validate(read_experiment(tmp_path / "folds.yaml"), tmp_path / "out")
    experiment = read_experiment(tmp_path / "folds.yaml", ["task.label=odd"])
    done = cross_validate(experiment, tmp_path / "out")
    assert {"auc", "frame_auc", "event_recall"} <= set(done.evaluation.all_measures)
    assert done.evaluation.all_measures["frame_sensitivity"].n == 8
    assert done.evaluation.all_measures["frame_false_alarm_rate"].n == 12 * FRAMES - 8
    for fold in "01":
        scored = {row["path"] for row in read_rows(tmp_path / "out" / f"fold{fold}" / "scores" / "scores.csv")}
        assert scored == {str(tmp_path / row["path"]) for row in rows if str(row["fold"]) == fold}
    assert not (tmp_path / "out" / "ensemble.json").exists()
