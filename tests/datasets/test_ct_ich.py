"""CT-ICH in both forms: each slice keeps its label, whichever way a file stores its slices."""

from __future__ import annotations

import csv
import hashlib
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from seriatim.datasets import ct_ich, ct_ich_slices, get_dataset
from seriatim.errors import InputError
from seriatim.experiment import Experiment
from seriatim.io import find_series, read_volume
from seriatim.io.tables.manifest import read_manifest
from seriatim.io.tables.slice_labels import read_slice_labels
from seriatim.io.volumes.nifti_write import write_nifti
from seriatim.training.examples import gather_examples

SHARED = Path(__file__).parents[3] / "shared" / "data" / "ct_ich"
HEADER = f"PatientNumber,SliceNumber,{','.join(ct_ich_slices.SUBTYPES)},No_Hemorrhage,Fracture_Yes_No\n"
BLEEDING = {49: {2, 3}, 50: set(), 51: {5}}
"""The slice numbers with a subdural bleed, by patient; a bleeding slice k is bright: its pixels are its number."""


def read_rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def write_publisher(folder: Path, *, with_sums: bool = True) -> Path:
    """Three scans of five slices; patient 51 is stored from the top down."""
    root = folder / "ct-ich-1.3.1"
    (root / "ct_scans").mkdir(parents=True)
    lines = [HEADER]
    for patient, bleeding in BLEEDING.items():
        values = np.full((5, 8, 8), -1000, np.int16)
        values[:, -1, -1] = patient
        for number in range(1, 6):
            values[number - 1] += number
            bleeds = int(number in bleeding)
            lines.append(f"{patient},{number},0,0,0,0,{bleeds},{1 - bleeds},0\n")
        affine = np.diag([-0.5, -0.5, -5.0 if patient == 51 else 5.0, 1.0])
        write_nifti(root / "ct_scans" / f"{patient:03}.nii.gz", values, affine=affine)
    (root / ct_ich.TABLE).write_text("".join(lines))
    if with_sums:
        files = [path for path in sorted(root.rglob("*")) if path.is_file()]
        sums = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(root)}\n" for path in files]
        (root / ct_ich.SUMS).write_text("".join(sums))
    return root


def labelled(output: Path) -> dict[str, list[tuple[int, str]]]:
    """(what the pixels say, what the label says) of each slice, as a run joins them."""
    cases = read_manifest(output / "labels.csv")
    table = read_slice_labels(output / "slices.csv", labels=("ich",))
    found = {}
    for case in cases:
        (series,) = find_series(case.path).series
        numbers = [int(plane.flat[0]) + 1000 for plane in read_volume(series).array]
        found[case.patient] = [(number, row["ich"] if row else "")
                               for number, row in zip(numbers, table.of(series, case), strict=True)]
    assert table.unused_count == 0
    return found


@pytest.mark.parametrize("packed", [False, True])
def test_each_slice_keeps_its_label(tmp_path: Path, packed: bool) -> None:
    root = write_publisher(tmp_path)
    material = root
    if packed:
        material = tmp_path / "packed" / ct_ich.FILE.name
        material.parent.mkdir()
        with zipfile.ZipFile(material, "w", zipfile.ZIP_DEFLATED) as archive:
            for path in sorted(root.rglob("*")):
                archive.write(path, path.relative_to(tmp_path))
        material = material.parent  # the folder in which the published file lies
    output = tmp_path / "out"
    output.mkdir()
    prepared = ct_ich.prepare(material, output)
    assert prepared.check == "SHA-256 of 4 files as in the publisher's SHA256SUMS.txt"
    found = labelled(output)
    assert [number for number, _ in found["051"]] == [5, 4, 3, 2, 1]  # from the skull base up
    for patient, bleeding in BLEEDING.items():
        assert found[f"{patient:03}"] == [
            (number, str(int(number in bleeding))) for number, _ in found[f"{patient:03}"]
        ]
    rows = read_rows(output / "labels.csv")
    assert [(row["patient"], row["ich"], row["subdural"]) for row in rows] == [
        ("049", "1", "1"), ("050", "0", "0"), ("051", "1", "1")]
    assert len({row["fold"] for row in rows}) == 3


def test_a_changed_file_is_refused(tmp_path: Path) -> None:
    root = write_publisher(tmp_path)
    scan = root / "ct_scans" / "050.nii.gz"
    scan.write_bytes(scan.read_bytes() + b"!")
    with pytest.raises(InputError, match=r"ct_scans/050.nii.gz is not the file"):
        ct_ich.prepare(root, tmp_path)


def test_a_scan_that_does_not_agree_with_the_table_is_left_out_and_said(tmp_path: Path) -> None:
    root = write_publisher(tmp_path, with_sums=False)
    table = root / ct_ich.TABLE
    table.write_text(table.read_text().replace("50,5,0,0,0,0,0,1,0\n", ""))
    (root / "ct_scans" / "051.nii.gz").write_bytes(b"no image")
    prepared = ct_ich.prepare(root, tmp_path)
    assert prepared.series == 1
    assert "no checksum" in prepared.check
    assert any(note.startswith("scan 050 is left out: it has 5 slices, and the table 4") for note in prepared.notes)
    assert any(note.startswith("scan 051 is left out") for note in prepared.notes)


def test_neither_form_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no hemorrhage_diagnosis_raw_ct.* --from FOLDER"):
        ct_ich.prepare(tmp_path, tmp_path)


NUMBERS = {50: (1, 2, 3), 51: (1, 3, 4, 5), 53: (1, 2, 3, 4)}


def write_derived(folder: Path) -> Path:
    """Three patients; the second lacks slice 2. Grey values say the slice number."""
    patients, slices = ["patient,ich,fold\n"], ["patient,slice,ich,subdural,brain,bone\n"]
    for patient, numbers in NUMBERS.items():
        patients.append(f"{patient},1,{patient % 2}\n")
        for number in numbers:
            names = []
            for window, grey in (("brain", 100 + number), ("bone", 90)):
                name = f"slices/{patient:03}/{window}/{number:03}.png"
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(np.full((16, 16), grey, np.uint8)).save(folder / name)
                names.append(name)
            slices.append(f"{patient},{number},{int(number == 3)},{int(number == 3)},{','.join(names)}\n")
        slices.append(f"{patient},9,0,0,,\n")  # a slice without pictures
    (folder / "patients.csv").write_text("".join(patients))
    (folder / "slices.csv").write_text("".join(slices))
    return folder


def test_pictures_become_series_in_place_with_their_gap(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    output = tmp_path / "out"
    output.mkdir()
    prepared = ct_ich.prepare(write_derived(source), output)
    assert prepared.series == 3
    assert prepared.config["data"]["findings"] == {"GAP": "keep"}
    table = read_slice_labels(output / "slices.csv", labels=("ich",))
    for case, numbers in zip(read_manifest(output / "labels.csv"), NUMBERS.values(), strict=True):
        (series,) = find_series(case.path, {"GAP": "keep"}).series
        assert series.positions.tolist() == [5.0 * number for number in numbers]
        volume = read_volume(series)
        assert volume.array[:, 0, 0].tolist() == [round(-20 + (100 + number) * 120 / 255) for number in numbers]
        labels = [row["ich"] if row else "" for row in table.of(series, case)]
        assert labels == [str(int(number == 3)) for number in numbers]
    assert [row["fold"] for row in read_rows(output / "labels.csv")] == ["0", "1", "1"]


def test_both_forms_get_a_config_that_finds_its_slice_labels(tmp_path: Path) -> None:
    (tmp_path / "derived").mkdir()
    for name, source in (("a", write_publisher(tmp_path)), ("b", write_derived(tmp_path / "derived"))):
        got = get_dataset("ct_ich", tmp_path / name, source=str(source), accept_licence=True)
        experiment = Experiment.read(got.config)
        examples = gather_examples(experiment, experiment.task.build(), check=lambda _: None)
        assert len(examples.used) == got.series
        assert all((example.slice_labels >= 0).all() for example in examples.used)
        assert len(examples.of("test")) == 1


def test_hounsfield_units_come_from_the_window_that_is_not_at_its_end() -> None:
    brain, bone = np.array([[0, 128, 255]]), np.array([[0, 255, 255]])
    assert ct_ich_slices.restore_hu(brain, bone).tolist() == [[-900, 40, 2300]]
    assert ct_ich_slices.restore_hu(brain, None).tolist() == [[-20, 40, 100]]


def test_a_missing_picture_is_refused(tmp_path: Path) -> None:
    folder = write_derived(tmp_path)
    (folder / "slices" / "051" / "bone" / "004.png").unlink()
    with pytest.raises(InputError, match="1 pictures"):
        ct_ich.prepare(folder, tmp_path / "out")


@pytest.mark.shared
@pytest.mark.slow
def test_the_shared_copy_has_its_labels(tmp_path: Path) -> None:
    if not SHARED.is_dir():
        pytest.skip("needs ../shared/data/ct_ich")
    prepared = ct_ich.prepare(SHARED, tmp_path)
    rows, slices = read_rows(tmp_path / "labels.csv"), read_rows(tmp_path / "slices.csv")
    assert prepared.series == len(rows) == 66
    assert sum(row["ich"] == "1" for row in rows) == 29
    assert (len(slices), sum(row["ich"] == "1" for row in slices)) == (1987, 249)
    assert {row["fold"] for row in rows} == {"0", "1", "2", "3"}
