"""What made a score: the models, the settings and the versions, for people (run.json) and as one digest."""

from __future__ import annotations

import hashlib
import json
import math
import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from seriatim.io.tables.outputs import path_beside
from seriatim.trained import AnomalyModel, Model, Scorer

PACKAGES = ("seriatim", "torch", "torchvision", "monai", "numpy", "pydicom", "SimpleITK")
DECODERS = ("imagecodecs", "pylibjpeg", "pylibjpeg-openjpeg", "pylibjpeg-rle", "pyjpegls", "nibabel", "pillow", "av")
"""Other packages that make pixels of files: lossy ones may differ in the last bits between versions."""


def digest_settings(model: Scorer) -> str:
    """A digest of all that a score depends on beside the series: where it differs, a series is scored again.

    Not in it: how a batch is worked on, limits of reading (what they end is tried again anyhow), what is done about
    findings (it is seen in the series), and what the tables look like.
    """
    described = [_describe_model(one) for one in _members(model)]
    settings = {
        "models": sorted(described, key=lambda one: str(one["digest"])),
        "outside": model.outside if isinstance(model, AnomalyModel) else None,
        "thresholds": dict(model.thresholds),
        "answers": model.answer_key,
        "versions": _versions((*PACKAGES, *DECODERS)),
    }
    return hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode()).hexdigest()


def describe_run(model: Scorer, *, folder: Path, counts: Mapping[str, int], seconds: float) -> dict[str, Any]:
    """What made the tables in ``folder``: versions, models, thresholds, counts."""
    task = model.experiment.task
    members = [{"path": path_beside(one.path, folder), **_describe_model(one)} for one in _members(model)]
    several = {"name": " + ".join(dict.fromkeys(one["name"] for one in members)), "digest": model.digest}
    return {
        "model": members[0] if len(members) == 1 else {**several, "members": members},
        "task": {
            "kind": task.kind,
            "target": task.target,
            "labels": list(task.labels),
            "classes": list(model.task.class_names),
            "slice_labels": list(task.slice_labels or task.labels),
            "soft_labels": task.soft_labels,
            **(_describe_anomaly(model) if isinstance(model, AnomalyModel) else {}),
        },
        "thresholds": dict(model.thresholds),
        "thresholds_from": model.thresholds_from,
        "counts": dict(counts),
        "seconds": round(seconds, 3),
        "device": model.compute.device,
        "compute": model.compute.describe(),
        "versions": _versions(PACKAGES),
    }


def _members(model: Scorer) -> tuple[Model | AnomalyModel, ...]:
    return (model,) if isinstance(model, AnomalyModel) else model.members


def _versions(names: tuple[str, ...]) -> dict[str, str]:
    """The versions of what is installed of these."""
    found = {"python": platform.python_version()}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _describe_model(model: Model | AnomalyModel) -> dict[str, Any]:
    described = {"name": model.experiment.name, "digest": model.digest}
    if model.compute.export:
        described["export_sha256"] = model.compute.export
    if isinstance(model, AnomalyModel):
        return described
    experiment = model.experiment
    return {**described, "test_time": experiment.test_time.model_dump(), "envelope": experiment.envelope.model_dump()}


def _describe_anomaly(model: AnomalyModel) -> dict[str, Any]:
    """What a reader needs to know of an anomaly task: the words for normal, the methods, and where the threshold is."""
    norms = model.task.norms
    assert norms is not None
    return {
        "normal": list(model.task.settings.normal),
        "methods": [method.kind for method in model.task.settings.methods],
        "threshold_p_value": math.exp(-norms.threshold),
    }
