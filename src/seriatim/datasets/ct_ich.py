"""CT-ICH: head CT with and without haemorrhage, with labels of every slice.

The publisher's form (PhysioNet ct-ich 1.3.1): ``ct_scans/NNN.nii`` in HU, and ``hemorrhage_diagnosis_raw_ct.csv`` with
one row per slice: PatientNumber, SliceNumber, five subtypes, No_Hemorrhage, Fracture_Yes_No. SliceNumber n is the NIfTI
index k = n - 1: the authors' program goes through both in step, and public programs on top of it assert that the mask
of slice k is empty just where that row says No_Hemorrhage. PhysioNet ships ``SHA256SUMS.txt`` with a project; where it
lies beside, every file is held against it. The form with JPEG slices is in ``ct_ich_slices``.
Paper: Hssayeni et al. 2020, doi:10.3390/data5010014.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from seriatim.datasets import ct_ich_slices
from seriatim.datasets.checks import NO_CHECKSUM, digest
from seriatim.datasets.dataset import Dataset, Licence, Prepared, PublishedFile
from seriatim.datasets.folds import deal_groups
from seriatim.datasets.tree import list_files, locate, read_rows, relative
from seriatim.errors import InputError
from seriatim.io import Limits, find_series
from seriatim.io.source import open_file
from seriatim.io.tables.outputs import write_csv

PAGE = "https://physionet.org/content/ct-ich/1.3.1/"
FILE = PublishedFile(
    name="computed-tomography-images-for-intracranial-hemorrhage-detection-and-segmentation-1.3.1.zip",
    url=None,  # restricted access: a sign-in and an agreement
    most_bytes=1 << 32,
)
TABLE, SCANS, SUMS = "hemorrhage_diagnosis_raw_ct.csv", "ct_scans", "SHA256SUMS.txt"
SUBTYPES = {name.lower(): name for name in ct_ich_slices.SUBTYPES}
LABELS = ("ich", *SUBTYPES, "fracture")
YES = ("1", "1.0")
Rows = list[dict[str, str]]


def prepare(material: Path, output: Path) -> Prepared:
    """Write ``labels.csv`` with five folds, and ``slices.csv``, for volumes that are used in place.

    Raises:
        InputError: neither form is there, a checksum is wrong, or no scan can be used.
    """
    found = locate(material, FILE)
    if found.is_dir() and ct_ich_slices.is_here(found):
        return ct_ich_slices.prepare(found, output, config=config(gaps=True))
    files = list_files(found)
    tables = [path for path in files if path.name == TABLE]
    scans = {path.name.split(".")[0]: path for path in files if path.parent.name == SCANS and ".nii" in path.name}
    if len(tables) != 1 or not scans:
        raise InputError(
            f"{found} holds no {TABLE} beside {SCANS}/*.nii, and no patients.csv beside slices.csv with JPEG slices. "
            f"{DATASET.by_hand}"
        )
    check = _check_sums(files, [tables[0], *scans.values()])
    labels, slices, notes = _join(read_rows(tables[0]), scans, output)
    write_csv(output / "labels.csv", ("path", "patient", "fold", *LABELS), labels)
    write_csv(output / "slices.csv", ("path", "index", *LABELS), slices)
    sources = (found,) if found.is_file() else (tables[0], *scans.values())
    return Prepared(series=len(labels), config=config(), sources=sources, check=check, notes=notes)


def _join(table: Rows, scans: Mapping[str, Path], output: Path) -> tuple[Rows, Rows, tuple[str, ...]]:
    """The rows of both tables for the scans that are readable and agree with their slice labels."""
    by_patient: dict[str, Rows] = {}
    for row in table:
        if row.get("PatientNumber"):
            by_patient.setdefault(f"{_whole(row, 'PatientNumber'):03}", []).append(row)
    labels, slices, notes = [], [], []
    for patient, path in sorted(scans.items()):
        place = relative(path, output)
        try:
            of_slices = _label_slices(path, by_patient.get(patient, []))
        except InputError as error:
            notes.append(f"scan {patient} is left out: {error}")
            continue
        slices += [{"path": place, **row} for row in of_slices]
        anywhere = {name: str(int(any(row[name] == "1" for row in of_slices))) for name in LABELS}
        labels.append({"path": place, "patient": patient, **anywhere})
    if not labels:
        raise InputError(f"No scan can be used. {notes[0] if notes else ''}")
    if without := sorted(by_patient.keys() - scans.keys()):
        notes.append(f"{len(without)} patients of the table have no scan.")
    folds = deal_groups((row["patient"], row["ich"]) for row in labels)
    return [{**row, "fold": folds[row["patient"]]} for row in labels], slices, tuple(notes)


def _label_slices(path: Path, rows: Rows) -> Rows:
    """Label rows in the order of the series: whichever way it runs through the file, k of the file finds row k + 1.

    Raises:
        InputError: the scan cannot be read, or the table's slices are not just those of the file.
    """
    usable = [series for series in find_series(path, limits=Limits()).series if series.usable]
    if len(usable) != 1:
        raise InputError("the file cannot be used; `seriatim inspect` tells why.")
    stored = [instance.frame or 0 for instance in usable[0].instances]
    by_number = {_whole(row, "SliceNumber"): row for row in rows}
    if sorted(by_number) != list(range(1, len(stored) + 1)) or len(by_number) != len(rows):
        raise InputError(f"it has {len(stored)} slices, and the table {len(rows)} rows for it.")
    return [{"index": str(index), **_label(by_number[frame + 1])} for index, frame in enumerate(stored)]


def _label(row: Mapping[str, str]) -> dict[str, str]:
    subtypes = {name: str(int(row.get(column, "") in YES)) for name, column in SUBTYPES.items()}
    bleeds = "1" in subtypes.values() or row.get("No_Hemorrhage", "") in ("0", "0.0")
    return {"ich": str(int(bleeds)), **subtypes, "fracture": str(int(row.get("Fracture_Yes_No", "") in YES))}


def _whole(row: Mapping[str, str], column: str) -> int:
    try:
        return int(float(row[column]))
    except (KeyError, ValueError, OverflowError) as error:
        text = row.get(column)
        raise InputError(f"{TABLE} has {text!r} in {column}, which is no number. Get the set again.") from error


def _check_sums(files: Sequence[Path], used: Iterable[Path]) -> str:
    """Hold every file against the publisher's list where it lies beside. Raises InputError where one differs."""
    lists = [path for path in files if path.name == SUMS]
    if not lists:
        return f"{NO_CHECKSUM} ({SUMS} of the publisher is not there)"
    with open_file(lists[0]) as file:
        lines = [line.split(maxsplit=1) for line in file.read(1 << 24).decode("utf-8", "replace").splitlines()]
    published = {line[1].lstrip("*"): line[0].lower() for line in lines if len(line) == 2}
    count = 0
    for path in used:
        name = path.relative_to(lists[0].parent).as_posix()
        if published.get(name) != digest(path, "sha256"):
            raise InputError(f"{name} is not the file of the publisher's {SUMS}: damaged or changed. Get it again.")
        count += 1
    return f"SHA-256 of {count} files as in the publisher's {SUMS}"


def config(*, gaps: bool = False) -> dict[str, Any]:
    """Three windows as channels and joint slice labels; a small network from scratch, so that it needs no weights."""
    return {
        "data": {"slice_labels": "slices.csv", "fold": "0", **({"findings": {"GAP": "keep"}} if gaps else {})},
        "preprocessing": {"kind": "ct", "size": 128, "windows_hu": [[40, 80], [80, 200], [600, 2800]]},
        "augmentation": {"rotate_degrees": 15, "scale": 0.1, "translate": 0.05, "flip_left_right": True},
        "network": {
            "encoder": {"kind": "small_cnn"},
            "temporal": {"kind": "lstm", "hidden": 64},
            "pooling": {"kind": "attention"},
            "dropout": 0.2,
        },
        "task": {"kind": "diagnosis", "target": "binary", "labels": ["ich"], "slice_loss_weight": 1.0,
                 "slice_positive_weight": 3.0},
        "training": {"epochs": 20, "batch_size": 4, "max_slices": 40, "learning_rate": 1.0e-3},
    }


DATASET = Dataset(
    name="ct_ich",
    title="head CT, 5 mm slices, every slice labelled",
    task="haemorrhage and its five subtypes, fracture",
    size="75 scans, 2,814 slices; download size not published",
    licence=Licence(
        name="PhysioNet's, restricted access (1.3.1)",
        url=PAGE,
        note="Sign in and agree there; do not redistribute. Versions 1.0.0 to 1.3.0 were CC BY 4.0 by the paper.",
    ),
    citation=(
        "Hssayeni MD, Croock MS, Salman AD, et al. Intracranial hemorrhage segmentation using a deep convolutional "
        "model. Data 5(1), 14 (2020). doi:10.3390/data5010014; doi:10.13026/w8q8-ky94; and Goldberger AL et al. "
        "PhysioBank, PhysioToolkit, and PhysioNet. Circulation 101(23), e215 (2000)."
    ),
    page=PAGE,
    file=FILE,
    forms=f"{FILE.name}, its unpacked folder, or a folder with patients.csv, slices.csv and JPEG slices",
    prepare=prepare,
)
