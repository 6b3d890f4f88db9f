"""The learning proof: on data of known truth a held-out series is told right, and the slice that shows it is found."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from seriatim.experiment import Experiment
from seriatim.scoring import score
from seriatim.synth import synthesize
from seriatim.tasks.metrics import roc_auc
from seriatim.training import train
from tiny_runs import CLIP_CONFIG, make_experiment, read_rows, write_rows

SIZE = 32
ROOT = Path(__file__).parents[1]


def draw_stack(index: int) -> tuple[np.ndarray, np.ndarray]:
    """uint8 (S,H,W), odd ones with a bright disc on two successive slices, all with dots; and truth bool (S,)."""
    rng = np.random.default_rng(index)
    count = int(rng.integers(8, 13))
    y, x = np.mgrid[:SIZE, :SIZE]
    stack = rng.normal(60, 12, (count, SIZE, SIZE)) + 25 * (np.hypot(y - 16, x - 16) < rng.uniform(11, 14))
    for _ in range(2):
        stack[rng.integers(count), rng.integers(9, 23), rng.integers(9, 23)] += 60
    truth = np.zeros(count, dtype=bool)
    if index % 2:
        first, (row, column) = int(rng.integers(count - 1)), rng.uniform(11, 21, 2)
        stack[first : first + 2] += 90 * (np.hypot(y - row, x - column) < 3)
        truth[first : first + 2] = True
    return stack.clip(0, 255).astype(np.uint8), truth


@pytest.fixture(scope="module")
def stacks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """160 NIfTI volumes of 160 patients, half to train, a third to test."""
    import nibabel

    folder = tmp_path_factory.mktemp("stacks")
    rows, slices = [], []
    for index in range(160):
        stack, truth = draw_stack(index)
        path = f"{index}.nii"
        nibabel.save(nibabel.Nifti1Image(stack.transpose(2, 1, 0), np.diag([-1.0, -1.0, 3.0, 1.0])), folder / path)
        split = "train" if index < 80 else "val" if index < 106 else "test"
        rows.append({"path": path, "patient": index, "lesion": index % 2, "split": split})
        slices += [{"path": path, "index": number, "lesion": int(value)} for number, value in enumerate(truth)]
    write_rows(folder / "labels.csv", rows)
    write_rows(folder / "slices.csv", slices)
    return folder


OPTIONS = (
    "task.labels=[lesion]", "training.epochs=10", "training.learning_rate=0.006",
    "network.encoder={kind: small_cnn, widths: [8, 16, 32]}", "network.temporal.hidden=16",
    "network.pooling={kind: attention}",
)  # fmt: skip


def test_volume_labels_alone_teach_which_slice_shows_it(tmp_path: Path, stacks: Path) -> None:
    train(make_experiment(tmp_path, stacks, *OPTIONS, content=CLIP_CONFIG), tmp_path / "run")
    auc, found, _ = judge(stacks, tmp_path, label="lesion")
    assert auc > 0.95
    assert found > 0.85  # by chance 2 of 10


@pytest.mark.slow
def test_slice_labels_teach_slice_scores_and_attention(tmp_path: Path, stacks: Path) -> None:
    """Without its own loss attention settles off the lesion here, since the LSTM tells every slice what it has seen."""
    weights = ["task.slice_loss_weight=1", "task.slice_positive_weight=4", "task.attention_loss_weight=0.1"]
    options = [*OPTIONS, f"data.slice_labels={stacks / 'slices.csv'}", *weights]
    train(make_experiment(tmp_path, stacks, *options, content=CLIP_CONFIG), tmp_path / "run")
    auc, found, slice_auc = judge(stacks, tmp_path, label="lesion")
    assert auc > 0.95
    assert slice_auc > 0.95
    assert found > 0.85


def test_labels_that_mean_nothing_teach_nothing(tmp_path: Path, stacks: Path) -> None:
    """The control: with shuffled labels the held-out AUC stays at chance, so nothing leaks from train to test."""
    rows = read_rows(stacks / "labels.csv")
    shuffled = np.random.default_rng(0).permutation([row["lesion"] for row in rows])
    for row, lesion in zip(rows, shuffled, strict=True):
        row["path"], row["lesion"] = str(stacks / row["path"]), lesion
    manifest = write_rows(tmp_path / "labels.csv", rows)
    options = [*OPTIONS, f"data.manifest={manifest}", "training.epochs=4"]
    train(make_experiment(tmp_path, stacks, *options, content=CLIP_CONFIG), tmp_path / "run")
    auc, _, _ = judge(stacks, tmp_path, label="lesion", labels=manifest)
    assert 0.25 < auc < 0.75


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_demo_config_learns_head_ct(tmp_path: Path) -> None:
    data = tmp_path / "heads"
    synthesize("head-ct", data, count=80, seed=0, size=96)
    tables = [f"data.manifest={data / 'labels.csv'}", f"data.slice_labels={data / 'slices.csv'}"]
    train(Experiment.read(ROOT / "configs" / "demo.yaml", tables), tmp_path / "run")
    auc, found, _ = judge(data, tmp_path, label="bleed")
    assert auc > 0.9
    assert found > 0.7


def judge(data: Path, folder: Path, *, label: str, labels: Path | None = None) -> tuple[float, float, float]:
    """On the test split: AUC, the share of positive series whose most attended slice is a true one, the slices' AUC."""
    score(data, model=folder / "run", output=folder / "out", device="cpu", outside="note")
    rows = {Path(row["path"]).name: row for row in read_rows(folder / "out" / "scores.csv")}
    slices: dict[str, list[dict[str, str]]] = {}
    for row in read_rows(folder / "out" / "slices.csv"):
        slices.setdefault(row["series_uid"], []).append(row)
    truth: dict[str, list[float]] = {}
    for row in read_rows(data / "slices.csv"):
        truth.setdefault(row.get("series_uid") or row["path"], []).append(float(row[label]))
    known, scores, hits, slice_truth, slice_scores = [], [], [], [], []
    for case in read_rows(labels or data / "labels.csv"):
        if case["split"] == "test":
            row = rows[Path(case["path"]).name]
            of_slices, of_truth = slices[row["series_uid"]], truth[case.get("series_uid") or Path(case["path"]).name]
            known.append(float(case[label]))
            scores.append(float(row[f"probability_{label}"]))
            slice_truth += of_truth
            slice_scores += [float(one.get(f"score_{label}", 0)) for one in of_slices]
            if any(of_truth):
                hits.append(of_truth[int(np.argmax([float(one["attention"]) for one in of_slices]))])
    slice_auc = roc_auc(np.array(slice_truth), np.array(slice_scores))
    return roc_auc(np.array(known), np.array(scores)), float(np.mean(hits)), slice_auc
