"""Heads on encoders that learnt from labelled slices: the benchmark's row "encoder stage", other heads, several seeds.

usage: adapted.py SET BENCHMARK OUT [--seeds 5]      (sets: ct_ich, pocus)
for example, after benchmark.py ct_ich work/bench/ct_ich: adapted.py ct_ich work/bench/ct_ich work/bench/ct_ich_adapted

The encoder of each fold is that of BENCHMARK's row with an encoder stage, which never saw the fold, and it is frozen
here; where that row has several seeds, those of the heads take turns with them. A head is trained with every seed on
the same training and validation series as its encoder, so that none judges an encoder that learnt from it; the mean of
the seeds' probabilities is the head's answer. Goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import torch
from benchmark_scores import score_held_out
from benchmark_sets import HEADS, LEARNT, ON_SLICES, SETS
from benchmark_tables import average_seeds, report

from seriatim.experiment import Experiment
from seriatim.training import train

ON_EVERY_SET = ("mean", "attention", "BiLSTM + attention")
UNCHECKED = ("data.near_duplicates=ignore", "envelope.distance=ignore")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set", choices=[name for name, one in SETS.items() if LEARNT in one.models])
    parser.add_argument("benchmark", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    args = parser.parse_args()
    benchmark = SETS[args.set]
    encoders = sorted((args.benchmark / LEARNT.replace(" ", "_").replace(",", "")).glob("seed*"))
    folds = sorted(folder.name for folder in encoders[0].iterdir())
    heads = {name: changes for name, changes in {**HEADS, **ON_SLICES}.items()
             if name in ON_EVERY_SET or (name in ON_SLICES and name in benchmark.models)}
    done = {}
    for name, changes in heads.items():
        place = args.out / name.replace(" ", "_")
        seeds = []
        for seed in range(args.seeds):
            encoder, own = encoders[seed % len(encoders)], (*benchmark.overrides, *changes, f"seed={seed}")
            seeds.append([run_fold(benchmark.config, encoder / fold / "run", place / f"seed{seed}" / fold, own)
                          for fold in folds])
        pooled = [place / "mean" / fold for fold in folds]
        for index, folder in enumerate(pooled):
            average_seeds([own[index] for own in seeds], folder)
        done[name] = (pooled, seeds)
    report(benchmark, done, args.out)
    print((args.out / "benchmark.md").read_text(encoding="utf-8"))


def run_fold(config: Path, encoder: Path, folder: Path, changes: tuple[str, ...]) -> Path:
    """Train one head on the frozen encoder of a run, with that run's split, and score what it left out."""
    scores, out = folder / "scores", folder.parents[2]
    if not (scores / "run.json").is_file():
        manifest = write_split(config, encoder, folder / "split.csv")
        settings = [f"data.manifest={manifest}", f"network.encoder.weights={encoder}",
                    f"training.embedding_store={out / 'store'}", *UNCHECKED, *changes]
        experiment = Experiment.read(config, settings)
        run = folder / "run"
        if not (run / "model.json").is_file():
            train(experiment, run, resume=(run / "config.yaml").is_file())
        score_held_out(experiment, run, scores)
    return scores


def write_split(config: Path, run: Path, path: Path) -> Path:
    """The config's manifest with the split of a run as a column."""
    manifest = Experiment.read(config).data.manifest
    with (run / "manifest.csv").open(newline="", encoding="utf-8") as file:
        splits = {Path(row["path"]).resolve().name: row["split"] for row in csv.DictReader(file)}
    with manifest.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [*rows[0], "split"])
        writer.writeheader()
        for row in rows:
            own = (manifest.parent / row["path"]).resolve()
            writer.writerow({**row, "path": str(own), "split": splits[own.name]})
    return path.resolve()


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
