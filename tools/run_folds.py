"""Cross-validate a config by the command line: per fold train, score the left-out fold and explain some of it; then
evaluate all folds pooled, each series scored by the one model that never saw it.

usage: run_folds.py CONFIG DATA OUT, for example  run_folds.py configs/ct_ich.yaml work/ct_ich work/runs/ct_ich
A fold whose run folder is finished is not trained again.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from time import perf_counter

SERIATIM = Path(sys.executable).with_name("seriatim")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("data", type=Path, help="the folder with the series to score")
    parser.add_argument("out", type=Path, help="the folder for fold<N>/run, scores, pictures, and for evaluation")
    parser.add_argument("--folds", nargs="+", default=["0", "1", "2", "3"])
    parser.add_argument("--explain", type=int, default=4, metavar="N", help="explain N series of each fold; 0: none")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="passed on to train")
    args = parser.parse_args()
    folders = [args.out / f"fold{fold}" for fold in args.folds]
    for fold, folder in zip(args.folds, folders, strict=True):
        run_fold(args, fold=fold, folder=folder)
    data = json.loads((folders[0] / "run" / "model.json").read_text())["experiment"]["data"]
    slices = ["--slices", data["slice_labels"]] if data["slice_labels"] else []
    tables = [folder / "scores" / "scores.csv" for folder in folders]
    run("evaluate", *tables, "--labels", data["manifest"], *slices, "--output", args.out / "evaluation")


def run_fold(args: argparse.Namespace, *, fold: str, folder: Path) -> None:
    """Train without one fold, then score and explain it."""
    model = folder / "run"
    if not (model / "model.json").is_file():
        settings = [part for setting in (f"data.fold={fold}", *args.set) for part in ("--set", setting)]
        run("train", args.config, *settings, "--output", model)
    run("score", args.data, "--model", model, "--split", "test", "--output", folder / "scores")
    if args.explain:
        pictures = ("--output", folder / "pictures", "--limit", args.explain)
        run("explain", args.data, "--model", model, "--split", "test", *pictures)


def run(*arguments: object) -> None:
    """Run one seriatim command, and stop where it fails. Exit code 8 means some series could not be scored."""
    command = [str(SERIATIM), *map(str, arguments)]
    print(f"\n$ seriatim {' '.join(command[1:])}", flush=True)
    started = perf_counter()
    code = subprocess.run(command, check=False).returncode
    if code not in (0, 8):
        sys.exit(f"run_folds: seriatim {arguments[0]} ended with exit code {code}")
    print(f"  ({perf_counter() - started:.0f} s)", flush=True)


if __name__ == "__main__":
    main()
