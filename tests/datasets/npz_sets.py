"""MedMNIST-like NPZ files with the right counts and tiny random volumes, cheap to make."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from seriatim.datasets.medmnist import SPECS, Spec

SMALL = Spec(name="smallmnist3d", what="a small set", classes=("no", "yes"), finding="finding", counts=(6, 3, 4),
             md5={28: "0" * 32, 64: "0" * 32}, voxel_mm={28: 2.0})
SMALL_CLASSES = Spec(name="classmnist3d", what="classes", classes=("a", "b", "c"), counts=(6, 3, 4),
                     md5={28: "0" * 32, 64: "0" * 32})
ADRENAL = next(spec for spec in SPECS if spec.name == "adrenalmnist3d")


def write_npz(path: Path, *, spec: Spec = SMALL, size: int = 28, splits: tuple[str, ...] = ("train", "val", "test")
              ) -> dict[str, np.ndarray]:
    """Random volumes and labels of the set's counts; returns the arrays."""
    generator = np.random.default_rng(7)
    arrays = {}
    for split, count in zip(("train", "val", "test"), spec.counts, strict=True):
        if split in splits:
            arrays[f"{split}_images"] = generator.integers(0, 256, (count, size, size, size)).astype(np.uint8)
            arrays[f"{split}_labels"] = (np.arange(count) % len(spec.classes)).astype(np.uint8)[:, None]
    np.savez_compressed(path, **arrays)
    return arrays
