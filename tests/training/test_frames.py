"""From 4D files to scores of slices over time: one setting of the data decides, in training as in scoring."""

from pathlib import Path

import nibabel
import numpy as np

from seriatim.scoring import score
from seriatim.training import train
from tiny_runs import CLIP_CONFIG, make_experiment, read_rows, write_rows


def test_a_model_of_frames_is_trained_and_scores_each_slice_over_time(tmp_path: Path) -> None:
    rows = []
    for patient, split in enumerate(["train", "train", "val", "val", "test"]):
        array = np.random.default_rng(patient).integers(0, 900, (20, 20, 3, 4)).astype(np.int16)
        image = nibabel.Nifti1Image(array, np.diag([1.0, 1.0, 5.0, 1.0]))
        image.header.set_zooms((1.0, 1.0, 5.0, 2.0))
        image.header.set_xyzt_units("mm", "sec")
        nibabel.save(image, tmp_path / f"{patient}.nii")
        rows += [{"path": f"{patient}.nii", "volume": f"slice {number}", "patient": str(patient), "split": split,
                  "bleed": str((patient + number) % 2)} for number in (1, 2)]
    manifest = write_rows(tmp_path / "labels.csv", rows)
    overrides = [f"data.manifest={manifest}", "data.sequence=frames", "training.epochs=1"]
    train(make_experiment(tmp_path, tmp_path, *overrides, content=CLIP_CONFIG), tmp_path / "run")
    used = [row for row in read_rows(tmp_path / "run" / "manifest.csv") if row["status"] != "left out"]
    assert len(used) == 10
    score(tmp_path / "4.nii", model=tmp_path / "run", output=tmp_path / "scores", device="cpu")
    scored = read_rows(tmp_path / "scores" / "scores.csv")
    assert [(row["volume"], row["status"]) for row in scored] == [(f"slice {k}", "scored") for k in (1, 2, 3)]
    slices = read_rows(tmp_path / "scores" / "slices.csv")
    positions = [float(row["position"]) for row in slices if row["volume"] == "slice 1"]
    assert positions == [0, 2, 4, 6]
