"""An experiment: one YAML, paths found beside it, and what does not fit together refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from seriatim.errors import ConfigError
from seriatim.experiment import Experiment
from seriatim.series import Code

CONTENT = {
    "name": "one", "data": {"manifest": "labels.csv"}, "preprocessing": {"kind": "ct"}, "network": {},
    "task": {"labels": ["bleed"], "kind": "diagnosis"},
}  # fmt: skip
DRAWN = ["task.attention_loss_weight=0.1", "data.slice_labels=slices.csv"]


def write(folder: Path, content: dict = CONTENT) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def test_paths_are_found_beside_the_config_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    for folder in ("here", "configs"):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / "labels.csv").write_text("")
    monkeypatch.chdir(tmp_path / "here")
    path = write(tmp_path / "configs")
    assert Experiment.read(path).data.manifest == tmp_path / "configs" / "labels.csv"
    (tmp_path / "configs" / "labels.csv").unlink()
    assert Experiment.read(path).data.manifest == tmp_path / "here" / "labels.csv"


def test_an_absolute_path_stays(tmp_path: Path) -> None:
    experiment = Experiment.read(write(tmp_path), [f"data.manifest={tmp_path / 'm.csv'}"])
    assert experiment.data.manifest == tmp_path / "m.csv"
    assert experiment.data.slice_labels is None


def test_a_fold_may_be_a_number(tmp_path: Path) -> None:
    assert Experiment.read(write(tmp_path), ["data.fold=0"]).data.fold == "0"
    assert Experiment.read(write(tmp_path), ["data.fold=b"]).data.fold == "b"


def test_actions_on_findings_are_read_by_their_codes(tmp_path: Path) -> None:
    assert Experiment.read(write(tmp_path), ["data.findings={GAP: keep}"]).data.findings == {Code.GAP: "keep"}
    with pytest.raises(ConfigError, match="GAP"):
        Experiment.read(write(tmp_path), ["data.findings={HOLE: keep}"])


def test_it_survives_being_written_and_read(tmp_path: Path) -> None:
    options = ["data.findings={GAP: keep}", "data.fold=2", "preprocessing.size=[96, 128]", "network.temporal.kind=gru"]
    experiment = Experiment.read(write(tmp_path), options)
    again = write(tmp_path / "again", experiment.model_dump(mode="json"))
    assert Experiment.read(again) == experiment


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["task.slice_loss_weight=1"], "needs data.slice_labels"),
        (["task.labels=[a, b]"], "did you mean multilabel"),
        (["task.target=multiclass"], "needs classes"),
        (["task.classes=[a, b]"], "classes are for target multiclass"),
        (["preprocessing.size=8"], "16 to 2048"),
        (["preprocessing.windows_hu=[[40, 0]]"], "width > 0"),
        (["network.pooling={kind: slice_scores, how: linear_softmax}", "task.target=regression"], "linear_softmax"),
        (["network.temporal.kind=gru", "network.temporal.dropout=0.5"], "set layers: 2"),
        (["network.temporal.hidden=8"], "network.temporal needs a kind. Legal kinds: gru, lstm, none, transformer."),
        (["network.encoder={kind: small_cnn, weights: imagenet}"], "no ImageNet weights for small_cnn"),
        (["training.mixup=0.2", "training.batch_size=1"], "set batch_size: 2"),
        (["joint_stage={epochs: 2, unfreeze_epoch: 3}"], "would never learn"),
        (["training.unfreeze_epoch=12"], "raise patience"),
        (["training.encoder_rate=0.1", "training.mode=two-stage"], "training.encoder_rate is for an encoder"),
        (["training.layer_decay=0.7", "network.encoder={kind: torchvision, freeze: all}"], "layer_decay is for"),
        (["network.gradient_slices=4", "training.mode=two-stage"], "network.gradient_slices is for an encoder"),
        (["task={labels: [bleed], target: multiclass, classes: [a, b], slice_positive_weight: 3}"], "leave it out"),
        ([*DRAWN, "network.pooling.kind=mean"], "draws attention that learns"),
        ([*DRAWN, "network.pooling={kind: slice_scores, how: top_k}"], "draws attention that learns"),
        (["training.precision=fp8"], "bf16-mixed"),
        (["seed=100000000000"], "less than or equal to 1000000000"),
        (["data.validation_fraction=1"], "less than 1"),
    ],
)
def test_what_cannot_be_is_refused_with_the_repair(tmp_path: Path, overrides: list[str], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Experiment.read(write(tmp_path), overrides)
    assert said in str(caught.value)


def test_encoder_weights_lie_beside_the_config_too(tmp_path: Path) -> None:
    (tmp_path / "weights.pth").write_bytes(b"")
    content = {**CONTENT, "network": {"encoder": {"kind": "torchvision", "weights": "weights.pth"}}}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(content))
    found = Experiment.read(tmp_path / "config.yaml").network.encoder.weights
    assert found == str((tmp_path / "weights.pth").resolve())


def test_two_stage_training_with_augmentation_is_refused() -> None:
    content = {**CONTENT, "training": {"mode": "two-stage"}, "augmentation": {"noise": 1.0}}
    with pytest.raises(ConfigError, match=r"augmentation needs training\.embedding_views"):
        Experiment.from_content(content, where="test")
