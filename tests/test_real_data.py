"""The whole way on real data: DICOM head CT with known bleeds, and a tilted series that the model never saw."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tiny_runs import CommandLine, read_rows

REPOSITORY = Path(__file__).parents[1]
SHARED = REPOSITORY.parent / "shared"
TOOL, SCANS = SHARED / "tools" / "ct_ich_to_dicom.py", SHARED / "data" / "ct_ich"
TILTED = SHARED / "data" / "dicom_demo" / "ct_head_ge_hispeed"
BACKBONE = SHARED / "data" / "imagenet_backbone" / "mobilenet_v2_imagenet_features_fp16.pth"

pytestmark = [pytest.mark.slow, pytest.mark.shared]


def needs(*paths: Path) -> pytest.MarkDecorator:
    missing = [path.name for path in paths if not path.exists()]
    return pytest.mark.skipif(bool(missing), reason=f"not in ../shared on this machine: {', '.join(missing)}")


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 real head CTs as DICOM with shuffled file names and instance numbers, labels.csv and slices.csv."""
    folder = tmp_path_factory.mktemp("ct_ich")
    subprocess.run([sys.executable, TOOL, SCANS, folder, "--limit", "12"], check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def run_folder(scans: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """configs/ct_ich.yaml trained for one epoch on small slices, with fold 2 left out."""
    from seriatim.experiment import Experiment
    from seriatim.training import train

    overrides = [
        f"data.manifest={scans / 'labels.csv'}", f"data.slice_labels={scans / 'slices.csv'}", "data.fold=2",
        f"network.encoder.weights={BACKBONE}", "preprocessing.size=96", "training.epochs=1", "training.accelerator=cpu",
    ]  # fmt: skip
    folder = tmp_path_factory.mktemp("runs") / "ct_ich"
    train(Experiment.read(REPOSITORY / "configs" / "ct_ich.yaml", overrides), folder)
    return folder


@needs(TOOL, SCANS, BACKBONE)
def test_real_scans_go_from_dicom_to_scores_in_the_order_of_the_truth(
    scans: Path, run_folder: Path, tmp_path: Path, seriatim_command: CommandLine
) -> None:
    assert seriatim_command("score", scans, "--model", run_folder, "--split", "test", "--output", tmp_path).code == 0
    left_out = {row["series_uid"] for row in read_rows(scans / "labels.csv") if row["fold"] == "2"}
    scored = read_rows(tmp_path / "scores.csv")
    assert {row["series_uid"] for row in scored} == left_out
    assert {row["status"] for row in scored} == {"scored"}, "real series with a gap are kept, as the config says"
    place = {row["sop_instance_uid"]: float(row["position_mm"]) for row in read_rows(scans / "slices.csv")}
    for uid in left_out:
        rows = [row for row in read_rows(tmp_path / "slices.csv") if row["series_uid"] == uid]
        assert (np.diff([place[row["sop_instance_uid"]] for row in rows]) > 0).all()
        assert sum(float(row["attention"]) for row in rows) == pytest.approx(1)


@needs(TOOL, SCANS, BACKBONE)
def test_real_scans_are_explained_and_evaluated(
    scans: Path, run_folder: Path, tmp_path: Path, seriatim_command: CommandLine
) -> None:
    scores, pictures, held = tmp_path / "scores", tmp_path / "pictures", tmp_path / "evaluation"
    chosen = ("--model", run_folder, "--split", "test")
    assert seriatim_command("score", scans, *chosen, "--output", scores).code == 0
    assert seriatim_command("explain", scans, *chosen, "--output", pictures, "--limit", "2").code == 0
    assert len(list(pictures.glob("*.png"))) == 2
    truth = ("--labels", scans / "labels.csv", "--slices", scans / "slices.csv")
    assert seriatim_command("evaluate", scores / "scores.csv", *truth, "--output", held).code == 0
    measured = {row["metric"]: row for row in read_rows(held / "evaluation.csv")}
    assert {"auc", "slice_auc_of_score", "top_attended_slice_is_positive"} <= set(measured)


@needs(TOOL, SCANS, BACKBONE, TILTED)
def test_a_tilted_unevenly_spaced_series_is_scored_slice_by_slice_without_resampling(
    run_folder: Path, tmp_path: Path, seriatim_command: CommandLine
) -> None:
    from pydicom import dcmread

    seen = seriatim_command("inspect", TILTED.parent)
    assert seen.code == 0
    assert "GANTRY_TILT" in seen.out
    assert "UNEVEN_SPACING" in seen.out
    command = ("score", TILTED.parent, "--model", run_folder, "--output")
    assert seriatim_command(*command, tmp_path / "refused").code == 3
    (row,) = read_rows(tmp_path / "refused" / "scores.csv")
    assert row["reason"].startswith("INTENSITY"), "crops of 96 mm hold brain alone in training, and air of this scan"
    out = tmp_path / "noted"
    assert seriatim_command(*command, out, "--outside", "note").code == 0
    (row,) = read_rows(out / "scores.csv")
    assert "OUTSIDE_TRAINED_INTENSITY" in row["findings"]
    rows = read_rows(out / "slices.csv")
    headers = [dcmread(path, stop_before_pixels=True) for path in TILTED.rglob("*") if path.is_file()]
    across = np.cross(headers[0].ImageOrientationPatient[:3], headers[0].ImageOrientationPatient[3:])
    along = {header.SOPInstanceUID: float(across @ header.ImagePositionPatient) for header in headers}
    assert [row["sop_instance_uid"] for row in rows] == sorted(along, key=along.__getitem__)
    positions = [float(row["position"]) for row in rows]
    assert np.diff(positions) == pytest.approx(np.diff(sorted(along.values())), abs=1e-3)
    assert np.ptp(np.diff(positions)) > 1, "uneven steps stay as they are"
    assert sum(float(row["attention"]) for row in rows) == pytest.approx(1)
