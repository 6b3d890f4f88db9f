"""The main job, end to end, on synthetic head CTs: make, inspect, train, score, explain, evaluate. `make demo` runs it.

It uses the command line only, as a user would, and prints what it runs.
"""

import argparse
import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path
from time import perf_counter

SERIATIM = Path(sys.executable).with_name("seriatim")
PARTS = ("data", "run", "scores", "pictures", "evaluation")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("demo"))
    parser.add_argument("--count", type=int, default=80, help="how many series to make")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="passed on to train")
    args = parser.parse_args()
    started = perf_counter()
    out = {part: args.output / part for part in PARTS}
    for part in out.values():  # only what this script made; the folder itself may be anybody's
        shutil.rmtree(part, ignore_errors=True)
    config = Path(__file__).parents[1] / "configs" / "demo.yaml"
    data = [
        f"data.manifest={out['data'].resolve() / 'labels.csv'}",
        f"data.slice_labels={out['data'].resolve() / 'slices.csv'}",
    ]
    overrides = [part for setting in [*data, *args.set] for part in ("--set", setting)]
    run("synth", "head-ct", out["data"], "--count", args.count, "--seed", args.seed)
    run("train", config, "--output", out["run"], *overrides)
    held_out = hold_out(out["data"])
    run("inspect", held_out, "--json", args.output / "inventory.json", quiet=True)
    run("score", held_out, "--model", out["run"], "--output", out["scores"])
    run("explain", held_out, "--model", out["run"], "--output", out["pictures"], "--limit", 12)
    truth = ("--labels", out["data"] / "labels.csv", "--slices", out["data"] / "slices.csv")
    run("evaluate", out["scores"] / "scores.csv", *truth, "--output", out["evaluation"])
    report(out, seconds=perf_counter() - started)


def run(*arguments: object, quiet: bool = False) -> None:
    """Run one seriatim command, and stop with its message where it fails."""
    command = [str(SERIATIM), *map(str, arguments)]
    print(f"\n$ seriatim {' '.join(command[1:])}", flush=True)
    started = perf_counter()
    result = subprocess.run(command, check=False, stdout=subprocess.DEVNULL if quiet else None)
    if result.returncode != 0:
        sys.exit(f"demo: seriatim {arguments[0]} ended with exit code {result.returncode}")
    print(f"  ({perf_counter() - started:.0f} s)", flush=True)


def hold_out(data: Path) -> Path:
    """Put the test series into a folder of their own, as a hospital would hand over a folder to score."""
    folder = data / "held_out"
    folder.mkdir()
    with (data / "labels.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            if row["split"] == "test":
                shutil.copytree(data / row["path"], folder / Path(row["path"]).name)
    return folder


def report(out: dict[str, Path], *, seconds: float) -> None:
    """The figures that matter, read from what the commands wrote."""
    found = json.loads((out["evaluation"] / "evaluation.json").read_text())
    auc, top = found["metrics"]["auc"], found["slices"]["metrics"]["top_attended_slice_is_positive"]
    chance = found["slices"]["chance"]["top_attended_slice_is_positive"]
    print(f"""
Held-out series: AUC {auc["value"]:.3f} (95 % interval {auc["low"]:.3f} to {auc["high"]:.3f}, n = {auc["n"]})
Bleeding series whose top-attended slice truly bleeds: {top["value"]:.0%} of {top["n"]} (chance {chance:.0%})
Pictures: {out["pictures"]}/*.png (one per series), {out["evaluation"]}/roc.png, {out["run"]}/curves.png
Tables:   {out["scores"]}/scores.csv, {out["scores"]}/slices.csv
All of it took {seconds:.0f} s.""")


if __name__ == "__main__":
    main()
