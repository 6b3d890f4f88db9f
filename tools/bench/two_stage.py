"""How fast epochs are: end to end, two-stage with embeddings still to be made, and two-stage from a filled store.

usage: two_stage.py [--series 24] [--size 96] [--epochs 20] [--encoder resnet18]

All in one run on synthetic head CT, one thread. Printed are the seconds before the first epoch, those of an epoch
(training and validation, the median after the first), and epochs per minute.
"""

import argparse
import json
import tempfile
from pathlib import Path
from time import perf_counter

import torch

from seriatim.experiment import Experiment
from seriatim.synth import synthesize
from seriatim.training import train


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--series", type=int, default=24)
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--encoder", default="resnet18")
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        synthesize("head-ct", folder / "data", count=args.series, size=128)
        found = {
            "end to end": measure(folder, args, "end", mode="end-to-end", epochs=2),
            "two-stage, empty store": measure(folder, args, "first", mode="two-stage", epochs=args.epochs),
            "two-stage, filled store": measure(folder, args, "second", mode="two-stage", epochs=args.epochs),
        }
    slow = found["end to end"][1]
    print(f"{'':26}{'s before':>10}{'s an epoch':>12}{'epochs a minute':>17}{'x end to end':>14}")
    for name, (before, epoch) in found.items():
        print(f"{name:26}{before:10.1f}{epoch:12.3f}{60 / epoch:17.0f}{slow / epoch:14.1f}")


def measure(folder: Path, args: argparse.Namespace, name: str, *, mode: str, epochs: int) -> tuple[float, float]:
    """Seconds before the first epoch, and seconds of an epoch after the first (median)."""
    content = {
        "name": name,
        "data": {"manifest": str(folder / "data" / "labels.csv")},
        "preprocessing": {"kind": "ct", "size": args.size, "windows_hu": [[40, 80]]},
        "network": {"encoder": {"kind": "torchvision", "name": args.encoder}},
        "task": {"kind": "diagnosis", "target": "binary", "labels": ["bleed"]},
        "training": {"mode": mode, "epochs": epochs, "patience": epochs, "accelerator": "cpu"},
    }
    if mode == "two-stage":
        content["training"]["embedding_store"] = str(folder / "store")
    run, started = folder / name, perf_counter()
    train(Experiment.from_content(content, where="bench"), run)
    total = perf_counter() - started
    seconds = [json.loads(line)["seconds"] for line in (run / "metrics.jsonl").read_text().splitlines()]
    return total - sum(seconds), sorted(seconds[1:])[len(seconds[1:]) // 2]


if __name__ == "__main__":
    main()
