"""Every YAML of configs/ loads, builds its network and task, and says in its header how to run it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from seriatim.experiment import AnomalyExperiment, Experiment, read_experiment
from seriatim.trained.anomaly import build_network
from seriatim.training.encoder_source import encoder_weights

ROOT = Path(__file__).parents[1]
CONFIGS = sorted((ROOT / "configs").rglob("*.yaml"))


def test_there_are_configs() -> None:
    assert "demo.yaml" in {path.name for path in CONFIGS}


DIAGNOSES = [path for path in CONFIGS if isinstance(read_experiment(path), Experiment)]
ANOMALIES = [path for path in CONFIGS if path not in DIAGNOSES]


@pytest.mark.parametrize("path", ANOMALIES, ids=lambda path: path.name)
def test_an_anomaly_config_loads_builds_and_runs(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    experiment = read_experiment(path)
    assert isinstance(experiment, AnomalyExperiment)
    network = build_network(experiment).eval()
    rows, columns = experiment.preprocessing.size
    with torch.inference_mode():
        evidence = network.examine(torch.rand(3, experiment.preprocessing.channels, rows, columns))
    assert len(evidence) == len(experiment.task.methods)
    assert all(values.shape == (3,) for one in evidence for values in one.parts.values())


@pytest.mark.parametrize("path", DIAGNOSES, ids=lambda path: path.name)
def test_a_config_loads_builds_and_runs(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    experiment = Experiment.read(path)
    wanted = experiment.network.encoder.weights
    absent = wanted is not None and not Path(wanted).is_file()
    weights = None if absent else encoder_weights(experiment)
    task = experiment.task.build()
    network = experiment.network.build(experiment.preprocessing.channels, task.outputs, weights=weights).eval()
    rows, columns = experiment.preprocessing.size
    slices = torch.rand(1, 2, experiment.preprocessing.channels, rows, columns)
    with torch.inference_mode():
        output = network(slices, torch.ones(1, 2, dtype=torch.bool))
    assert output.volume_logits.shape == (1, task.outputs)
    assert bool(torch.isfinite(output.volume_logits).all())
    assert experiment.augmentation.build(experiment.preprocessing.size) is not None


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_a_config_says_how_it_is_run(path: Path) -> None:
    header = [line for line in path.read_text().splitlines() if line.startswith("#")]
    for word in ("command:", "data:", "hardware:"):
        assert any(word in line for line in header), f"{path.name} does not say its {word[:-1]}"
