"""One table of models on one set of real data: same folds, same budget, same frozen encoder, several seeds.

usage: benchmark.py SET OUT [--seeds 3] [--draws 3] [--models NAME ...] [--set KEY=VALUE ...]
for example: benchmark.py ct_ich work/bench/ct_ich
sets: ct_ich, ct_ich_fine, ct_ich_subtypes, pocus, pocus_standardised, adrenal, adrenal_folds

Every series is scored by models that never saw its patient, one for each seed; their mean is the model's answer. The
encoder runs once: embeddings are shared through OUT/store. The last model learns from labels that were exchanged
between the patients of a fold, and must come out at chance. Called again after a stop, it goes on where it was.
Writes OUT/benchmark.json and OUT/benchmark.md, the table of docs/results.md.
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path

import numpy as np
from benchmark_forest import run_forest
from benchmark_linear import run_linear
from benchmark_scores import score_held_out
from benchmark_sets import CONTROL, FOREST, LINEAR, SETS, WHOLE, Benchmark
from benchmark_tables import average_seeds, report

from seriatim.experiment import Experiment
from seriatim.training import fold_table, train

UNCHECKED = ("data.near_duplicates=ignore", "data.compare_test=false")
"""Looking for copies across splits reads every image for every model; one `seriatim crossval` of the config does it."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set", choices=list(SETS))
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--draws", type=int, help="exchanges of labels for the control; else as many as seeds")
    parser.add_argument("--models", nargs="+", help="these models of the table only")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides")
    args = parser.parse_args()
    benchmark = SETS[args.set]
    names = [*benchmark.baselines, *benchmark.variants()]
    wanted = [name for name in names if args.models is None or name in args.models]
    record(args.out, {"set": args.set, "overrides": args.overrides})
    done = {}
    for name in wanted:
        print(f"{args.set}: {name}", flush=True)
        done[name] = run_model(benchmark, name, args)
    report(benchmark, done, args.out)
    print((args.out / "benchmark.md").read_text(encoding="utf-8"))


def record(out: Path, content: dict[str, object]) -> None:
    """Write down what is run; another run must not go on with it."""
    out.mkdir(parents=True, exist_ok=True)
    path = out / "asked.json"
    if path.is_file() and json.loads(path.read_text()) != content:
        raise SystemExit(f"{out} holds a benchmark that was asked for otherwise. Choose another folder.")
    path.write_text(json.dumps(content) + "\n")


def run_model(benchmark: Benchmark, name: str, args: argparse.Namespace) -> tuple[list[Path], list[list[Path]]]:
    """Run one model of the table; its pooled score folders (one per fold), and those of each seed."""
    common = [*UNCHECKED, *benchmark.overrides, f"training.embedding_store={args.out / 'store'}", *args.overrides]
    if benchmark.draw:
        common += draw_folds(benchmark, common, args.out)
    if name in benchmark.baselines:
        asked = [*common, *learn_encoder(benchmark, args, seed=0)]
        return run_baseline(benchmark, name, Experiment.read(benchmark.config, asked), args.out), []
    place, changes = place_of(args.out, name), benchmark.variants()[name]
    seeds = []
    for seed in range(args.draws or args.seeds if name == CONTROL else args.seeds):
        encoder = () if set(WHOLE) <= set(changes) else learn_encoder(benchmark, args, seed=seed)
        experiment = Experiment.read(benchmark.config, [*common, *encoder, *changes, f"seed={seed}"])
        if name == CONTROL:
            experiment = exchange_labels(experiment, args.out / f"random_labels_{seed}.csv", seed=seed)
        folders = {fold: place / f"seed{seed}" / f"fold{fold}" for fold in folds_of(benchmark, experiment)}
        for fold, folder in folders.items():
            if not (folder / "scores" / "run.json").is_file():
                run_fold(leave_out(experiment, fold), folder)
        seeds.append([folder / "scores" for folder in folders.values()])
    if name == CONTROL:
        return [], seeds  # each seed has labels of its own, so there is no mean of them
    pooled = [place / "mean" / f"fold{fold}" for fold in folds_of(benchmark, experiment)]
    for index, folder in enumerate(pooled):
        average_seeds([folders[index] for folders in seeds], folder)
    return pooled, seeds


def place_of(out: Path, name: str) -> Path:
    return out / name.replace(" ", "_").replace(",", "")


def run_baseline(benchmark: Benchmark, name: str, experiment: Experiment, out: Path) -> list[Path]:
    """Run the forest, or all rules of the linear baseline together; the score folders of ``name``, one per fold."""
    folds = folds_of(benchmark, experiment)
    for fold in folds:
        left = leave_out(experiment, fold)
        if name == FOREST:
            run_forest(left, place_of(out, name) / f"fold{fold}")
        else:
            run_linear(left, {rule: place_of(out, rule) / f"fold{fold}" for rule in LINEAR})
    return [place_of(out, name) / f"fold{fold}" for fold in folds]


def draw_folds(benchmark: Benchmark, overrides: list[str], out: Path) -> list[str]:
    """The changes that leave out folds of our own, drawn once for every model and seed."""
    path = out / "folds.csv"
    if not path.is_file():
        asked = [*overrides, "data.fold_column=drawn", "data.fold=null", f"data.folds={benchmark.draw}"]
        experiment = Experiment.read(benchmark.config, asked)
        manifest = experiment.data.manifest
        with manifest.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        drawn = [{**row, "path": (manifest.parent / row["path"]).resolve(), "drawn": one["fold"]}
                 for row, one in zip(rows, fold_table(experiment), strict=True)]
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, fieldnames=list(drawn[0]))
            writer.writeheader()
            writer.writerows(drawn)
    return [f"data.manifest={path.resolve()}", "data.fold_column=drawn", "data.fold=null"]


def learn_encoder(benchmark: Benchmark, args: argparse.Namespace, *, seed: int) -> tuple[str, ...]:
    """The change that gives all models of a seed the same encoder, trained end to end once; none where it is given.

    Another seed draws other series for validation, so it needs an encoder that did not learn from those.
    """
    if not benchmark.encoder:
        return ()
    run: Path = args.out / "encoder" / f"seed{seed}"
    if not (run / "model.json").is_file():
        changes = [*UNCHECKED, *benchmark.encoder, *args.overrides, f"seed={seed}"]
        train(Experiment.read(benchmark.config, changes), run, resume=(run / "config.yaml").is_file())
    return (f"network.encoder.weights={run.resolve()}",)


def run_fold(experiment: Experiment, folder: Path) -> None:
    """Train without one fold, going on with what is there, and score the series of that fold."""
    run = folder / "run"
    if not (run / "model.json").is_file():
        train(experiment, run, resume=(run / "config.yaml").is_file())
    score_held_out(experiment, run, folder / "scores")


def folds_of(benchmark: Benchmark, experiment: Experiment) -> tuple[str, ...]:
    """The folds to leave out, one after the other."""
    return benchmark.folds or tuple(dict.fromkeys(row["fold"] for row in fold_table(experiment)))


def leave_out(experiment: Experiment, fold: str) -> Experiment:
    return experiment.model_copy(update={"data": experiment.data.model_copy(update={"fold": fold})})


def exchange_labels(experiment: Experiment, path: Path, *, seed: int) -> Experiment:
    """The experiment with the labels of whole patients exchanged at random, within each fold."""
    data = experiment.data
    with data.manifest.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    generator = np.random.default_rng(seed)
    labels = {}
    for fold in sorted({row[data.fold_column] for row in rows}):
        own = {row[data.patient]: row for row in rows if row[data.fold_column] == fold}
        patients = list(own)
        labels.update({patients[to]: own[patients[of]] for to, of in enumerate(generator.permutation(len(patients)))})
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        for row in rows:
            given = {name: labels[row[data.patient]][name] for name in experiment.task.labels}
            writer.writerow({**row, **given, "path": (data.manifest.parent / row["path"]).resolve()})
    return experiment.model_copy(update={"data": data.model_copy(update={"manifest": path.resolve()})})


if __name__ == "__main__":
    main()
