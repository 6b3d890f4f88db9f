"""From score tables to the table of docs/results.md: the mean of the seeds, intervals, paired differences."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from benchmark_sets import CONTROL, Benchmark

from seriatim.evaluation.attended import measure_slices
from seriatim.evaluation.compare import compare
from seriatim.evaluation.intervals import Clusters, Estimate, bootstrap
from seriatim.evaluation.join import join
from seriatim.evaluation.measures import measure
from seriatim.evaluation.report import EvaluationSettings
from seriatim.evaluation.samples import ask, collect
from seriatim.evaluation.scores import read_scores
from seriatim.experiment import Experiment
from seriatim.io.tables.outputs import make_folder, write_json
from seriatim.tasks.metrics import roc_auc

Done = dict[str, tuple[list[Path], list[list[Path]]]]
"""Model -> (pooled score folders, one per fold; the score folders of each seed)."""
SLICES = "slice:slice_auc_of_score"
AVERAGED = ("probability_", "score_", "attention")


def average_seeds(folders: Sequence[Path], output: Path) -> None:
    """The tables of one fold with the mean over the seeds of probabilities, slice scores, attention and thresholds."""
    make_folder(output)
    for name in ("scores.csv", "slices.csv"):
        tables = [_read(folder / name) for folder in folders]
        keys = [[[row[key] for key in ("series_uid", "sop_instance_uid", "path", "index") if key in row]
                 for row in table] for table in tables]
        if any(own != keys[0] for own in keys):
            raise SystemExit(f"The seeds of {output} did not score the same series.")
        rows = [_average(same) for same in zip(*tables, strict=True)]
        with (output / name).open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, fieldnames=list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    runs = [json.loads((folder / "run.json").read_text()) for folder in folders]
    thresholds = {name: float(np.mean([run["thresholds"][name] for run in runs])) for name in runs[0]["thresholds"]}
    write_json(output / "run.json", {"task": runs[0]["task"], "thresholds": thresholds})


def _average(same: Sequence[dict[str, str]]) -> dict[str, str]:
    means = {name: repr(float(np.mean([float(row[name]) for row in same])))
             for name in same[0] if name.startswith(AVERAGED) and all(row[name] for row in same)}
    return {**same[0], **means, "prediction": ""}  # decided anew from the mean


def _read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def report(benchmark: Benchmark, done: Done, out: Path) -> None:
    """Evaluate what was run and write benchmark.json and benchmark.md."""
    experiment = Experiment.read(benchmark.config, benchmark.overrides)
    pooled = {name: own for name, (own, _) in done.items() if own}
    content: dict[str, Any] = {
        "models": {name: measure_folders(own, experiment) for name, own in pooled.items()},
        "seeds": {name: [plain_figure(benchmark.figures[0], own, experiment) for own in seeds]
                  for name, (_, seeds) in done.items() if seeds and name != CONTROL},
        "differences": {one: differences(pooled, one, experiment, out)
                        for one in (benchmark.reference, benchmark.linear) if one in pooled and len(pooled) > 1},
        "random labels": [
            measure_folders(own, experiment, labels=out / f"random_labels_{seed}.csv")
            for seed, own in enumerate(done[CONTROL][1])
        ] if CONTROL in done else [],
    }
    write_json(out / "benchmark.json", content)
    (out / "benchmark.md").write_text(markdown(benchmark, content), encoding="utf-8")


def measure_folders(folders: Sequence[Path], experiment: Experiment, *, labels: Path | None = None
                    ) -> dict[str, dict[str, Any]]:
    """The figures of some scored folds, pooled; those of slices have the prefix ``slice:``."""
    tables = [read_scores(folder / "scores.csv") for folder in folders]
    question, labels_path = ask(tables, ()), labels or experiment.data.manifest
    pairs = join(tables, labels_path).pairs
    samples = collect(question, pairs, scores=tables, labels_path=labels_path, threshold=None)
    found: dict[str, Estimate] = dict(measure(question, samples))
    truth = experiment.data.slice_labels
    if truth is not None and labels is None:
        slices = measure_slices(question, pairs, scores=tables, truth_path=truth,
                                names=experiment.task.slice_labels)
        found |= {f"slice:{name}": one for name, one in slices.measures.items()}
    return {name: one.as_dict() for name, one in found.items()}


def plain_figure(name: str, folders: Sequence[Path], experiment: Experiment) -> float:
    """One figure of some scored folds, pooled, without its interval: the AUC (mean over classes), or the accuracy."""
    tables = [read_scores(folder / "scores.csv") for folder in folders]
    question = ask(tables, ())
    samples = collect(question, join(tables, experiment.data.manifest).pairs, scores=tables,
                      labels_path=experiment.data.manifest, threshold=None)
    if name == "accuracy":
        return float((samples.decisions == (samples.labels == 1)).all(axis=1).mean())
    return float(np.mean([roc_auc(*both) for both in zip(samples.labels.T, samples.scores.T, strict=True)]))


def differences(pooled: dict[str, list[Path]], reference: str, experiment: Experiment, out: Path
                ) -> dict[str, dict[str, Any]]:
    """Every model's paired differences to one of them: its figure minus the reference's."""
    names = [reference, *(name for name in pooled if name != reference)]
    settings = EvaluationSettings(labels=experiment.data.manifest, patient=experiment.data.patient)
    output = out / f"against_{reference.split()[0].strip(',')}"
    found = compare([pooled[name][0].parent for name in names], settings=settings, output=make_folder(output))
    told = {name: {key: one.as_dict() for key, one in model.differences.items()}
            for name, model in zip(names, found.models, strict=True)}
    if experiment.data.slice_labels is not None and experiment.task.target == "binary":
        for name in names[1:]:
            told[name][SLICES] = slice_difference(pooled[reference], pooled[name], experiment).as_dict()
    return told


def slice_difference(first: Sequence[Path], second: Sequence[Path], experiment: Experiment) -> Estimate:
    """The second model's AUC over all slices minus the first's, both on the same resamples of patients."""
    label, truth_path = experiment.task.labels[0], experiment.data.slice_labels
    assert truth_path is not None
    truth = {row["sop_instance_uid"]: int(row[label]) for row in _read(truth_path) if row[label] in ("0", "1")}
    scores = [{row["sop_instance_uid"]: row for folder in folders for row in _read(folder / "slices.csv")}
              for folders in (first, second)]
    slices = [uid for uid in scores[0] if uid in truth]
    labels = np.array([truth[uid] for uid in slices])
    values = [np.array([float(own[uid][f"score_{label}"]) for uid in slices]) for own in scores]
    series = np.unique([scores[0][uid]["series_uid"] for uid in slices], return_inverse=True)[1]
    return bootstrap(lambda index: roc_auc(labels[index], values[1][index]) - roc_auc(labels[index], values[0][index]),
                     Clusters(series))


def markdown(benchmark: Benchmark, content: dict[str, Any]) -> str:
    """The tables: figures of each model with intervals; then the differences to the two references."""
    figures = benchmark.figures
    main = figures[0]
    lines = [_row(["model", *map(_title, figures), f"{_title(main)} of single seeds"]), _rule(len(figures) + 2)]
    for name, found in content["models"].items():
        spread = ", ".join(f"{value:.3f}" for value in content["seeds"].get(name, [])) or "-"
        lines.append(_row([name, *(_estimate(found.get(figure)) for figure in figures), spread]))
    for seed, found in enumerate(content["random labels"]):
        lines.append(_row([f"{CONTROL} {seed}", *(_estimate(found.get(figure)) for figure in figures), "-"]))
    compared = [name for name in figures if any(name in found for models in content["differences"].values()
                                                for found in models.values())]
    known = (*benchmark.variants(), *benchmark.baselines)
    for reference, models in content["differences"].items():
        lines += ["", _row([f"difference to {reference}", *map(_title, compared)]), _rule(len(compared) + 1)]
        lines += [_row([name, *(_estimate(found.get(figure), sign="+") for figure in compared)])
                  for name, found in models.items() if name != reference and name in known]
    return "\n".join(lines) + "\n"


def _title(figure: str) -> str:
    return figure.removeprefix("slice:").replace("_", " ").replace("auc", "AUC")


def _estimate(found: dict[str, Any] | None, *, sign: str = "") -> str:
    if found is None or found["value"] is None:
        return "-"
    text = f"{found['value']:{sign}.3f}"
    return text if found["low"] is None else f"{text} ({found['low']:{sign}.3f} to {found['high']:{sign}.3f})"


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _rule(count: int) -> str:
    return "|" + "---|" * count
