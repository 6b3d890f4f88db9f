"""Which kind of experiment a YAML holds: `task.kind` says it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from seriatim.experiment.anomaly import AnomalyExperiment
from seriatim.experiment.experiment import Experiment
from seriatim.settings import apply_overrides, read_yaml


def read_experiment(path: Path, overrides: Iterable[str] = ()) -> Experiment | AnomalyExperiment:
    """Read a YAML of any kind, apply ``KEY=VALUE`` overrides, and check the whole.

    Raises:
        ConfigError: the file cannot be read or a setting is illegal; the message names it and what is legal.
    """
    content = apply_overrides(read_yaml(path), overrides)
    return kind_of(content).from_content(content, where=str(path), folder=path.parent)


def kind_of(content: Mapping[str, Any]) -> type[Experiment] | type[AnomalyExperiment]:
    """The class that a mapping is to be checked as."""
    task = content.get("task")
    return AnomalyExperiment if isinstance(task, Mapping) and task.get("kind") == "anomaly" else Experiment
