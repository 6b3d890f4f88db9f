"""Score every series below a path: one row each, nothing lost, one bad series never stops the run."""

from __future__ import annotations

import math
import platform
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from time import perf_counter
from typing import Any

from seriatim.experiment.envelope import Outside
from seriatim.io import find_series
from seriatim.io.isolation.limits import Limits
from seriatim.io.tables.outputs import make_folder, write_json
from seriatim.scoring.pipeline import predict_all
from seriatim.scoring.tables import ScoreTables
from seriatim.series import Code, Prediction, Series, Skipped
from seriatim.series.findings import Action
from seriatim.trained import AnomalyModel, Model, Models, Scorer, load_scorer

PACKAGES = ("seriatim", "torch", "torchvision", "monai", "numpy", "pydicom", "SimpleITK")
Report = Callable[[int, int, Prediction], None]
"""(series done, series in all, the last one's prediction): called after every series."""


def score(
    path: Path | str,
    *,
    model: Models,
    output: Path | str,
    device: str = "auto",
    only: Collection[str] | None = None,
    actions: Mapping[Code, Action] | None = None,
    limits: Limits | None = None,
    outside: Outside | None = None,
    report: Report | None = None,
) -> dict[str, Any]:
    """Score every series below ``path`` and write ``scores.csv``, ``slices.csv``, ``skipped.csv`` and ``run.json``.

    Args:
        path: a folder (searched through), a file, or a ZIP archive or a folder in one.
        model: the run folder of a trained model, the folder of a cross-validation (all its folds), what
            ``load_model`` or ``load_ensemble`` made of them, or several of these: then the mean of their probabilities.
        output: the folder for the tables; made where it does not exist.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        only: series UIDs to score; all others are left alone and counted as ``not_asked_for``.
        actions: what to do on findings, where it differs from what the model was trained with.
        limits: time and memory for reading a series in its worker process, where not ``data.reading`` of the model.
        outside: whether series outside of what training saw (``envelope`` of the experiment) are refused or only
            noted, where not as each model was trained to do.
        report: told after every series.

    Returns:
        What ``run.json`` holds: versions, the model's digest, and counts that add up.

    Raises:
        InputError: ``path`` does not exist.
        ModelError: a model is incomplete, changed or does not fit, or several answer different questions.
        OutputError: ``output`` cannot be written.
    """
    started = perf_counter()
    loaded = load_scorer(model, device=device)
    limits = limits or loaded.limits
    loaded = replace(loaded, limits=limits).with_outside(outside)
    folder = make_folder(Path(output))
    policy = {**loaded.experiment.data.findings, **(actions or {})}
    inventory = find_series(path, policy, sequence=loaded.experiment.data.sequence, limits=limits)
    asked = [series for series in inventory.series if only is None or series.series_uid in only]
    counts = _write_tables(asked, loaded, folder, skipped=inventory.skipped, report=report)
    total = {"discovered": len(inventory.series), **counts, "not_asked_for": len(inventory.series) - len(asked)}
    counted = {**total, "files_skipped": len(inventory.skipped)}
    summary = {
        **describe_run(loaded, counts=counted, seconds=perf_counter() - started),
        "findings": {str(code): action for code, action in policy.items()},
        "only": None if only is None else len(only),
    }
    write_json(folder / "run.json", summary)
    return summary


def score_found(
    series: Sequence[Series], *, model: Models, output: Path | str, device: str = "auto",
    outside: Outside | None = None,
) -> dict[str, Any]:
    """Score series that are found already, and write the same tables as ``score``, whose arguments these are.

    Raises:
        ModelError: the model is incomplete, changed or does not fit.
        OutputError: ``output`` cannot be written.
    """
    started = perf_counter()
    loaded = load_scorer(model, device=device).with_outside(outside)
    folder = make_folder(Path(output))
    counts = _write_tables(series, loaded, folder)
    counted = {"discovered": len(series), **counts, "not_asked_for": 0, "files_skipped": 0}
    summary = describe_run(loaded, counts=counted, seconds=perf_counter() - started)
    write_json(folder / "run.json", summary)
    return summary


def _write_tables(
    asked: Sequence[Series], model: Scorer, folder: Path, *, skipped: Sequence[Skipped] = (),
    report: Report | None = None,
) -> Counter[str]:
    """Score one series after the other into the tables; how many ended in each status."""
    counts: Counter[str] = Counter(scored=0, refused=0, failed=0)
    with ScoreTables(folder, model=model) as tables:
        tables.add_skipped(skipped)
        for done, (_, prediction) in enumerate(predict_all(asked, model), start=1):
            counts[prediction.status] += 1
            tables.add(prediction)
            if report is not None:
                report(done, len(asked), prediction)
    return counts


def describe_run(model: Scorer, *, counts: dict[str, int], seconds: float) -> dict[str, Any]:
    """What made the tables: versions, models, thresholds, counts."""
    task = model.experiment.task
    loaded = (model,) if isinstance(model, AnomalyModel) else model.members
    members = [_describe_model(one) for one in loaded]
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
        "counts": counts,
        "seconds": round(seconds, 3),
        "device": str(next(loaded[0].network.parameters()).device),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
    }


def _describe_model(model: Model | AnomalyModel) -> dict[str, Any]:
    described = {"name": model.experiment.name, "path": str(model.path), "digest": model.digest}
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
