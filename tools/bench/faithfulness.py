"""By how much one method of explaining is more faithful than the others, series by series.

usage: faithfulness.py FOLDER [--measure gap] [--method integrated_gradients]
for example: faithfulness.py work/faithful/frozen          (the --output of `seriatim faithfulness`)

Prints the mean difference of a measure to each other method, with a 95 % interval by resampling series.
"""

from __future__ import annotations

import argparse
import csv
from collections import defaultdict
from pathlib import Path

import numpy as np

from seriatim.evaluation.intervals import Clusters, bootstrap


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--measure", default="gap")
    parser.add_argument("--method", default="integrated_gradients")
    args = parser.parse_args()
    found: dict[str, dict[tuple[str, str], float]] = defaultdict(dict)
    with (args.folder / "faithfulness.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["measure"] == args.measure:
                found[row["method"]][row["run"], row["series_uid"]] = float(row["value"])
    mine = found.pop(args.method)
    for name, theirs in found.items():
        keys = sorted(mine.keys() & theirs.keys())
        differences = np.array([mine[key] - theirs[key] for key in keys])
        whose = np.unique([uid for _, uid in keys], return_inverse=True)[1]
        one = bootstrap(lambda index, values=differences: float(values[index].mean()), Clusters(whose))
        print(f"{args.method} less {name}: {one.value:+.3f} ({one.low:+.3f} to {one.high:+.3f}), {len(keys)} series")


if __name__ == "__main__":
    main()
