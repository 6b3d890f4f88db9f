"""POCUS in both forms: class from the name, no group in two folds, clips used in place."""

from __future__ import annotations

import csv
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from seriatim.datasets import get_dataset, pocus
from seriatim.errors import InputError
from seriatim.experiment import Experiment
from seriatim.io import find_series
from seriatim.io.tables.manifest import read_manifest
from seriatim.training.examples import gather_examples

SHARED = Path(__file__).parents[3] / "shared" / "data" / "pocus_lus"
CLIPS = (
    "Cov-Atlas+(44).gif", "Cov-Atlas-Day+1.gif", "cov_denault_proposedUS_vid1.gif", "Cov_denault_proposedUS_vid10.gif",
    "Pneu_liftl_pneu_case3_clip3.gif", "Reg_liftl_case3_clip2.gif", "Reg_liftl_pneucase3_clip1.gif",
    "Pneu_northumbria_0409_set1_vid1.gif", "Reg_northumbria_0409_set1_vid2.gif", "Reg_northumbria_1009_vid1.gif",
    "Reg_pat1Image_132943.gif", "Reg_pat1Image_133043.gif", "Reg_pat2Image_133824.gif", "Reg_Image_182106_crop.gif",
    "Vir_whitelung_h1n1.gif",
)


def read_rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def write_repository(folder: Path) -> Path:
    videos = folder / "data" / "pocus_videos" / "convex"
    videos.mkdir(parents=True)
    for shade, name in enumerate(CLIPS):
        frames = [Image.fromarray(np.full((16, 16), grey + shade, np.uint8)) for grey in (0, 100, 200)]
        frames[0].save(videos / name, save_all=True, append_images=frames[1:], duration=100)
    (videos / "notes.txt").write_text("no video")
    linear = videos.with_name("linear")
    linear.mkdir()
    (linear / "Cov-Atlas-pleural.gif").write_bytes(b"other probe")
    (folder / "data" / "dataset_metadata.csv").write_text(
        "Filename,License,Source ID,Patient ID / Name,Effusion,Effusion\n"
        "Cov-Atlas-+(44),CC BY-NC 4.0,2,36,,\n"
        "Reg_pat1Image_132943,CC BY 4.0,14,4\n"  # a short row, as the publisher has them
        'Reg_Image_182106_crop,CC BY 4.0,14,4,"two\nlines",x,y,z\n'
    )
    return folder


@pytest.mark.parametrize("packed", [False, True])
def test_clips_get_label_group_fold_and_licence(tmp_path: Path, packed: bool) -> None:
    folder = write_repository(tmp_path / "covid19_ultrasound-master")
    material = folder
    if packed:
        material = tmp_path / "packed" / pocus.FILE.name
        material.parent.mkdir()
        with zipfile.ZipFile(material, "w") as archive:
            for path in sorted(folder.rglob("*")):
                archive.write(path, path.relative_to(tmp_path))
    output = tmp_path / "out"
    output.mkdir()
    prepared = pocus.prepare(material, output)
    rows = {Path(row["path"]).name: row for row in read_rows(output / "labels.csv")}
    assert prepared.series == len(rows) == len(CLIPS) - 1
    assert {name: row["label"] for name, row in rows.items() if name.lower().startswith("cov")} == {
        name: "covid" for name in CLIPS if name.lower().startswith("cov")}
    assert rows["Cov-Atlas+(44).gif"]["licence"] == "CC BY-NC 4.0"
    group = {name: row["patient"] for name, row in rows.items()}
    for same in (CLIPS[0:2], CLIPS[2:4], CLIPS[4:7], CLIPS[7:9], (CLIPS[10], CLIPS[11], CLIPS[13])):
        assert len({group[name] for name in same}) == 1, same
    assert len(set(group.values())) == 7
    assert len({(row["patient"], row["fold"]) for row in rows.values()}) == 7
    for case in read_manifest(output / "labels.csv"):
        (series,) = find_series(case.path).series
        assert series.usable
        assert len(series.instances) == 3


def test_the_config_keeps_fold_0_out(tmp_path: Path) -> None:
    got = get_dataset("pocus", tmp_path / "out", source=str(write_repository(tmp_path / "in")), accept_licence=True)
    experiment = Experiment.read(got.config)
    examples = gather_examples(experiment, experiment.task.build(), check=lambda _: None)
    assert len(examples.used) == got.series
    assert {example.case.row["fold"] for example in examples.of("test")} == {"0"}
    assert {example.case.row["fold"] for example in examples.of("train")} & {"0"} == set()


def test_copies_join_groups_and_count_once(tmp_path: Path) -> None:
    videos = write_repository(tmp_path / "in") / "data" / "pocus_videos" / "convex"
    (videos / "Cov_other_set_vid1.gif").write_bytes((videos / "Cov-Atlas+(44).gif").read_bytes())
    (videos / "Reg_liar_vid1.gif").write_bytes((videos / "Pneu_northumbria_0409_set1_vid1.gif").read_bytes())
    (videos / "Cov_other_set_vid2.gif").write_bytes((videos / "Reg_northumbria_1009_vid1.gif").read_bytes() + b"!")
    (tmp_path / "out").mkdir()
    prepared = pocus.prepare(tmp_path / "in", tmp_path / "out")
    rows = {Path(row["path"]).name: row for row in read_rows(tmp_path / "out" / "labels.csv")}
    assert rows["Cov_other_set_vid2.gif"]["patient"] == rows["Cov-Atlas+(44).gif"]["patient"]
    assert not rows.keys() & {"Cov_other_set_vid1.gif", "Reg_liar_vid1.gif", "Pneu_northumbria_0409_set1_vid1.gif"}
    assert any(note.startswith("3 clips were left out as copies") for note in prepared.notes)


def test_what_is_neither_form_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no data/pocus_videos/convex.* name the folder it lies in: --from FOLDER"):
        pocus.prepare(tmp_path, tmp_path)
    (tmp_path / "bad.zip").write_bytes(b"no archive")
    with pytest.raises(InputError, match="no ZIP archive"):
        pocus.prepare(tmp_path / "bad.zip", tmp_path)


def test_a_member_that_leaves_the_archive_is_no_clip(tmp_path: Path) -> None:
    bad = tmp_path / "bad.zip"
    with zipfile.ZipFile(bad, "w") as archive:
        archive.writestr("../data/pocus_videos/convex/Cov_evil.gif", b"GIF89a")
    with pytest.raises(InputError, match="no data/pocus_videos/convex"):
        pocus.prepare(bad, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.zip"]


@pytest.mark.shared
def test_the_shared_copy_keeps_its_groups_and_folds(tmp_path: Path) -> None:
    if not SHARED.is_dir():
        pytest.skip("needs ../shared/data/pocus_lus")
    assert pocus.prepare(SHARED, tmp_path).series == 96
    rows = read_rows(tmp_path / "labels.csv")
    assert {label: sum(row["label"] == label for row in rows) for label in ("covid", "pneumonia", "regular")} == {
        "covid": 22, "pneumonia": 29, "regular": 45}
    assert len({row["patient"] for row in rows}) == len({(row["patient"], row["fold"]) for row in rows}) == 39


@pytest.mark.shared
def test_groups_by_name_never_split_a_group_that_was_made_by_hand(tmp_path: Path) -> None:
    if not SHARED.is_dir():
        pytest.skip("needs ../shared/data/pocus_lus")
    table = read_rows(SHARED / "index.csv")
    keys = {row["original_file"]: [pocus.recording(Path(row["original_file"]).stem),
                                   f"{row['source_id']} {row['patient_id']}"] for row in table}
    groups = pocus.group_clips(keys)
    ours = {row["group"]: {groups[other["original_file"]] for other in table if other["group"] == row["group"]}
            for row in table}
    assert all(len(group) == 1 for group in ours.values())
    assert len(set(groups.values())) > 25
