"""CT-ICH in a derived form: each slice as JPEG in two windows, as the early releases had them, turned back into HU.

``patients.csv`` (patient, ich, fold and more), ``slices.csv`` (patient, slice, labels, brain, bone: paths below the
folder). The two windows are brain (level 40, width 120) and bone (level 700, width 3200), by the publisher's read-me.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seriatim.datasets.dataset import Prepared
from seriatim.datasets.tree import read_rows
from seriatim.errors import InputError
from seriatim.io import Limits, find_series, read_volume
from seriatim.io.tables.outputs import make_folder, write_csv
from seriatim.io.write import CtSlices, Identity, make_uid, write_ct_series
from seriatim.series.findings import Code

SUBTYPES = ("Intraventricular", "Intraparenchymal", "Subarachnoid", "Epidural", "Subdural")
COLUMNS = ("ich", *(name.lower() for name in SUBTYPES), "fracture")
SCAN_COLUMNS, SLICE_COLUMNS = ("path", "patient", "fold", *COLUMNS), ("sop_instance_uid", *COLUMNS)
BRAIN_HU, BONE_HU = (-20.0, 120.0), (-900.0, 3200.0)
"""The lowest value of a window and its width."""
SATURATED = 2
"""JPEG blurs the ends of the grey scale by about so much."""
SPACING_MM, PIXEL_MM = 5.0, 1.25
"""Slices are 5 mm thick by the read-me. The size of a pixel is not published: 1.25 mm makes 256 of them 320 mm."""
Rows = list[dict[str, str]]
NOTES = (
    "A derived form: HU are restored from two 8-bit windows, so they are rough, half a HU in the brain and 13 beyond.",
    "The size of a pixel is assumed: 1.25 mm. Slices that are missing leave a gap, which the config keeps.",
)


def is_here(folder: Path) -> bool:
    """Whether a folder has this form."""
    return all((folder / name).is_file() for name in ("patients.csv", "slices.csv"))


def prepare(folder: Path, output: Path, *, config: Mapping[str, Any]) -> Prepared:
    """Write one DICOM series per patient, ``labels.csv`` with the folds of patients.csv, and ``slices.csv``.

    Raises:
        InputError: a table or a picture is missing or damaged.
    """
    patients, slices = read_rows(folder / "patients.csv"), read_rows(folder / "slices.csv")
    _require(patients, ("patient", "ich", "fold"), "patients.csv")
    _require(slices, ("patient", "slice", "ich", "brain", "bone"), "slices.csv")
    labels: Rows = []
    of_slices: Rows = []
    used = [folder / "patients.csv", folder / "slices.csv"]
    for patient in patients:
        rows = sorted((row for row in slices if row["patient"] == patient["patient"] and row["brain"]),
                      key=lambda row: int(row["slice"]))
        if not rows:
            raise InputError(f"slices.csv has no brain picture of patient {patient['patient']}. Get the set again.")
        used += _pictures(folder, rows)
        path = f"series/{int(patient['patient']):03}"
        uids = _write_series(folder, output / path, rows)
        labels.append({"path": path, **patient})
        of_slices += [{"sop_instance_uid": uid, **row} for uid, row in zip(uids, rows, strict=True)]
    for name, columns, table in (("labels.csv", SCAN_COLUMNS, labels), ("slices.csv", SLICE_COLUMNS, of_slices)):
        write_csv(output / name, columns, _select(table, columns))
    check = "no checksum is published for this form: verified by structure alone"
    return Prepared(series=len(labels), config=config, sources=tuple(used), check=check, notes=NOTES)


def restore_hu(brain: NDArray[Any], bone: NDArray[Any] | None) -> NDArray[np.int16]:
    """HU of one slice (H,W) from its two pictures: the brain window where it is not at an end, else the bone window."""
    low, width = BRAIN_HU
    values = low + brain * (width / 255)
    if bone is not None:
        low, width = BONE_HU
        at_end = (brain <= SATURATED) | (brain >= 255 - SATURATED)
        values = np.where(at_end, low + bone * (width / 255), values)
    return np.rint(values).astype(np.int16)


def _write_series(folder: Path, target: Path, rows: Rows) -> list[str]:
    """Write the slices of a patient, ascending from the skull base as the slice numbers do; their SOP Instance UIDs."""
    brain, bone = (_read_pictures(folder, rows, window) for window in ("brain", "bone"))
    numbers = [int(row["slice"]) for row in rows]
    values = np.stack([restore_hu(brain[row["brain"]], bone.get(row["bone"])) for row in rows])
    patient = rows[0]["patient"]
    half_mm = (values.shape[2] - 1) / 2 * PIXEL_MM, (values.shape[1] - 1) / 2 * PIXEL_MM
    uids = [make_uid("ct_ich", patient, "slice", number) for number in numbers]
    slices = CtSlices(
        values_hu=values,
        positions_mm=np.array([(-half_mm[0], -half_mm[1], SPACING_MM * number) for number in numbers]),
        spacing_mm=(PIXEL_MM, PIXEL_MM),
        thickness_mm=SPACING_MM,
        names=[f"{number:03}.dcm" for number in numbers],
        numbers=numbers,
        sop_instance_uids=uids,
    )
    identity = Identity(patient=f"ct_ich_{patient}", study_uid=make_uid("ct_ich", patient, "study"),
                        series_uid=make_uid("ct_ich", patient, "series"), description="head",
                        model="HU restored from windows")
    make_folder(target)
    write_ct_series(target, slices, identity=identity)
    return uids


def _read_pictures(folder: Path, rows: Rows, window: str) -> dict[str, NDArray[Any]]:
    """The pictures of one window by their path in the table."""
    wanted = {folder / row[window]: row[window] for row in rows if row[window]}
    found: dict[str, NDArray[Any]] = {}
    for place in sorted({path.parent for path in wanted}):
        for series in find_series(place, {Code.GAP: "keep"}, limits=Limits()).series:
            if series.usable:
                planes = read_volume(series, limits=Limits()).array
                found |= {wanted[one.path]: plane for one, plane in zip(series.instances, planes, strict=True)
                          if one.path in wanted}
    if missing := wanted.keys() - {folder / name for name in found}:
        raise InputError(f"{len(missing)} pictures of slices.csv are missing or cannot be read. Copy the set again.")
    return found


def _pictures(folder: Path, rows: Rows) -> list[Path]:
    return [folder / row[window] for row in rows for window in ("brain", "bone") if row[window]]


def _require(rows: Rows, columns: Iterable[str], name: str) -> None:
    if not rows or (missing := [column for column in columns if column not in rows[0]]):
        raise InputError(f"{name} is empty or has no column {', '.join(missing) if rows else ''}. Get the set again.")



def _select(rows: Rows, columns: Sequence[str]) -> Iterator[dict[str, str]]:
    return ({column: row.get(column, "") for column in columns} for row in rows)
