"""A trained model on disk: loaded whole or refused, and it says which series it must not score."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from seriatim.errors import ConfigError, ModelError
from seriatim.io import find_series, read_volume
from seriatim.trained import choose_device, load_model, split_of_run
from tiny_runs import read_rows


@pytest.fixture
def run(tmp_path: Path, tiny_run: Path) -> Path:
    shutil.copytree(tiny_run, tmp_path / "run")
    return tmp_path / "run"


def change_description(run: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = run / "model.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_a_model_is_ready_to_score(tiny_run: Path) -> None:
    model = load_model(str(tiny_run))
    assert not model.network.training
    assert not any(parameter.requires_grad for parameter in model.network.parameters())
    assert model.path == tiny_run
    assert model.experiment.name == "tiny"


def test_the_digest_names_weights_and_description(run: Path, tiny_run: Path) -> None:
    assert load_model(run).digest == load_model(tiny_run).digest
    change_description(run, lambda content: content["thresholds"].update(bleed=0.123))
    assert load_model(run).thresholds == {"bleed": 0.123}
    assert load_model(run).digest != load_model(tiny_run).digest


def test_only_weights_and_description_are_needed(run: Path) -> None:
    for path in run.iterdir():
        if path.name not in ("model.json", "model.safetensors"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert load_model(run).network is not None


@pytest.mark.parametrize("name", ["model.json", "model.safetensors"])
def test_a_missing_file_is_named(run: Path, name: str) -> None:
    (run / name).unlink()
    with pytest.raises(ModelError, match=f"has no {name}: it is not a finished run"):
        load_model(run)


@pytest.mark.parametrize("place", [0, 200, -1])
def test_changed_weights_are_refused(run: Path, place: int) -> None:
    content = bytearray((run / "model.safetensors").read_bytes())
    content[place] ^= 0x20
    (run / "model.safetensors").write_bytes(content)
    with pytest.raises(ModelError, match="is not the file that was trained"):
        load_model(run)


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content.update(format=99),
        lambda content: content.pop("envelope"),
        lambda content: content.pop("weights_sha256"),
        lambda content: content["experiment"].update(unknown=1),
        lambda content: content["experiment"]["network"]["temporal"].update(hidden=9),
        lambda content: content["experiment"]["task"].update(target="regresion"),
        lambda content: content.update(thresholds=3),
        lambda content: content.update(thresholds={"bleed": "high"}),
        lambda content: content["envelope"].update(slices=[1]),
        lambda content: content["envelope"].update(slices=None),
        lambda content: content.update(experiment=[]),
        lambda content: content.update(envelope=[]),
    ],
)
def test_a_description_that_does_not_fit_is_refused(run: Path, change: Callable[[dict[str, Any]], object]) -> None:
    change_description(run, change)
    with pytest.raises(ModelError):
        load_model(run)


@pytest.mark.parametrize("text", ["", "[]", "{", "null", "\xff"])
def test_a_description_that_is_none_is_refused(run: Path, text: str) -> None:
    (run / "model.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(ModelError):
        load_model(run)


def test_what_a_model_refuses(tiny_run: Path, head_ct: Path) -> None:
    model = load_model(tiny_run)
    series = find_series(head_ct / read_rows(head_ct / "labels.csv")[0]["path"]).series[0]
    assert model.refuse(series) == ""
    assert "the series is MR, the model is for CT" in model.refuse(dataclasses.replace(series, modality="MR"))
    assert "of no modality" in model.refuse(dataclasses.replace(series, modality=""))
    assert model.refuse(dataclasses.replace(series, modality="", format="nifti")) == ""  # such files name no modality
    timed = dataclasses.replace(series, axis="time", affine=None, spacing_mm=None)
    assert "runs in time" in model.refuse(timed)


def test_a_model_refuses_a_plane_it_never_saw_and_notes_other_ranges(tiny_run: Path, head_ct: Path) -> None:
    model = load_model(tiny_run)
    series = find_series(head_ct / read_rows(head_ct / "labels.csv")[0]["path"]).series[0]
    assert model.note(series) == ()
    coronal = series.affine.copy()
    coronal[:, [1, 2]] = series.affine[:, [2, 1]]  # rows run up, slices run back
    assert model.refuse(dataclasses.replace(series, affine=coronal)) == (
        "PLANE: the slices are coronal, the model was trained on axial ones."
    )
    few = dataclasses.replace(series, instances=series.instances[:3], spacing_mm=(1.0, 1.0, 20.0))
    assert model.refuse(few) == ""
    assert model.note(few) == ("OUTSIDE_TRAINED_SLICES", "OUTSIDE_TRAINED_SPACING")


def test_a_volume_is_prepared_as_in_training(tiny_run: Path, head_ct: Path) -> None:
    model = load_model(tiny_run)
    series = find_series(head_ct / read_rows(head_ct / "labels.csv")[0]["path"]).series[0]
    slices = model.prepare(read_volume(series))
    assert slices.shape == (len(series.instances), 2, 32, 32)
    assert 0 <= float(slices.min()) < float(slices.max()) <= 1


def test_a_split_of_the_run(tiny_run: Path, head_ct: Path) -> None:
    for split in ("train", "val", "test"):
        expected = {row["series_uid"] for row in read_rows(head_ct / "labels.csv") if row["split"] == split}
        assert split_of_run(tiny_run, split) == expected
    with pytest.raises(ConfigError, match="train, val or test"):
        split_of_run(tiny_run, "tset")


def test_devices() -> None:
    assert choose_device("cpu") == "cpu"
    assert choose_device("auto") == ("cuda" if torch.cuda.is_available() else "cpu")
    for name in ("tpu", "", "cuda" if not torch.cuda.is_available() else "cuda:99"):
        with pytest.raises(ConfigError, match="this machine has cpu"):
            choose_device(name)
