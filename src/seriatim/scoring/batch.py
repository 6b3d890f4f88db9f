"""Score every series below a path: one row each, nothing lost, one bad series never stops the run."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from time import perf_counter
from typing import Any

from seriatim.io import find_series
from seriatim.io.isolation.limits import Limits
from seriatim.io.tables.outputs import make_folder, write_json
from seriatim.scoring.engine import score_one
from seriatim.scoring.tables import ScoreTables
from seriatim.series import Code, Prediction, Series, Skipped
from seriatim.series.findings import Action
from seriatim.trained import Model, load_model, read_splits

PACKAGES = ("seriatim", "torch", "torchvision", "monai", "numpy", "pydicom", "SimpleITK")
Report = Callable[[int, int, Prediction], None]
"""(series done, series in all, the last one's prediction): called after every series."""


def score(
    path: Path | str,
    *,
    model: Path | str | Model,
    output: Path | str,
    device: str = "auto",
    only: Collection[str] | None = None,
    actions: Mapping[Code, Action] | None = None,
    limits: Limits | None = None,
    report: Report | None = None,
) -> dict[str, Any]:
    """Score every series below ``path`` and write ``scores.csv``, ``slices.csv``, ``skipped.csv`` and ``run.json``.

    Args:
        path: a folder (searched through), a file, or a ZIP archive or a folder in one.
        model: the run folder of a trained model, or what ``load_model`` made of it.
        output: the folder for the tables; made where it does not exist.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        only: series UIDs to score; all others are left alone and counted as ``not_asked_for``.
        actions: what to do on findings, where it differs from what the model was trained with.
        limits: time and memory for reading a series in its worker process, where not ``data.reading`` of the model.
        report: told after every series.

    Returns:
        What ``run.json`` holds: versions, the model's digest, and counts that add up.

    Raises:
        InputError: ``path`` does not exist.
        ModelError: the model is incomplete, changed or does not fit.
        OutputError: ``output`` cannot be written.
    """
    started = perf_counter()
    loaded = (model if isinstance(model, Model) else load_model(model, device=device)).with_limits(limits)
    folder = make_folder(Path(output))
    policy = {**loaded.experiment.data.findings, **(actions or {})}
    inventory = find_series(path, policy, sequence=loaded.experiment.data.sequence, limits=loaded.limits)
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
    series: Sequence[Series], *, model: Path | str | Model, output: Path | str, device: str = "auto"
) -> dict[str, Any]:
    """Score series that are found already, and write the same tables as ``score``.

    Raises:
        ModelError: the model is incomplete, changed or does not fit.
        OutputError: ``output`` cannot be written.
    """
    started = perf_counter()
    loaded = model if isinstance(model, Model) else load_model(model, device=device)
    folder = make_folder(Path(output))
    counts = _write_tables(series, loaded, folder)
    counted = {"discovered": len(series), **counts, "not_asked_for": 0, "files_skipped": 0}
    summary = describe_run(loaded, counts=counted, seconds=perf_counter() - started)
    write_json(folder / "run.json", summary)
    return summary


def _write_tables(
    asked: Sequence[Series], model: Model, folder: Path, *, skipped: Sequence[Skipped] = (),
    report: Report | None = None,
) -> Counter[str]:
    """Score one series after the other into the tables; how many ended in each status."""
    counts: Counter[str] = Counter(scored=0, refused=0, failed=0)
    prefix = "value" if model.experiment.task.target == "regression" else "probability"
    names, per_slice = model.task.class_names, model.task.scores_slices
    splits = read_splits(model.path)
    with ScoreTables(folder, classes=names, prefix=prefix, slice_scores=per_slice, splits=splits) as tables:
        tables.add_skipped(skipped)
        for done, series in enumerate(asked, start=1):
            prediction = score_one(series, model)
            counts[prediction.status] += 1
            tables.add(prediction)
            if report is not None:
                report(done, len(asked), prediction)
    return counts


def describe_run(model: Model, *, counts: dict[str, int], seconds: float) -> dict[str, Any]:
    """What made the tables: versions, model, thresholds, counts."""
    task = model.experiment.task
    return {
        "model": {"name": model.experiment.name, "path": str(model.path), "digest": model.digest},
        "task": {
            "kind": task.kind,
            "target": task.target,
            "labels": list(task.labels),
            "classes": list(model.task.class_names),
            "slice_labels": list(task.slice_labels or task.labels),
        },
        "thresholds": dict(model.thresholds),
        "test_time": model.experiment.test_time.model_dump(),
        "counts": counts,
        "seconds": round(seconds, 3),
        "device": str(next(model.network.parameters()).device),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
    }

