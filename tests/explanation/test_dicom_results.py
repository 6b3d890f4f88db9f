"""DICOM results from files to files: what is written is what was scored and what the explanation shows."""

from __future__ import annotations

import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
import torch
from page_samples import explanation_of
from pydicom.dataset import Dataset

from seriatim.errors import ConfigError
from seriatim.explanation.build import ExplainOptions, explain_volume
from seriatim.explanation.dicom_results import DicomResults
from seriatim.explanation.results import choose_top, gather_numbers, rank
from seriatim.io import find_series, read_volume
from seriatim.scoring import score
from seriatim.scoring.engine import score_one
from seriatim.series import Prediction, Series
from seriatim.trained import Scorer, load_anomaly_model, load_scorer
from seriatim.training import train
from seriatim.transforms.orientation import orient, turn_back
from seriatim.transforms.placement import resize
from tiny_runs import CommandLine, make_experiment, read_rows

pytest.importorskip("highdicom", reason="the extra dicom-results is not installed")
sys.path.append(str(Path(__file__).parents[1] / "io"))

from results_of import check_valid, find_items, read_results, real_values

from anomaly_runs import draw_clip, train_run, write_cine, write_slices

ALL = ["attention.dcm", "gradcam.dcm", "key-images.dcm", "report.dcm", "summary.dcm"]


@pytest.fixture(scope="module")
def scorer(tiny_run: Path) -> Scorer:
    return load_scorer(tiny_run)


@pytest.fixture
def one(tmp_path: Path, head_ct: Path) -> Path:
    """A bleeding series."""
    path = next(row["path"] for row in read_rows(head_ct / "labels.csv") if row["bleed"] == "1")
    return Path(shutil.copytree(head_ct / path, tmp_path / "in" / "one"))


def numbers(report: Dataset, name: str) -> list[float]:
    """The values of a concept, in order."""
    return [item.MeasuredValueSequence[0].FloatingPointValue for item in find_items(report, "NUM", name)]


def scored(path: Path, scorer: Scorer) -> tuple[Series, Prediction]:
    (series,) = find_series(path).series
    return series, score_one(series, scorer)


def test_objects_hold_what_was_scored_and_what_is_shown(tmp_path: Path, one: Path, scorer: Scorer) -> None:
    series, prediction = scored(one, scorer)
    results = DicomResults(tmp_path / "out", model=scorer, top=3, searched=tmp_path / "in")
    assert results.add(series, prediction) == ""
    (row,) = read_rows(tmp_path / "out" / "dicom_results.csv")
    assert (row["status"], row["files"].split(";"), row["replaced"]) == (
        "written", ["report.dcm", "key-images.dcm", "attention.dcm", "gradcam.dcm", "summary.dcm"], "")
    assert row["folder"].startswith(f"{series.series_uid}-")
    assert row["model_digest"] == scorer.digest
    folder = tmp_path / "out" / row["folder"]
    assert sorted(path.name for path in folder.iterdir()) == ALL
    objects = read_results(folder)
    volume = read_volume(series)
    explanation = explain_volume(volume, scorer, options=ExplainOptions(top=3))
    scores = [prediction.probabilities["bleed"], *prediction.slice_scores["bleed"]]
    assert numbers(objects["report"], "122157") == scores
    assert numbers(objects["report"], "122411") == [scorer.thresholds["bleed"]]
    name = explanation.shown_attribution
    told = numbers(objects["report"], name[:16])
    np.testing.assert_allclose(told, explanation.attributions[name], rtol=1e-6, atol=1e-9)
    keys = [item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID
            for item in find_items(objects["key-images"], "IMAGE")]
    assert keys == [series.instances[index].sop_instance_uid for index in explanation.top]
    frames = objects["attention"].PerFrameFunctionalGroupsSequence
    weights = {group.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID: pixels.flat[0]
               for group, pixels in zip(frames, real_values(objects["attention"]), strict=True)}
    assert prediction.attention is not None
    expected = dict(zip(prediction.sop_instance_uids, prediction.attention.astype(np.float32), strict=True))
    assert weights == pytest.approx(expected, abs=1e-5 * prediction.attention.max())
    assert explanation.heat is not None
    for group, pixels in zip(objects["gradcam"].PerFrameFunctionalGroupsSequence, real_values(objects["gradcam"]),
                             strict=True):
        uid = group.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        heat = explanation.heat[keys.index(uid)]
        shown = orient(pixels[None], volume.affine)  # as on the picture
        np.testing.assert_allclose(resize(torch.from_numpy(shown.copy()), heat.shape)[0], heat, atol=0.02)
    assert objects["summary"].Columns == 1600
    check_valid(sorted(folder.iterdir()))


def test_results_come_with_score_and_are_caught_up_with(
    tmp_path: Path, one: Path, tiny_run: Path, seriatim_command: CommandLine
) -> None:
    command = ["score", one, "--model", tiny_run, "--output", tmp_path / "scores", "--device", "cpu"]
    assert seriatim_command(*command).code == 0  # scored before results were asked for
    command += ["--dicom-results", tmp_path / "results"]
    first = seriatim_command(*command)
    assert first.code == 0
    assert f"DICOM results of 1 series: {tmp_path / 'results'}" in first.out
    files = {path: path.read_bytes() for path in (tmp_path / "results").rglob("*.dcm")}
    assert sorted(path.name for path in files) == ALL
    (row,) = read_rows(tmp_path / "scores" / "scores.csv")
    report = read_results(next(iter(files)).parent)["report"]
    assert numbers(report, "122157")[0] == float(row["probability_bleed"])
    again = seriatim_command(*command)
    assert "DICOM results of 0 series (1 more were there)" in again.out
    assert {path: path.read_bytes() for path in (tmp_path / "results").rglob("*.dcm")} == files
    assert len(read_rows(tmp_path / "results" / "dicom_results.csv")) == 1


def test_filing_can_be_stopped_and_goes_on(tmp_path: Path, one: Path, scorer: Scorer) -> None:
    shutil.copytree(one, tmp_path / "in" / "two")
    for number, path in enumerate(sorted((tmp_path / "in" / "two").iterdir())):
        dataset = pydicom.dcmread(path)
        dataset.SeriesInstanceUID, dataset.SOPInstanceUID = "1.2.77", f"1.2.77.{number}"
        dataset.save_as(path)
    told: list[str] = []
    asked = {"model": scorer, "output": tmp_path / "scores", "device": "cpu",
             "keep": lambda series, prediction: told.append(f"{series.series_uid} {prediction.status}")}
    score(tmp_path / "in", stop=lambda: len(told) == 1, **asked)
    assert len(told) == 1
    score(tmp_path / "in", **asked)
    assert sorted(told[1:]) == sorted({*told, "1.2.77 scored"})


def test_results_come_with_explain(
    tmp_path: Path, one: Path, tiny_run: Path, seriatim_command: CommandLine
) -> None:
    outcome = seriatim_command("explain", one, "--model", tiny_run, "--output", tmp_path / "a", "--device", "cpu",
                               "--top", 2, "--dicom-results", tmp_path / "results")
    assert outcome.code == 0
    assert f"DICOM results of 1 series: {tmp_path / 'results'}" in outcome.out
    assert sorted(path.name for path in (tmp_path / "results").rglob("*.dcm")) == ALL


def test_a_row_that_was_cut_short_is_written_again(tmp_path: Path, one: Path, scorer: Scorer) -> None:
    series, prediction = scored(one, scorer)
    DicomResults(tmp_path / "out", model=scorer, top=1).add(series, prediction)
    table = tmp_path / "out" / "dicom_results.csv"
    whole = table.read_bytes()
    table.write_bytes(whole[:-30])
    again = DicomResults(tmp_path / "out", model=scorer, top=1)
    again.add(series, prediction)
    assert again.counts["written"] == 1
    assert table.read_bytes().endswith(whole[whole.index(b"\n") + 1 :])
    DicomResults(tmp_path / "out", model=scorer, top=1).add(series, prediction)
    assert len(table.read_text().splitlines()) == 3


def test_results_never_lie_in_what_is_scored(
    tmp_path: Path, one: Path, tiny_run: Path, scorer: Scorer, seriatim_command: CommandLine
) -> None:
    with pytest.raises(ConfigError, match="would be scored the next time"):
        DicomResults(one / "results", model=scorer, searched=one.parent)
    outcome = seriatim_command("explain", one, "--model", tiny_run, "--output", tmp_path / "a", "--dicom-results",
                               one / "results")
    assert outcome.code == 2
    assert not (one / "results").exists()


def test_one_bad_series_never_stops_the_others(
    tmp_path: Path, one: Path, scorer: Scorer, caplog: pytest.LogCaptureFixture
) -> None:
    series, prediction = scored(one, scorer)
    results = DicomResults(tmp_path / "out", model=scorer)
    volumes = replace(series, format="nifti")
    assert results.add(volumes, prediction).startswith("NOT_DICOM: the series is nifti")
    for path in one.iterdir():
        path.unlink()
    assert "cannot be read" in results.add(series, prediction)
    failed = replace(prediction, status="failed", reason="TRUNCATED: it is cut.")
    assert results.add(series, failed) == "TRUNCATED: it is cut."
    rows = read_rows(tmp_path / "out" / "dicom_results.csv")
    assert [row["status"] for row in rows] == ["none"] * 3
    assert results.counts["none"] == 3
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["dicom_results.csv"]
    assert str(one) not in caplog.text + "".join(row["reason"] for row in rows)


def test_numbers_are_filed_where_the_pixels_cannot_be_read_again(
    tmp_path: Path, one: Path, scorer: Scorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    series, prediction = scored(one, scorer)

    def fail(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr("seriatim.explanation.dicom_results.read_volume", fail)
    DicomResults(tmp_path / "out", model=scorer).add(series, prediction)
    (row,) = read_rows(tmp_path / "out" / "dicom_results.csv")
    assert (row["status"], row["files"]) == ("partly", "report.dcm;key-images.dcm;attention.dcm")
    assert row["reason"].startswith("summary: MemoryError")


def test_several_models_are_filed_as_one(tmp_path: Path, one: Path, head_ct: Path, tiny_run: Path) -> None:
    train(make_experiment(tmp_path, head_ct, "seed=7", "training.epochs=1"), tmp_path / "other")
    both = load_scorer([tiny_run, tmp_path / "other"])
    series, prediction = scored(one, both)
    assert DicomResults(tmp_path / "out", model=both).add(series, prediction) == ""
    (folder,) = (path for path in (tmp_path / "out").iterdir() if path.is_dir())
    report = read_results(folder)["report"]
    assert numbers(report, "disagreement") == [prediction.disagreement["bleed"]]
    told = " ".join(item.TextValue for item in find_items(report, "TEXT", "111002"))
    assert all(member.digest in told for member in both.members)
    assert f"Threshold chosen on: {both.thresholds_from}." in [
        item.TextValue for item in find_items(report, "TEXT", "121106")]
    assert sorted(path.name for path in folder.iterdir()) == ALL


def test_an_anomaly_model_files_scores_and_places(tmp_path: Path) -> None:
    run = train_run(tmp_path / "train", [{"kind": "memory", "size": 40}], slices=True, task={"norms_by": "none"})
    strange = draw_clip(9)
    strange[8:11, 5:25, 5:25] = 255
    write_slices(tmp_path / "in", strange)
    model = load_anomaly_model(run)
    series, prediction = scored(tmp_path / "in", replace(model, outside="note"))
    assert prediction.events
    assert DicomResults(tmp_path / "out", model=model).add(series, prediction) == ""
    (folder,) = (path for path in (tmp_path / "out").iterdir() if path.is_dir())
    objects = read_results(folder)
    assert sorted(objects) == ["anomaly", "key-images", "report", "summary"]
    assert numbers(objects["report"], "anomaly_score") == [
        prediction.probabilities["anomaly"], *prediction.slice_scores["anomaly"]]
    peak = max(prediction.events, key=lambda event: event[3])[2]
    first = find_items(objects["key-images"], "IMAGE")[0].ReferencedSOPSequence[0]
    assert first.ReferencedSOPInstanceUID == series.instances[peak].sop_instance_uid
    check_valid(sorted(folder.iterdir()))


def test_a_clip_has_no_maps_and_says_why(tmp_path: Path) -> None:
    run = train_run(tmp_path / "train", [{"kind": "gaussian"}])
    model = replace(load_anomaly_model(run), outside="note")
    write_cine(tmp_path / "in" / "clip.dcm", draw_clip(9), FrameTime=40.0)
    series, prediction = scored(tmp_path / "in", model)
    assert prediction.status == "scored", prediction.reason
    DicomResults(tmp_path / "out", model=model).add(series, prediction)
    (row,) = read_rows(tmp_path / "out" / "dicom_results.csv")
    assert "report.dcm" in row["files"]
    assert "summary.dcm" in row["files"]


def told_of(attention: list[float], scores: list[float] | None = None) -> Prediction:
    count = len(attention)
    return Prediction(
        study_uid="1.2", series_uid="1.3", path=Path("x"), modality="CT", status="scored",
        sop_instance_uids=tuple(map(str, range(count))), positions=np.arange(count), attention=np.array(attention),
        slice_scores={} if scores is None else {"a": np.array(scores)},
    )  # fmt: skip


@pytest.mark.parametrize(("attention", "scores", "chosen"), [
    ([0.2, 0.5, 0.3], None, (1, 2)), ([1 / 3] * 3, [0.1, 0.2, 0.9], (2, 1)), ([1 / 3] * 3, None, ()),
    ([1.0], None, (0,)),
])
def test_key_images_are_those_that_the_model_prefers(
    attention: list[float], scores: list[float] | None, chosen: tuple[int, ...]
) -> None:
    assert choose_top(told_of(attention, scores), anomaly=False, top=2)[0] == chosen


def test_a_calibrated_model_is_called_one_and_others_are_not(one: Path, scorer: Scorer) -> None:
    assert not gather_numbers(*scored(one, scorer), scorer, top=2).calibrated


def test_of_several_classes_the_one_explained_ranks_the_images() -> None:
    values = np.stack([np.arange(12.0), np.ones(12)], axis=1)
    told = rank(explanation_of(classes=("bleed", "old"), label="bleed", attributions={"leave_out": values},
                               shown_attribution="leave_out"))
    np.testing.assert_array_equal(told["attribution"].values, np.arange(12.0))
    assert told["attribution"].label == "bleed"
    assert not rank(explanation_of(classes=("bleed", "old"), label="old", attributions={"leave_out": values},
                                   shown_attribution="leave_out"))  # nothing to rank by


@pytest.mark.parametrize("axes", [(1, 2), (2, 1)])
@pytest.mark.parametrize("signs", [(1, 1), (-1, 1), (1, -1)])
def test_what_is_turned_is_turned_back(axes: tuple[int, int], signs: tuple[int, int]) -> None:
    affine = np.eye(4)[:, [axes[0] - 1, axes[1] - 1, 2, 3]] * np.array([*signs, 1, 1])
    array = np.arange(2 * 3 * 4).reshape(2, 3, 4)
    np.testing.assert_array_equal(turn_back(orient(array, affine), affine), array)
    assert turn_back(array, None) is array
