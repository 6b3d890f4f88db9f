"""The six 3D sets of MedMNIST, at 28 and 64 voxels a side: one NPZ file each, turned into one NIfTI file per volume.

Addresses, MD5, class names, counts and licence: medmnist/info.py of github.com/MedMNIST/MedMNIST at 805b742 (those of
size 28 also at 075a8ad). Paper: Yang et al. 2023, doi:10.1038/s41597-022-01721-8.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seriatim.datasets.checks import verify
from seriatim.datasets.dataset import Dataset, Licence, Prepared, PublishedFile
from seriatim.errors import InputError
from seriatim.io.npz import StoredArray, iterate_rows, list_arrays
from seriatim.io.tables.outputs import make_folder, write_csv
from seriatim.io.volumes.nifti_write import write_nifti

RECORD = "https://zenodo.org/records/10519652"
LICENCE = Licence(name="CC BY 4.0", url="https://creativecommons.org/licenses/by/4.0/", note="Not for clinical use.")
CITATION = (
    "Yang J, Shi R, Wei D, et al. MedMNIST v2: A large-scale lightweight benchmark for 2D and 3D biomedical image "
    "classification. Scientific Data 10, 41 (2023). doi:10.1038/s41597-022-01721-8; and the source that it names."
)
SPLITS = ("train", "val", "test")
SIZES = (28, 64)
PATIENTS = (
    "Each volume counts as a patient of its own, since the file does not tell whose it is: where one patient has "
    "several volumes, intervals are too narrow. The publisher {apart} that no patient is in two splits."
)
AXES = (
    "The first axis of the file is the slice axis, and rows and columns are shown as they are: where they point is not "
    "published."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """One set. ``finding`` is the label column of a set with two classes, whose second class is the finding.

    ``counts`` are the volumes of train, val and test; ``md5`` goes by size; ``voxel_mm`` has the sizes where the length
    of a voxel follows from what is published (a crop of 64 mm; it is taken for that of size 64 too), and
    ``split_by_patient`` tells whether the publisher says that no patient is in two splits.
    """

    name: str
    what: str
    classes: tuple[str, ...]
    finding: str = ""
    counts: tuple[int, int, int]
    md5: Mapping[int, str]
    voxel_mm: Mapping[int, float] = field(default_factory=dict)
    split_by_patient: bool = False


SPECS = (
    Spec(name="organmnist3d", what="abdominal CT, the bounding box of an organ",
         classes=("liver", "kidney-right", "kidney-left", "femur-right", "femur-left", "bladder", "heart", "lung-right",
                  "lung-left", "spleen", "pancreas"),
         counts=(971, 161, 610), split_by_patient=True,
         md5={28: "a0c5a1ff56af4f155c46d46fbb45a2fe", 64: "58a2205adf14a9d0a189cb06dc78bf10"}),
    Spec(name="nodulemnist3d", what="chest CT, a lung nodule", classes=("benign", "malignant"), finding="malignant",
         counts=(1158, 165, 310),
         md5={28: "8755a7e9e05a4d9ce80a24c3e7a256f3", 64: "c47c5b7d457bf6332200d2ea6d64ecd8"}, voxel_mm={28: 1.0}),
    Spec(name="adrenalmnist3d", what="shape mask of an adrenal gland from CT", classes=("normal", "hyperplasia"),
         finding="hyperplasia", counts=(1188, 98, 298), split_by_patient=True,
         md5={28: "bbd3c5a5576322bc4cdfea780653b1ce", 64: "17721accfe9fb005146a47d33bc54b2f"},
         voxel_mm={28: 64 / 28, 64: 1.0}),
    Spec(name="fracturemnist3d", what="chest CT, a rib fracture", classes=("buckle", "nondisplaced", "displaced"),
         counts=(1027, 103, 240),
         md5={28: "6aa7b0143a6b42da40027a9dda61302f", 64: "f01d7e6316aedf4210da0da5b7437b42"},
         voxel_mm={28: 64 / 28, 64: 1.0}),
    Spec(name="vesselmnist3d", what="shape of a brain vessel from MRA", classes=("vessel", "aneurysm"),
         finding="aneurysm", counts=(1335, 191, 382),
         md5={28: "b41fd4f7e7e2feedddb201585ecafa1b", 64: "6bb274a8846e1097066dcd64e2c4520f"}),
    Spec(name="synapsemnist3d", what="electron microscopy of a synapse", classes=("inhibitory", "excitatory"),
         finding="excitatory", counts=(1230, 177, 352),
         md5={28: "1235b78a3cd6280881dd7850a78eadb6", 64: "43bd14ebf3af9d3dd072446fedc14d5e"}),
)


def datasets() -> Iterator[Dataset]:
    """The twelve sets: six at 28 voxels a side, six at 64."""
    for size in SIZES:
        for spec in SPECS:
            yield _dataset(spec, size)


def prepare(material: Path, output: Path, *, spec: Spec, size: int) -> Prepared:
    """Write ``volumes/*.nii.gz`` and ``labels.csv`` with the official split.

    Raises:
        InputError: no file with the set is there, its checksum is wrong, or its arrays are not those of the set.
    """
    path = _pick(material, spec, size)
    file = _file(spec, size)
    derived = "not the publisher's file: verified by the number, shape and type of its volumes alone"
    check = verify(path, file) if path.name == file.name else derived
    present = _present_splits(list_arrays(path), spec, size)
    twins = _Twins()
    rows = [row for split in present for row in _write_split(path, output, spec=spec, split=split, twins=twins)]
    write_csv(output / "labels.csv", ["path", "patient", "split", _column(spec)], rows)
    notes = (*_notes(spec, size, present), *twins.notes)
    return Prepared(series=len(rows), config=_config(spec, size), sources=(path,), check=check, notes=notes)


def _dataset(spec: Spec, size: int) -> Dataset:
    file = _file(spec, size)
    return Dataset(
        name=Path(file.name).stem,
        title=f"{spec.what} ({size} x {size} x {size})",
        task=spec.finding or f"{len(spec.classes)} classes",
        size=f"{sum(spec.counts)} volumes, {sum(spec.counts) * size**3 / 1e6:.0f} MB unpacked",
        licence=LICENCE,
        citation=CITATION,
        page=RECORD,
        file=file,
        forms=f"{file.name}, or any NPZ file with its arrays (all splits or some), or the folder with one of them",
        prepare=partial(prepare, spec=spec, size=size),
    )


def _file(spec: Spec, size: int) -> PublishedFile:
    name = f"{spec.name}.npz" if size == SIZES[0] else f"{spec.name}_{size}.npz"
    unpacked = sum(spec.counts) * size**3
    url = f"{RECORD}/files/{name}?download=1"
    return PublishedFile(name=name, url=url, md5=spec.md5[size], most_bytes=unpacked + (1 << 20))


def _pick(material: Path, spec: Spec, size: int) -> Path:
    """The file itself, the one with the published name, or the only one whose arrays fit."""
    name = _file(spec, size).name
    if material.is_file():
        _present_splits(list_arrays(material), spec, size)
        return material
    if (material / name).is_file():
        return material / name
    fitting = [path for path in sorted(material.glob("*.npz")) if _fits(path, spec, size)]
    if len(fitting) != 1:
        found = f"none does. Get it from {RECORD}" if not fitting else f"{len(fitting)} do; name one of them"
        raise InputError(f"{material} should hold {name}, or one NPZ file with its arrays, but {found}.")
    return fitting[0]


def _fits(path: Path, spec: Spec, size: int) -> bool:
    try:
        return bool(_present_splits(list_arrays(path), spec, size))
    except InputError:
        return False


def _present_splits(arrays: Mapping[str, StoredArray], spec: Spec, size: int) -> list[str]:
    """The splits that the file holds whole. Raises InputError where an array is not that of the set."""
    present = []
    for split, count in zip(SPLITS, spec.counts, strict=True):
        images, labels = arrays.get(f"{split}_images"), arrays.get(f"{split}_labels")
        if images is None and labels is None:
            continue
        shapes = None if images is None or labels is None else (images.shape, labels.shape)
        if shapes != ((count, size, size, size), (count, 1)) or images is None or images.dtype != np.uint8:
            raise InputError(
                f"The split {split} is not that of {spec.name} at size {size}: {count} volumes of 8 bits and a label "
                "each. Give the file of this set."
            )
        present.append(split)
    if not present:
        raise InputError(f"The file has none of the arrays of {spec.name}: train_images, train_labels and so on.")
    return present


class _Twins:
    """Volumes that are equal to one of another split, by their bytes."""

    def __init__(self) -> None:
        self._first: dict[bytes, str] = {}
        self._count = 0

    def see(self, volume: NDArray[Any], split: str) -> None:
        digest = hashlib.sha256(volume.tobytes()).digest()
        self._count += self._first.setdefault(digest, split) != split

    @property
    def notes(self) -> tuple[str, ...]:
        if not self._count:
            return ()
        return (f"{self._count} volumes are equal to one of another split: figures of that split are too good.",)


def _write_split(path: Path, output: Path, *, spec: Spec, split: str, twins: _Twins) -> Iterator[dict[str, object]]:
    """Write the volumes of a split one by one; rows of the manifest."""
    folder = make_folder(output / "volumes")
    labels = iterate_rows(path, f"{split}_labels")
    for index, (volume, label) in enumerate(zip(iterate_rows(path, f"{split}_images"), labels, strict=True)):
        twins.see(volume, split)
        name, size = f"{split}_{index:04}", len(volume)
        step = spec.voxel_mm.get(size, 1.0)
        known = "" if size in spec.voxel_mm else " Voxel size is not published: 1 mm stands for it."
        affine = np.diag([-step, -step, step, 1.0])  # slices ascend, rows and columns are shown as they are stored
        write_nifti(folder / f"{name}.nii.gz", volume, affine=affine, description=f"{name} of MedMNIST.{known}")
        yield {
            "path": f"volumes/{name}.nii.gz",
            "patient": name,
            "split": split,
            _column(spec): _label(spec, int(label[0]), name=name),
        }


def _label(spec: Spec, number: int, *, name: str) -> object:
    if number not in range(len(spec.classes)):
        raise InputError(f"{name} has the label {number}; {spec.name} has {len(spec.classes)} classes from 0 on.")
    return number if spec.finding else spec.classes[number]


def _column(spec: Spec) -> str:
    return spec.finding or "label"


def _notes(spec: Spec, size: int, present: list[str]) -> tuple[str, ...]:
    apart = "says" if spec.split_by_patient else "does not say"
    notes = [PATIENTS.format(apart=apart), AXES]
    if size not in spec.voxel_mm:
        notes.append("The size of a voxel is not published, or is not one: 1 mm stands for it.")
    if missing := [split for split in SPLITS if split not in present]:
        notes.append(f"This copy has no {' and no '.join(missing)} split.")
    return tuple(notes)


def _config(spec: Spec, size: int) -> dict[str, Any]:
    """A small network from scratch: most of the volumes are small, and there are a thousand of them."""
    task: dict[str, Any] = {"kind": "diagnosis", "target": "binary", "labels": [_column(spec)]}
    if not spec.finding:
        task |= {"target": "multiclass", "classes": list(spec.classes)}
    return {
        "preprocessing": {"kind": "intensity", "size": size},
        "augmentation": {"rotate_degrees": 10, "scale": 0.1, "translate": 0.05},
        "network": {
            "encoder": {"kind": "small_cnn"},
            "temporal": {"kind": "lstm", "hidden": 32},
            "pooling": {"kind": "attention"},
            "dropout": 0.2,
        },
        "task": {**task, "class_weights": "balanced"},
        "training": {"epochs": 10, "batch_size": 16, "max_slices": 32, "learning_rate": 2.0e-3},
    }
