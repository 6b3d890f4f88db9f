"""MedMNIST3D files become volumes that a run reads as they were, or are refused."""

from __future__ import annotations

import csv
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from npz_sets import ADRENAL, SMALL, SMALL_CLASSES, write_npz
from numpy.lib import format as npy

from seriatim.datasets.medmnist import SPECS, datasets, prepare
from seriatim.errors import InputError
from seriatim.experiment import Experiment
from seriatim.io import find_series, read_volume

ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared" / "data" / "adrenalmnist3d_64"


def read_rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_volumes_come_back_voxel_by_voxel_in_the_order_of_the_file(tmp_path: Path) -> None:
    arrays = write_npz(tmp_path / "copy.npz")
    prepared = prepare(tmp_path, tmp_path / "out", spec=SMALL, size=28)
    rows = read_rows(tmp_path / "out" / "labels.csv")
    assert prepared.series == len(rows) == 13
    assert [row["split"] for row in rows] == ["train"] * 6 + ["val"] * 3 + ["test"] * 4
    assert len({row["patient"] for row in rows}) == 13
    for row in rows:
        split, index = row["patient"].split("_")
        (series,) = find_series(tmp_path / "out" / row["path"]).series
        volume = read_volume(series)
        stored = arrays[f"{split}_images"][int(index)]
        np.testing.assert_array_equal(volume.array, stored)
        assert series.spacing_mm == (2.0, 2.0, 2.0)
        assert row["finding"] == str(arrays[f"{split}_labels"][int(index), 0])


def test_the_network_sees_rows_and_columns_as_they_are_stored(tmp_path: Path) -> None:
    arrays = write_npz(tmp_path / "copy.npz")
    prepared = prepare(tmp_path, tmp_path / "out", spec=SMALL, size=28)
    content = {"name": "x", "data": {"manifest": "labels.csv"}, **prepared.config}
    experiment = Experiment.from_content(content, where="test", folder=tmp_path / "out")
    (series,) = find_series(tmp_path / "out" / "volumes" / "train_0002.nii.gz").series
    seen = experiment.preprocessing.prepare(read_volume(series))
    torch.testing.assert_close(seen, torch.as_tensor(arrays["train_images"][2]) / 255)


def test_classes_are_named(tmp_path: Path) -> None:
    write_npz(tmp_path / "copy.npz", spec=SMALL_CLASSES)
    prepared = prepare(tmp_path, tmp_path / "out", spec=SMALL_CLASSES, size=28)
    rows = read_rows(tmp_path / "out" / "labels.csv")
    assert [row["label"] for row in rows[:4]] == ["a", "b", "c", "a"]
    assert prepared.config["task"]["classes"] == ["a", "b", "c"]
    assert any("1 mm stands for it" in note for note in prepared.notes)


def test_a_copy_without_test_is_taken_and_said(tmp_path: Path) -> None:
    write_npz(tmp_path / "part.npz", splits=("train", "val"))
    prepared = prepare(tmp_path / "part.npz", tmp_path / "out", spec=SMALL, size=28)
    assert prepared.series == 9
    assert "This copy has no test split." in prepared.notes
    assert "not the publisher's file" in prepared.check


def test_a_volume_in_two_splits_is_said(tmp_path: Path) -> None:
    arrays = write_npz(tmp_path / "copy.npz")
    arrays["test_images"][1] = arrays["train_images"][0]
    np.savez(tmp_path / "copy.npz", **arrays)
    prepared = prepare(tmp_path, tmp_path / "out", spec=SMALL, size=28)
    assert any(note.startswith("1 volumes are equal") for note in prepared.notes)


def test_the_published_name_needs_the_published_checksum(tmp_path: Path) -> None:
    write_npz(tmp_path / "smallmnist3d.npz")
    with pytest.raises(InputError, match="published is 000"):
        prepare(tmp_path, tmp_path / "out", spec=SMALL, size=28)


@pytest.mark.parametrize(("spec", "size"), [(ADRENAL, 28), (SMALL, 64)])
def test_another_set_or_size_is_refused(tmp_path: Path, spec: object, size: int) -> None:
    write_npz(tmp_path / "copy.npz")
    with pytest.raises(InputError, match="is not that of"):
        prepare(tmp_path / "copy.npz", tmp_path / "out", spec=spec, size=size)
    with pytest.raises(InputError, match=r"none does\. Get it from https://"):
        prepare(tmp_path, tmp_path / "out", spec=spec, size=size)


def test_python_objects_are_never_unpickled(tmp_path: Path) -> None:
    np.savez(tmp_path / "evil.npz", train_images=np.array([{"a": 1}], dtype=object))
    with pytest.raises(InputError, match="never unpickled"):
        prepare(tmp_path / "evil.npz", tmp_path / "out", spec=SMALL, size=28)


def test_a_bomb_and_a_cut_file_are_refused(tmp_path: Path) -> None:
    write_npz(tmp_path / "whole.npz")
    cut = tmp_path / "cut.npz"
    cut.write_bytes((tmp_path / "whole.npz").read_bytes()[:-400])
    with pytest.raises(InputError, match="no whole NPZ"):
        prepare(cut, tmp_path / "out", spec=SMALL, size=28)
    bomb = tmp_path / "bomb.npz"
    with zipfile.ZipFile(tmp_path / "whole.npz") as source, zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as target:
        for name in source.namelist():
            extra = bytes(1 << 22) if name.startswith("train_images") else b""
            target.writestr(name, source.read(name) + extra)
    with pytest.raises(InputError, match="more than its header says"):
        prepare(bomb, tmp_path / "out", spec=SMALL, size=28)


def test_a_label_beyond_the_classes_is_refused(tmp_path: Path) -> None:
    arrays = write_npz(tmp_path / "copy.npz")
    arrays["val_labels"][1] = 7
    np.savez(tmp_path / "copy.npz", **arrays)
    with pytest.raises(InputError, match="has the label 7"):
        prepare(tmp_path, tmp_path / "out", spec=SMALL, size=28)


def test_there_are_twelve_sets_with_checksums_and_legal_configs() -> None:
    sets = list(datasets())
    assert len(sets) == 12
    assert len({dataset.file.md5 for dataset in sets}) == 12
    assert all(len(dataset.file.md5 or "") == 32 for dataset in sets)
    assert sum(sum(spec.counts) for spec in SPECS) == 9996  # the paper says 9,998; info.py adds up to this


@pytest.mark.slow
@pytest.mark.shared
def test_the_shared_copy_is_read_as_it_is(tmp_path: Path) -> None:
    if not SHARED.is_dir():
        pytest.skip("needs ../shared/data/adrenalmnist3d_64")
    prepared = prepare(SHARED, tmp_path, spec=ADRENAL, size=64)
    rows = read_rows(tmp_path / "labels.csv")
    counts = {(split, label): sum(r["split"] == split and r["hyperplasia"] == label for r in rows)
              for split in ("train", "val") for label in "01"}
    assert counts == {("train", "0"): 929, ("train", "1"): 259, ("val", "0"): 76, ("val", "1"): 22}
    with zipfile.ZipFile(next(SHARED.glob("*.npz"))) as archive, archive.open("val_images.npy") as member:
        stored = npy.read_array(member, allow_pickle=False)
    (series,) = find_series(tmp_path / "volumes" / "val_0097.nii.gz").series
    np.testing.assert_array_equal(read_volume(series).array, stored[97])
    assert series.spacing_mm == (1.0, 1.0, 1.0)
    assert prepared.series == 1286
