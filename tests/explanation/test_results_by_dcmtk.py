"""Reports of a whole `score --dicom-results` as dcmtk reads them: each number with its image, whatever the source."""

from __future__ import annotations

import random
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import EnhancedCTImageStorage

from seriatim.io import find_series, read_volume
from seriatim.io.volumes.nifti_write import write_nifti
from seriatim.training import train
from tiny_runs import CLIP_CONFIG, CommandLine, make_experiment, read_rows, write_rows

pytest.importorskip("highdicom", reason="the extra dicom-results is not installed")
sys.path.append(str(Path(__file__).parents[1] / "io"))

from dicom_files import make_enhanced, save
from results_of import check_valid

from anomaly_runs import draw_clip, train_run, write_cine, write_clip, write_slices

pytestmark = [pytest.mark.slow,
              pytest.mark.skipif(shutil.which("dsrdump") is None, reason="dsrdump of dcmtk is not installed")]
ITEM = re.compile(r' *<(?P<how>[a-z ]+) (?P<kind>[A-Z]+):\(,,"(?P<name>[^"]*)"\)=(?P<value>.*)>')
Image = tuple[str, int]


def dump(path: Path) -> list[tuple[str, str, str]]:
    """(kind, name, value) of every content item, in order, by dsrdump."""
    run = subprocess.run(["dsrdump", "-q", "-Ph", "+Pu", "+Pl", str(path)], capture_output=True, text=True, check=True)
    return [(found["kind"], found["name"], found["value"]) for found in map(ITEM.fullmatch, run.stdout.splitlines())
            if found]


def read_groups(path: Path) -> list[tuple[str, dict[str, float], list[Image]]]:
    """(tracking identifier, numbers by name, images) of each measurement group; frames count from 0, as in tables."""
    groups: list[tuple[str, dict[str, float], list[Image]]] = []
    for kind, name, value in dump(path):
        if name == "Measurement Group":
            groups.append(("", {}, []))
        elif name == "Tracking Identifier":
            groups[-1] = (value.strip('"'), *groups[-1][1:])
        elif kind == "NUM" and groups:
            groups[-1][1][name] = float(value.split('"')[1])
        elif kind == "IMAGE" and name == "Source of Measurement":
            uid = value.split('"')[1]
            frames = re.findall(r"\d+", value.split('"')[2].partition(",")[2])
            groups[-1][2].extend([(uid, int(one) - 1) for one in frames] or [(uid, 0)])
    return groups


def write_sources(folder: Path, head_ct: Path) -> None:
    """The same head as a shuffled series, as one enhanced object stored from the top, and as NIfTI."""
    source = head_ct / read_rows(head_ct / "labels.csv")[0]["path"]
    found = sorted(source.iterdir())
    random.Random(3).shuffle(found)
    (folder / "shuffled").mkdir(parents=True)
    for number, path in enumerate(found):
        dataset = pydicom.dcmread(path)
        dataset.InstanceNumber = number + 1
        dataset.save_as(folder / "shuffled" / f"{number:03}.dcm")
    volume = read_volume(find_series(source).series[0])
    assert volume.affine is not None
    heights = volume.positions[::-1]
    places = np.column_stack([np.zeros((len(heights), 2)), heights])
    stored = (volume.array[::-1] + 1024).astype("<u2")
    enhanced = make_enhanced(stored, places, [{} for _ in heights], [1.0] * len(heights))
    enhanced.SOPClassUID, enhanced.Modality = EnhancedCTImageStorage, "CT"
    enhanced.file_meta.MediaStorageSOPClassUID = EnhancedCTImageStorage
    enhanced.StudyInstanceUID, enhanced.SeriesInstanceUID, enhanced.SOPInstanceUID = "1.2.50", "1.2.51", "1.2.52"
    enhanced.file_meta.MediaStorageSOPInstanceUID = "1.2.52"
    save(enhanced, folder / "enhanced.dcm")
    write_nifti(folder / "head.nii.gz", volume.array.astype(np.float32), affine=volume.affine)


@pytest.fixture(scope="module")
def two_label_run(tmp_path_factory: pytest.TempPathFactory, head_ct: Path) -> Path:
    """A calibrated model of two labels with slice scores."""
    folder = tmp_path_factory.mktemp("two-labels")
    rows, slices = read_rows(head_ct / "labels.csv"), read_rows(head_ct / "slices.csv")
    for number, row in enumerate(rows):
        row |= {"path": str(head_ct / row["path"]), "old blood": str(number % 2)}
    odd = {row["series_uid"] for row in rows if row["old blood"] == "1"}
    write_rows(folder / "slices.csv", [{**row, "old blood": int(row["series_uid"] in odd)} for row in slices])
    write_rows(folder / "labels.csv", rows)
    content = {**CLIP_CONFIG, "data": {"manifest": "labels.csv", "slice_labels": "slices.csv"},
               "task": {"kind": "diagnosis", "target": "multilabel", "labels": ["bleed", "old blood"],
                        "slice_loss_weight": 1.0, "calibration": "platt"}}
    train(make_experiment(folder, folder, content=content), folder / "run")
    return folder / "run"


def check_report(row: dict[str, str], slices: list[dict[str, str]], path: Path, labels: dict[str, str]) -> None:
    """Compare a report with the rows of scores.csv and slices.csv; ``labels`` maps class to whether calibrated."""
    images = [(one["sop_instance_uid"], int(one["frame"] or 0)) for one in slices]
    groups = read_groups(path)
    for label in labels:
        (of_class,) = [group for group in groups if group[0] == f"series: {label}"]
        assert of_class[1]["Probability"] == pytest.approx(float(row[f"probability_{label}"]), abs=1e-6)
        assert sorted(of_class[2]) == sorted(images)
        if f"score_{label}" not in slices[0]:
            continue
        by_image = {group[2][0]: group[1] for group in groups if "Probability" in group[1] and len(group[2]) == 1
                    and group[0].endswith(f": {label}")}
        assert list(by_image) == images  # in the order of the patient, not of the files
        for one, image in zip(slices, images, strict=True):
            assert by_image[image]["Probability"] == pytest.approx(float(one[f"score_{label}"]), abs=1e-6)
    weights = {group[2][0]: group[1][name] for group in groups for name in group[1] if name.startswith("Attention")}
    expected = {image: float(one["attention"]) for one, image in zip(slices, images, strict=True)}
    assert weights == pytest.approx(expected, abs=1e-6)
    derived = Counter(value.split(",")[0].strip("(") for _, name, value in dump(path) if name == "Derivation")
    of_slices = sum(f"score_{label}" in slices[0] for label in labels) * len(images)
    assert derived == Counter([*labels.values(), *(["uncalibrated"] * of_slices)])


def test_each_number_stands_with_its_image_in_every_kind_of_source(
    tmp_path: Path, head_ct: Path, two_label_run: Path, seriatim_command: CommandLine
) -> None:
    write_sources(tmp_path / "in", head_ct)
    ran = seriatim_command("score", tmp_path / "in", "--model", two_label_run, "--output", tmp_path / "scores",
                           "--dicom-results", tmp_path / "results", "--outside", "note", "--device", "cpu")
    assert ran.code == 0, ran.err  # the batch goes on beside what cannot be filed
    filed = {row["series_uid"]: row for row in read_rows(tmp_path / "results" / "dicom_results.csv")}
    all_slices = read_rows(tmp_path / "scores" / "slices.csv")
    for row in read_rows(tmp_path / "scores" / "scores.csv"):
        told = filed.pop(row["series_uid"])
        if row["path"].endswith(".nii.gz"):
            assert told["reason"].startswith("NOT_DICOM: the series is nifti")
            assert (told["status"], told["files"]) == ("none", "")
            continue
        assert told["status"] == "written", told["reason"]
        folder = tmp_path / "results" / told["folder"]
        assert sorted(told["files"].split(";")) == sorted(path.name for path in folder.iterdir())
        check_valid(sorted(folder.iterdir()))
        slices = [one for one in all_slices if one["series_uid"] == row["series_uid"]]
        check_report(row, slices, folder / "report.dcm", {"bleed": "calibrated", "old blood": "calibrated"})
    assert not filed


def test_frames_of_a_clip_have_their_numbers(tmp_path: Path, seriatim_command: CommandLine) -> None:
    rows = [{"path": write_clip(tmp_path / f"c{number}", draw_clip(number)), "patient": number, "bleed": number % 2,
             "split": "train" if number < 4 else "val"} for number in range(8)]
    write_rows(tmp_path / "labels.csv", rows)
    train(make_experiment(tmp_path, tmp_path, content=CLIP_CONFIG), tmp_path / "run")
    write_cine(tmp_path / "in" / "clip.dcm", draw_clip(9), FrameTime=40.0)
    ran = seriatim_command("score", tmp_path / "in", "--model", tmp_path / "run", "--output", tmp_path / "scores",
                           "--dicom-results", tmp_path / "results", "--outside", "note", "--device", "cpu")
    assert ran.code == 0, ran.err
    (row,), slices = read_rows(tmp_path / "scores" / "scores.csv"), read_rows(tmp_path / "scores" / "slices.csv")
    (told,) = read_rows(tmp_path / "results" / "dicom_results.csv")
    assert told["status"] == "partly"
    assert told["reason"].startswith("attention: MISSING_GEOMETRY")
    assert [one["frame"] for one in slices] == [str(number) for number in range(18)]
    folder = tmp_path / "results" / told["folder"]
    check_report(row, slices, folder / "report.dcm", {"bleed": "uncalibrated"})
    check_valid(sorted(folder.iterdir()))


def test_an_anomaly_model_scores_images_not_probabilities(tmp_path: Path, seriatim_command: CommandLine) -> None:
    run = train_run(tmp_path / "train", [{"kind": "memory", "size": 40}], slices=True, task={"norms_by": "none"})
    write_slices(tmp_path / "in", draw_clip(9))
    ran = seriatim_command("score", tmp_path / "in", "--model", run, "--output", tmp_path / "scores",
                           "--dicom-results", tmp_path / "results", "--device", "cpu", "--outside", "note")
    assert ran.code == 0, ran.err
    (told,) = read_rows(tmp_path / "results" / "dicom_results.csv")
    groups = read_groups(tmp_path / "results" / told["folder"] / "report.dcm")
    names = {name for _, numbers, _ in groups for name in numbers}
    assert not any("Probability" in name for name in names)
    score = "Anomaly score, 0.5 at the threshold, no probability"
    by_image = {images[0][0]: numbers[score] for name, numbers, images in groups if name.startswith("image")
                and score in numbers}
    slices = read_rows(tmp_path / "scores" / "slices.csv")
    assert by_image == pytest.approx({one["sop_instance_uid"]: float(one["score_anomaly"]) for one in slices}, abs=1e-6)
