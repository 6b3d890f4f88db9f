"""A run from files to a run folder: every input format, every kind of target, every part of a network."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from seriatim.errors import ConfigError, InputError, ModelError
from seriatim.scoring import score
from seriatim.trained import load_model
from seriatim.training import train
from tiny_runs import CLIP_CONFIG, CT_CONFIG, make_experiment, read_header, read_rows, write_rows

RUN_FILES = {
    "config.yaml", "environment.json", "manifest.csv", "split.json", "start.json", "metrics.jsonl", "curves.png",
    "validation.csv", "model.safetensors", "model.json", "card.md", "checkpoint.safetensors", "best.safetensors",
}  # fmt: skip


def make_clip(index: int, *, count: int = 6, size: int = 32) -> np.ndarray:
    """uint8 (S,H,W): noise, and in odd clips a bright square on slice 2 and 3."""
    clip = np.random.default_rng(index).integers(0, 90, (count, size, size), dtype=np.uint8)
    if index % 2:
        clip[2:4, 8:20, 8:20] = 230
    return clip


def write_nifti(path: Path, clip: np.ndarray) -> str:
    import nibabel

    affine = np.diag([-1.0, -1.0, 3.0, 1.0])
    nibabel.save(nibabel.Nifti1Image(clip.transpose(2, 1, 0).astype(np.int16), affine), f"{path}.nii.gz")
    return f"{path.name}.nii.gz"


def write_pictures(path: Path, clip: np.ndarray) -> str:
    path.mkdir()
    for number, picture in enumerate(clip):
        Image.fromarray(picture).save(path / f"{number}.png")
    return path.name


def write_clip(path: Path, clip: np.ndarray) -> str:
    pytest.importorskip("av", reason="PyAV is not installed")
    from seriatim.io.write import Clip, write_video

    write_video(path.with_suffix(".mp4"), Clip(frames=clip, frames_per_second=25))
    return f"{path.name}.mp4"


def make_set(folder: Path, write: Callable[[Path, np.ndarray], str], *, count: int = 8) -> Path:
    """Clips in one format, with columns for every target."""
    folder.mkdir()
    rows = [
        {
            "path": write(folder / f"case{index}", make_clip(index)), "patient": f"P{index}",
            "bleed": index % 2, "late": index // 2 % 2, "grade": ("none", "mild", "severe")[index % 3],
            "volume_ml": 100 + 40 * (index % 2), "age": 40 + index,
            "split": "val" if index >= count - 3 else "train",
        }
        for index in range(count)
    ]  # fmt: skip
    write_rows(folder / "labels.csv", rows)
    return folder


TARGETS = {
    "binary": ["task.labels=[bleed]"],
    "multiclass": ["task.target=multiclass", "task.labels=[grade]", "task.classes=[none, mild, severe]"],
    "multilabel": ["task.target=multilabel", "task.labels=[bleed, late]"],
    "regression": ["task.target=regression", "task.labels=[volume_ml, age]"],
}
COLUMNS = {
    "binary": ["probability_bleed"],
    "multiclass": ["probability_none", "probability_mild", "probability_severe"],
    "multilabel": ["probability_bleed", "probability_late"],
    "regression": ["value_volume_ml", "value_age"],
}


@pytest.mark.parametrize(
    ("write", "target"),
    [
        (write_nifti, "multiclass"), (write_nifti, "regression"), (write_pictures, "multilabel"),
        (write_pictures, "binary"), (write_clip, "binary"), (write_clip, "regression"),
    ],
)  # fmt: skip
def test_every_format_and_target_trains_and_scores(
    tmp_path: Path, write: Callable[[Path, np.ndarray], str], target: str
) -> None:
    data = make_set(tmp_path / "data", write)
    summary = train(make_experiment(tmp_path, data, *TARGETS[target], content=CLIP_CONFIG), tmp_path / "run")
    run = tmp_path / "run"
    assert set(RUN_FILES) <= {path.name for path in run.iterdir()}
    assert summary["epochs"] == 2
    assert json.loads((run / "split.json").read_text())["patients_in_two_splits"] == 0
    validation = read_rows(run / "validation.csv")
    assert len(validation) == 3
    assert set(COLUMNS[target]) <= set(validation[0])

    done = score(data, model=run, output=tmp_path / "out", device="cpu")
    assert done["counts"]["scored"] == 8
    rows = {row["series_uid"]: row for row in read_rows(tmp_path / "out" / "scores.csv")}
    assert [name for name in rows[validation[0]["series_uid"]] if name.startswith(("probability", "value"))] == (
        COLUMNS[target]
    )
    for one in validation:  # validation and scoring are the same path, to the last bit
        scored = rows[one["series_uid"]]
        assert [float(one[name]) for name in COLUMNS[target]] == [float(scored[name]) for name in COLUMNS[target]]
        assert one["prediction"] == scored["prediction"]
    if target == "multiclass":
        assert sum(float(one[name]) for name in COLUMNS[target]) == pytest.approx(1)
    if target == "regression":  # the outputs start from the labels' mean: 100 to 140 ml is reached without training
        assert all(80 < float(row["value_volume_ml"]) < 160 for row in rows.values())


def test_clips_as_dicom_and_video_train_with_labels_of_frames(tmp_path: Path) -> None:
    pytest.importorskip("av", reason="PyAV is not installed")
    from seriatim.synth import synthesize

    data = tmp_path / "clips"
    synthesize("ultrasound", data, count=12, size=32)
    options = [
        "task.labels=[arrhythmia]", "task.slice_labels=[abnormal]", "task.slice_loss_weight=1",
        f"data.slice_labels={data / 'slices.csv'}", "training.max_slices=16",
    ]  # fmt: skip
    train(make_experiment(tmp_path, data, *options, content=CLIP_CONFIG), tmp_path / "run")
    model = load_model(tmp_path / "run")
    assert model.envelope.modalities == ("OT", "US")  # a video names no modality
    assert model.envelope.axis == "time"
    done = score(data, model=tmp_path / "run", output=tmp_path / "out", device="cpu")
    assert done["counts"]["scored"] == 12
    seconds = [float(row["position"]) for row in read_rows(tmp_path / "out" / "slices.csv") if row["index"] == "1"]
    assert all(1 / 41 < second < 1 / 19 for second in seconds)


def test_a_run_folder_says_everything_about_the_run(tiny_run: Path, head_ct: Path) -> None:
    assert {path.name for path in tiny_run.iterdir()} - {"tensorboard"} == RUN_FILES
    proof = json.loads((tiny_run / "split.json").read_text())
    assert proof["patients_in_two_splits"] == 0
    given = read_rows(head_ct / "labels.csv")
    card = (tiny_run / "card.md").read_text()
    assert "not a medical device" in card
    for split in ("train", "val", "test"):
        expected = [row for row in given if row["split"] == split]
        assert proof["splits"][split]["series"] == len(expected)
        assert proof["splits"][split]["patients"] == len({row["patient"] for row in expected})
        assert f"| {split} | {len(expected)} | {len({row['patient'] for row in expected})} |" in card
    manifest = read_rows(tiny_run / "manifest.csv")
    assert [(row["series_uid"], row["split"], row["bleed"]) for row in manifest] == [
        (row["series_uid"], row["split"], row["bleed"]) for row in given
    ]
    assert {row["status"] for row in manifest} == {"used"}
    lines = [json.loads(line) for line in (tiny_run / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2]
    assert {"loss", "volume_loss", "slice_loss", "learning_rate", "seconds", "val_auc"} <= set(lines[0])
    environment = json.loads((tiny_run / "environment.json").read_text())
    assert environment["packages"]["torch"]
    assert environment["device"] == "cpu"
    config = yaml.safe_load((tiny_run / "config.yaml").read_text())
    assert config["training"]["epochs"] == 2
    assert config["training"]["patience"] == 10  # defaults are written out: the run repeats under another version's
    with Image.open(tiny_run / "curves.png") as picture:
        assert min(picture.size) > 300
    validation = read_rows(tiny_run / "validation.csv")
    assert {row["series_uid"] for row in validation} == {row["series_uid"] for row in given if row["split"] == "val"}


def test_the_run_is_a_function_of_its_config(tmp_path: Path, head_ct: Path, tiny_run: Path) -> None:
    train(make_experiment(tmp_path, head_ct), tmp_path / "again")
    assert (tmp_path / "again" / "model.safetensors").read_bytes() == (tiny_run / "model.safetensors").read_bytes()
    train(make_experiment(tmp_path, head_ct, "seed=1"), tmp_path / "other")
    assert (tmp_path / "other" / "model.safetensors").read_bytes() != (tiny_run / "model.safetensors").read_bytes()


def test_loader_processes_change_nothing(tmp_path: Path, head_ct: Path) -> None:
    options = ["augmentation.rotate_degrees=20", "augmentation.noise=5", "training.epochs=1", "data.cache=false"]
    for workers in (0, 2):
        train(make_experiment(tmp_path, head_ct, *options, f"training.workers={workers}"), tmp_path / str(workers))
    one, two = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("0", "2"))
    assert one == two


@pytest.mark.parametrize(
    "overrides",
    [
        ["network.temporal={kind: gru, hidden: 8, layers: 2, dropout: 0.2}", "network.pooling={kind: last}"],
        ["network.temporal={kind: none}", "network.pooling={kind: mean}"],
        ["network.temporal={kind: none}", "network.pooling={kind: max}", "preprocessing.neighbours=1"],
        ["network.temporal={kind: lstm, hidden: 8, bidirectional: false}", "network.pooling={kind: last}"],
        ["network.temporal={kind: transformer, size: 8, heads: 2}", "network.pooling={kind: slice_scores}",
         "network.deltas=true"],
        ["network.pooling={kind: attention, per_class: true}", "training.mode=two-stage"],
        ["network.temporal={kind: lstm, hidden: 8, project: 6, dropout: 0.1}", "network.checkpoint_chunk=5"],
        ["network.encoder={kind: torchvision, name: squeezenet1_1, pool: both, stages: 2}", "preprocessing.size=40"],
        pytest.param(["training.mode=two-stage", "training.max_slices=7"], marks=pytest.mark.slow),
        pytest.param(["training.accumulate=2", "training.max_slices=5", "training.schedule=constant"],
                     marks=pytest.mark.slow),
        ["task.class_weights=balanced", "task.label_smoothing=0.1", "task.focal_gamma=2", "training.encoder_rate=0.1"],
        pytest.param(["training.mixup=0.5", "training.slice_dropout=0.3", "training.reverse_order=0.5"],
                     marks=pytest.mark.slow),
        ["training.precision=bf16-mixed"],
    ],
    ids=lambda overrides: overrides[0].partition("=")[2][:40],
)
def test_every_part_trains_and_scores(tmp_path: Path, head_ct: Path, overrides: list[str]) -> None:
    experiment = make_experiment(tmp_path, head_ct, "training.epochs=1", *overrides)
    train(experiment, tmp_path / "run")
    (line,) = (json.loads(text) for text in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines())
    assert 0 < line["loss"] < 100
    validated = read_rows(tmp_path / "run" / "validation.csv")[0]
    path = next(
        row["path"] for row in read_rows(head_ct / "labels.csv") if row["series_uid"] == validated["series_uid"]
    )
    score(head_ct / path, model=tmp_path / "run", output=tmp_path / "out", device="cpu")
    (row,) = read_rows(tmp_path / "out" / "scores.csv")
    assert row["status"] == "scored"
    assert 0 < float(row["probability_bleed"]) < 1
    assert float(row["probability_bleed"]) == float(validated["probability_bleed"])
    attention = [float(one["attention"]) for one in read_rows(tmp_path / "out" / "slices.csv")]
    assert sum(attention) == pytest.approx(1, abs=1e-6)


def test_checkpointing_changes_memory_and_not_the_result(tmp_path: Path, head_ct: Path) -> None:
    import torch
    from safetensors.torch import load_file

    for name, options in (("plain", []), ("chunked", ["network.checkpoint_chunk=4"])):
        train(make_experiment(tmp_path, head_ct, "training.epochs=1", *options), tmp_path / name)
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("plain", "chunked"))
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, rtol=1e-3, atol=1e-4)


def test_slice_labels_by_uid_and_by_index_train_the_same_model(tmp_path: Path, head_ct: Path, tiny_run: Path) -> None:
    rows = read_rows(head_ct / "slices.csv")
    by_uid = [{"sop_instance_uid": row["sop_instance_uid"], "bleed": row["bleed"]} for row in rows]
    path_of = {row["series_uid"]: row["path"] for row in read_rows(head_ct / "labels.csv")}
    by_path = [
        {"path": path_of[row["series_uid"]], "index": row["index"], "bleed": row["bleed"]} for row in rows[::-1]
    ]
    for name, table in (("uid", by_uid), ("path", by_path)):
        labels = write_rows(tmp_path / f"{name}.csv", table)
        train(make_experiment(tmp_path, head_ct, f"data.slice_labels={labels}"), tmp_path / name)
        assert (tmp_path / name / "model.safetensors").read_bytes() == (tiny_run / "model.safetensors").read_bytes()


def test_slice_labels_of_a_single_series_are_enough(tmp_path: Path, head_ct: Path) -> None:
    rows = read_rows(head_ct / "slices.csv")
    first = read_rows(head_ct / "labels.csv")[1]["series_uid"]
    labels = write_rows(tmp_path / "some.csv", [row for row in rows if row["series_uid"] == first])
    train(make_experiment(tmp_path, head_ct, f"data.slice_labels={labels}"), tmp_path / "run")
    losses = [json.loads(line)["slice_loss"] for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert all(0 < loss < 10 for loss in losses)


def test_a_fold_is_left_out_whole(tmp_path: Path, head_ct: Path) -> None:
    rows = read_rows(head_ct / "labels.csv")
    patients = sorted({row["patient"] for row in rows})
    for row in rows:
        row["path"] = str(head_ct / row["path"])
        row["fold"] = str(patients.index(row["patient"]) % 3)
    manifest = write_rows(tmp_path / "folds.csv", rows)
    train(make_experiment(tmp_path, head_ct, f"data.manifest={manifest}", "data.fold=1"), tmp_path / "run")
    written = {row["series_uid"]: row["split"] for row in read_rows(tmp_path / "run" / "manifest.csv")}
    assert {uid for uid, split in written.items() if split == "test"} == {
        row["series_uid"] for row in rows if row["fold"] == "1"
    }
    assert "val" in written.values()


def test_a_bad_series_is_left_out_with_its_reason(tmp_path: Path, head_ct: Path) -> None:
    rows = read_rows(head_ct / "labels.csv")
    for row in rows:
        row["path"] = str(head_ct / row["path"])
    empty = tmp_path / "empty"
    empty.mkdir()
    rows.append({**rows[0], "path": str(empty), "series_uid": "", "patient": "SYN-0099"})
    manifest = write_rows(tmp_path / "labels.csv", rows)
    train(make_experiment(tmp_path, head_ct, f"data.manifest={manifest}", "training.epochs=1"), tmp_path / "run")
    written = read_rows(tmp_path / "run" / "manifest.csv")
    assert [row["status"] for row in written] == ["used"] * 12 + ["left out"]
    assert "no series was found" in written[-1]["reason"]


def test_a_patient_in_two_splits_is_refused_before_anything_is_read(tmp_path: Path, head_ct: Path) -> None:
    rows = read_rows(head_ct / "labels.csv")
    for row in rows:
        row["path"] = str(head_ct / row["path"])
    rows[0]["patient"] = next(row["patient"] for row in rows if row["split"] == "val")
    manifest = write_rows(tmp_path / "labels.csv", rows)
    with pytest.raises(ConfigError, match="more than one split") as refused:
        train(make_experiment(tmp_path, head_ct, f"data.manifest={manifest}"), tmp_path / "run")
    assert rows[0]["patient"] not in str(refused.value)
    assert not (tmp_path / "run" / "model.safetensors").exists()


def test_the_same_images_under_two_paths_never_stand_in_two_splits(tmp_path: Path, head_ct: Path) -> None:
    import shutil

    rows = read_rows(head_ct / "labels.csv")
    shutil.copytree(head_ct / rows[0]["path"], tmp_path / "copy")
    for row in rows:
        row["path"] = str(head_ct / row["path"])
    rows.append({**rows[0], "path": str(tmp_path / "copy"), "patient": "somebody", "split": "val"})
    manifest = write_rows(tmp_path / "labels.csv", rows)
    with pytest.raises(ConfigError, match="stands in train and in val"):
        train(make_experiment(tmp_path, head_ct, f"data.manifest={manifest}"), tmp_path / "run")


def test_no_usable_series_is_told_with_the_first_reason(tmp_path: Path, head_ct: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    rows = [
        {"path": name, "patient": name, "bleed": index, "split": split}
        for index, (name, split) in enumerate((("a", "train"), ("b", "val")))
    ]
    write_rows(tmp_path / "labels.csv", rows)
    experiment = make_experiment(tmp_path, head_ct, f"data.manifest={tmp_path / 'labels.csv'}")
    with pytest.raises(InputError, match="No usable series for train: 2 were left out"):
        train(experiment, tmp_path / "run")


def test_training_stops_early_and_keeps_the_best_epoch(
    tmp_path: Path, head_ct: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from safetensors.torch import load_file

    from seriatim.training import epochs, loop

    ranks = iter([[0.5, 0.0], [0.9, 0.0], [0.8, 0.0], [0.7, 0.0], [0.6, 0.0]])
    kept: list[dict] = []
    monkeypatch.setattr(loop, "rank_epoch", lambda *_: next(ranks))
    original = epochs.save_checkpoint

    def remember(path: Path, **values: object) -> None:
        weights = values["weights"].items()
        kept.append({name.removeprefix("weights."): tensor.clone() for name, tensor in weights})
        original(path, **values)

    monkeypatch.setattr(epochs, "save_checkpoint", remember)
    options = ["training.epochs=9", "training.patience=2"]
    summary = train(make_experiment(tmp_path, head_ct, *options), tmp_path / "run")
    assert (summary["best_epoch"], summary["epochs"]) == (2, 4)
    best = load_file(tmp_path / "run" / "model.safetensors")
    assert all(bool((best[name] == tensor).all()) for name, tensor in kept[1].items())
    assert any(bool((best[name] != tensor).any()) for name, tensor in kept[3].items())


def test_a_two_stage_run_leaves_the_encoder_as_it_was(tmp_path: Path, head_ct: Path) -> None:
    from seriatim.training import encoder_source as module

    experiment = make_experiment(tmp_path, head_ct, "training.mode=two-stage", "training.learning_rate=0.05")
    train(experiment, tmp_path / "run")
    import torch

    torch.manual_seed(experiment.seed)
    fresh = experiment.network.build(experiment.preprocessing.channels, 1, weights=module.encoder_weights(experiment))
    trained = load_model(tmp_path / "run").network
    for name, parameter in fresh.named_parameters():
        same = bool((dict(trained.named_parameters())[name] == parameter).all())
        assert same == name.startswith("encoder."), name


def test_thresholds_and_envelope_come_from_the_data(tiny_run: Path, head_ct: Path) -> None:
    model = load_model(tiny_run)
    assert 0 < model.thresholds["bleed"] < 1
    assert model.envelope.modalities == ("CT",)
    assert model.envelope.axis == "space"
    counts = [int(row["slices"]) for row in read_rows(tiny_run / "manifest.csv") if row["split"] != "test"]
    assert model.envelope.slices == (min(counts), max(counts))
    assert 4 < model.envelope.slice_spacing_mm[0] <= model.envelope.slice_spacing_mm[1] < 6


def test_a_diverged_run_stops_and_says_what_to_do(tmp_path: Path, head_ct: Path) -> None:
    options = ["training.learning_rate=1.0e+30", "training.clip_norm=1.0e+30", "training.warmup=0"]
    with pytest.raises(ConfigError, match=r"Training diverged: the .* is (nan|inf).*Lower training.learning_rate"):
        train(make_experiment(tmp_path, head_ct, *options), tmp_path / "run")


def test_validation_columns(tiny_run: Path) -> None:
    assert read_header(tiny_run / "validation.csv") == [
        "series_uid", "volume", "patient", "bleed", "probability_bleed", "prediction",
    ]  # fmt: skip


def test_configs_of_the_tests_are_not_changed_by_them() -> None:
    assert CT_CONFIG["training"]["epochs"] == 2


def test_a_calibrated_model_scores_calibrated_probabilities_by_thresholds_chosen_on_them(
    tmp_path: Path, head_ct: Path, tiny_run: Path
) -> None:
    train(make_experiment(tmp_path, head_ct, "task.calibration=platt"), tmp_path / "run")
    plain, calibrated = load_model(tiny_run), load_model(tmp_path / "run")
    bend = calibrated.task.calibration
    assert bend is not None
    assert plain.task.calibration is None
    score(head_ct, model=tmp_path / "run", output=tmp_path / "scores", device="cpu")
    score(head_ct, model=tiny_run, output=tmp_path / "plain", device="cpu")
    uncalibrated = read_rows(tmp_path / "plain" / "scores.csv")
    before = {row["series_uid"]: float(row["probability_bleed"]) for row in uncalibrated}
    after = read_rows(tmp_path / "scores" / "scores.csv")
    for row in after:
        expected = bend.apply(np.array([before[row["series_uid"]]]))[0]
        assert float(row["probability_bleed"]) == pytest.approx(expected, abs=1e-12)
        assert row["prediction"] == str(int(float(row["probability_bleed"]) >= calibrated.thresholds["bleed"]))
    validation = {row["series_uid"]: row["probability_bleed"] for row in read_rows(tmp_path / "run" / "validation.csv")}
    assert {row["series_uid"]: row["probability_bleed"] for row in after if row["split"] == "val"} == validation
    assert "platt, fitted on validation" in (tmp_path / "run" / "card.md").read_text()


def test_prediction_sets_and_a_target_sensitivity_reach_the_tables(tmp_path: Path, head_ct: Path) -> None:
    overrides = ("task.coverage=0.5", "task.target_sensitivity=1.0")
    train(make_experiment(tmp_path, head_ct, *overrides), tmp_path / "run")
    model = load_model(tmp_path / "run")
    assert model.task.conformal is not None
    score(head_ct, model=tmp_path / "run", output=tmp_path / "scores", device="cpu")
    for row in read_rows(tmp_path / "scores" / "scores.csv"):
        given = float(row["probability_bleed"])
        bounds = model.task.conformal.bounds
        assert row["prediction_set"] == "|".join(name for name, one, bound in
                                                 zip("01", (1 - given, given), bounds, strict=True) if one >= bound)
    validation = read_rows(tmp_path / "run" / "validation.csv")
    positives = [float(row["probability_bleed"]) for row in validation if row["bleed"] == "1"]
    assert min(positives) >= model.thresholds["bleed"]
    assert "for a sensitivity of 1 on validation" in (tmp_path / "run" / "card.md").read_text()


def test_a_run_starts_from_the_encoder_of_another(tmp_path: Path, head_ct: Path, tiny_run: Path) -> None:
    given = f"network.encoder.weights={tiny_run}"
    train(make_experiment(tmp_path, head_ct, given, "training.mode=two-stage", "seed=5"), tmp_path / "run")
    first, second = (load_model(one).network.encoder.state_dict() for one in (tiny_run, tmp_path / "run"))
    assert all(bool((first[name] == second[name]).all()) for name in first)
    for wrong in ("network.encoder.widths=[8, 17]", "preprocessing.windows_hu=[[40, 80]]"):
        with pytest.raises(ModelError, match="asks for"):
            train(make_experiment(tmp_path, head_ct, given, wrong), tmp_path / "other")
    with pytest.raises(ModelError, match="not a finished run"):
        train(make_experiment(tmp_path, head_ct, f"network.encoder.weights={head_ct}"), tmp_path / "third")
