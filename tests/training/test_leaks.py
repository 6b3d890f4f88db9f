"""Splits that share images: refused, told, and kept out of nobody's sight."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pydicom
import pytest
import torch
from pydicom.encaps import encapsulate
from pydicom.uid import RLELossless, generate_uid

from seriatim.errors import ConfigError
from seriatim.io import find_series, read_volume
from seriatim.training import train
from seriatim.training.traits import measure_traits, pack_traits, unpack_traits
from seriatim.transforms.preprocessing import CTSettings
from tiny_runs import make_experiment, read_rows, write_rows


def copy_series(source: Path, target: Path, *, brighter: int = 0) -> None:
    """The same images of another patient: other UIDs, another name, and ``brighter`` in every pixel of the body."""
    study, series = generate_uid(), generate_uid()
    target.mkdir()
    for index, path in enumerate(sorted(source.iterdir())):
        dataset = pydicom.dcmread(path)
        dataset.PatientID, dataset.PatientName = "SECRET-7", "Nobody^Known"
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID = study, series, generate_uid()
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        pixels = dataset.pixel_array
        dataset.PixelData = (pixels + brighter * (pixels > pixels.min() + 500)).astype(pixels.dtype).tobytes()
        dataset.save_as(target / f"{index:03}.dcm")


@pytest.fixture
def leaky(tmp_path: Path, head_ct: Path) -> tuple[Path, list[dict[str, str]]]:
    """The folder and the manifest rows of a data set, to which a test adds a copy of its first training series."""
    rows = [{**row, "path": str(head_ct / row["path"])} for row in read_rows(head_ct / "labels.csv")]
    return tmp_path, rows


def add_copy(folder: Path, rows: list[dict[str, str]], *, split: str, brighter: int = 0) -> Path:
    first = next(row for row in rows if row["split"] == "train")
    copy_series(Path(first["path"]), folder / "copy", brighter=brighter)
    extra = {**first, "path": str(folder / "copy"), "patient": "SECRET-7", "series_uid": "", "split": split}
    return write_rows(folder / "labels.csv", [*rows, extra])


@pytest.mark.parametrize("split", ["val", "test"])
@pytest.mark.parametrize("brighter", [0, 40])
def test_a_copy_under_another_patient_in_another_split_is_refused(
    leaky: tuple[Path, list[dict[str, str]]], head_ct: Path, split: str, brighter: int
) -> None:
    folder, rows = leaky
    manifest = add_copy(folder, rows, split=split, brighter=brighter)
    experiment = make_experiment(folder, head_ct, f"data.manifest={manifest}", "training.epochs=1")
    line = 2 + next(index for index, row in enumerate(rows) if row["split"] == "train")
    with pytest.raises(ConfigError) as refused:
        train(experiment, folder / "run")
    told = str(refused.value)
    assert f"manifest lines {line} (train) and {len(rows) + 2} ({split})" in told
    assert ("pixel by pixel" in told) is (brighter == 0)
    assert not any(secret in told for secret in ("SECRET", "Nobody", rows[0]["patient"]))


def test_a_near_copy_can_be_told_instead_and_a_resume_keeps_what_was_found(
    leaky: tuple[Path, list[dict[str, str]]], head_ct: Path, caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder, rows = leaky
    manifest = add_copy(folder, rows, split="test", brighter=40)
    experiment = make_experiment(folder, head_ct, f"data.manifest={manifest}", "training.epochs=1",
                                 "data.near_duplicates=warn")
    train(experiment, folder / "run")
    assert "nearly" in caplog.text
    found = json.loads((folder / "run" / "split.json").read_text())["duplicates"]
    assert found["nearly_the_same"] == 1
    assert found["lines"][0][1] == len(rows) + 2
    assert found["compared"] == len(rows) + 1
    monkeypatch.setattr("seriatim.training.leaks.prove_no_duplicates", lambda *_: pytest.fail("compared again"))
    train(experiment, folder / "run", resume=True)
    assert json.loads((folder / "run" / "split.json").read_text())["duplicates"] == found


def test_a_copy_without_labels_judges_nothing_and_may_stand_beside_training(
    leaky: tuple[Path, list[dict[str, str]]], head_ct: Path
) -> None:
    folder, rows = leaky
    manifest = add_copy(folder, rows, split="unlabelled")
    options = (f"data.manifest={manifest}", "training.epochs=1", "pretraining={epochs: 1}")
    train(make_experiment(folder, head_ct, *options), folder / "run")
    found = json.loads((folder / "run" / "split.json").read_text())["duplicates"]
    assert (found["same"], found["compared"]) == (0, len(rows) + 1)
    for row in rows:
        row["split"] = {"train": "val", "val": "train"}.get(row["split"], row["split"])
    write_rows(manifest, [*rows, read_rows(manifest)[-1]])
    with pytest.raises(ConfigError, match="pixel by pixel"):  # as it could, learnt from, beside validation
        train(make_experiment(folder, head_ct, *options), folder / "other")
    train(make_experiment(folder, head_ct, *options[:2]), folder / "other")  # where nothing learns from it
    found = json.loads((folder / "other" / "split.json").read_text())["duplicates"]
    assert found["compared"] == len(rows)


def test_what_is_not_asked_for_is_not_compared(leaky: tuple[Path, list[dict[str, str]]], head_ct: Path) -> None:
    folder, rows = leaky
    manifest = add_copy(folder, rows, split="test")
    for index, setting in enumerate(("data.compare_test=false", "data.near_duplicates=ignore")):
        run = folder / f"run{index}"
        train(make_experiment(folder, head_ct, f"data.manifest={manifest}", "training.epochs=1", setting), run)
        compared = json.loads((run / "split.json").read_text())["duplicates"]["compared"]
        assert compared == (0 if index else sum(row["split"] != "test" for row in rows))


def test_a_copy_in_the_same_split_trains(leaky: tuple[Path, list[dict[str, str]]], head_ct: Path) -> None:
    folder, rows = leaky
    manifest = add_copy(folder, rows, split="train")
    train(make_experiment(folder, head_ct, f"data.manifest={manifest}", "training.epochs=1"), folder / "run")


def test_a_test_series_that_cannot_be_read_stops_nothing(
    leaky: tuple[Path, list[dict[str, str]]], head_ct: Path
) -> None:
    folder, rows = leaky
    first = next(row for row in rows if row["split"] == "test")
    shutil.copytree(first["path"], folder / "torn")
    for victim in (folder / "torn").iterdir():
        dataset = pydicom.dcmread(victim)
        dataset.file_meta.TransferSyntaxUID = RLELossless
        dataset.PixelData = encapsulate([b"no RLE at all"])
        dataset["PixelData"].VR = "OB"
        dataset.save_as(victim)
    first["path"] = str(folder / "torn")
    manifest = write_rows(folder / "labels.csv", rows)
    train(make_experiment(folder, head_ct, f"data.manifest={manifest}", "training.epochs=1"), folder / "run")
    manifest_rows = read_rows(folder / "run" / "manifest.csv")
    found = json.loads((folder / "run" / "split.json").read_text())["duplicates"]
    assert found["not_read"] == 1
    assert found["compared"] == sum(row["status"] == "used" for row in manifest_rows) - 1


def test_traits_lie_in_the_embedding_store(tmp_path: Path, head_ct: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = ("training.mode=two-stage", f"training.embedding_store={tmp_path / 'store'}", "training.epochs=1")
    train(make_experiment(tmp_path, head_ct, *options), tmp_path / "first")
    monkeypatch.setattr("seriatim.training.dataset.read_volume", lambda *_, **__: pytest.fail("read again"))
    train(make_experiment(tmp_path, head_ct, *options), tmp_path / "second")
    first, second = ((tmp_path / run / "model.json").read_text() for run in ("first", "second"))
    assert json.loads(first)["envelope"] == json.loads(second)["envelope"]
    assert (tmp_path / "first" / "split.json").read_bytes() == (tmp_path / "second" / "split.json").read_bytes()


def test_packed_traits_are_the_same_traits(head_ct: Path) -> None:
    series = find_series(head_ct / read_rows(head_ct / "labels.csv")[0]["path"]).series[0]
    prepared = CTSettings(size=(32, 32)).prepare(read_volume(series))
    prepared[2] = -1000.0  # shows nothing
    traits = measure_traits(prepared, slices=len(prepared))
    assert len(traits.digests) == len(prepared) - 1
    again = unpack_traits(pack_traits(traits, slices=len(prepared)))
    assert (again.signs == traits.signs).all()
    assert (again.digests == traits.digests).all()
    assert again.intensity == pytest.approx(traits.intensity)
    blank = measure_traits(torch.zeros(3, 32, 32), slices=3)
    assert len(unpack_traits(pack_traits(blank, slices=3)).digests) == 0


def test_a_study_in_two_splits_is_told_though_its_series_have_other_patients_and_images(
    leaky: tuple[Path, list[dict[str, str]]], head_ct: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder, rows = leaky
    chosen = [next(row for row in rows if row["split"] == split) for split in ("train", "val")]
    for row in chosen:
        own = folder / Path(row["path"]).name
        shutil.copytree(row["path"], own)
        for path in own.iterdir():
            dataset = pydicom.dcmread(path)
            dataset.StudyInstanceUID = "1.2.826.0.1.7"
            dataset.save_as(path)
        row["path"], row["study_uid"] = str(own), "1.2.826.0.1.7"
    manifest = write_rows(folder / "labels.csv", rows)
    train(make_experiment(folder, head_ct, f"data.manifest={manifest}", "training.epochs=1"), folder / "run")
    lines = " and ".join(str(line) for line in sorted(2 + rows.index(row) for row in chosen))
    assert f"manifest lines {lines}, 1 such studies in all" in caplog.text
    assert not any(row["patient"] in caplog.text for row in rows)
