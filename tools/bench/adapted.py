"""Heads on encoders that learnt from labelled slices: the benchmark's row "encoder stage", other heads, several seeds.

usage: adapted.py BENCHMARK OUT [--seeds 5]
for example: adapted.py work/bench/ct_ich work/bench/ct_ich_adapted     (after benchmark.py ct_ich work/bench/ct_ich)

The encoder of each fold is that of BENCHMARK's row with an encoder stage, which never saw the fold, and it is frozen
here. A head is trained with every seed on the same training and validation scans as that row, so that no scan judges an
encoder that learnt from it; the mean of the seeds' probabilities is the head's answer. Goes on where it was stopped.
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

CT_ICH = SETS["ct_ich"]
HEADS_HERE = {name: {**HEADS, **ON_SLICES}[name] for name in (
    "mean", "attention", "BiLSTM + attention", "slice scores", "BiLSTM + slice scores")}
UNCHECKED = ("data.near_duplicates=ignore", "envelope.distance=ignore")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("benchmark", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    args = parser.parse_args()
    source = args.benchmark / LEARNT.replace(" ", "_").replace(",", "") / "seed0"
    folds = sorted(folder.name for folder in source.iterdir())
    done = {}
    for name, changes in HEADS_HERE.items():
        place = args.out / name.replace(" ", "_")
        seeds = [[run_fold(source / fold / "run", place / f"seed{seed}" / fold, args.out, (*changes, f"seed={seed}"))
                  for fold in folds] for seed in range(args.seeds)]
        pooled = [place / "mean" / fold for fold in folds]
        for index, folder in enumerate(pooled):
            average_seeds([own[index] for own in seeds], folder)
        done[name] = (pooled, seeds)
    report(CT_ICH, done, args.out)
    print((args.out / "benchmark.md").read_text(encoding="utf-8"))


def run_fold(encoder: Path, folder: Path, out: Path, changes: tuple[str, ...]) -> Path:
    """Train one head on the frozen encoder of a run, with that run's split, and score what it left out."""
    scores = folder / "scores"
    if not (scores / "run.json").is_file():
        manifest = write_split(encoder, out / f"split_{folder.name}.csv")
        settings = [f"data.manifest={manifest}", f"network.encoder.weights={encoder}",
                    f"training.embedding_store={out / 'store'}", *UNCHECKED, *changes]
        experiment = Experiment.read(CT_ICH.config, settings)
        run = folder / "run"
        if not (run / "model.json").is_file():
            train(experiment, run, resume=(run / "config.yaml").is_file())
        score_held_out(experiment, run, scores)
    return scores


def write_split(run: Path, path: Path) -> Path:
    """The config's manifest with the split of a run as a column."""
    manifest = Experiment.read(CT_ICH.config).data.manifest
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
