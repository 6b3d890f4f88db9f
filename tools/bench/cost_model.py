"""How many series a second a cluster scores, and where more cores stop helping, from the stages of a measured run.

usage: cost_model.py RUN_JSON ARCHIVE [--cores 2 8 32 128 512] [--storage-mb-s 500] [--gpus 1 4 --gpu-images-s 2000]
for example: cost_model.py work/scores/run.json work/ct_ich --storage-mb-s 500

RUN_JSON is that of `seriatim score ARCHIVE`, whose stages hold the CPU seconds. A series costs a node its decoding,
preparing and network; it costs the driver its discovery, its row, and what Ray takes to hand it out (measured here with
tasks that do nothing, unless --hand-out-ms is given); it costs the storage its bytes. The rate is that of what binds
first:

    rate = min(cores x efficiency / CPU seconds of a node, storage / bytes, 1 / seconds of the driver)

With GPUs the network leaves the cores: they bind by decoding and preparing, the GPUs by their images per second. No
rate of a GPU is measured here: give one that was. Latency, start-up (seconds a node) and stragglers are not in it.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

NODE = ("decode", "read", "prepare", "score")
DRIVER = ("discover", "write")


@dataclass(frozen=True, kw_only=True)
class Costs:
    """What one series costs: CPU seconds of a node (network apart), seconds of the driver, bytes, slices."""

    node: float
    network: float
    driver: float
    size_bytes: float
    slices: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run_json", type=Path)
    parser.add_argument("archive", type=Path)
    parser.add_argument("--cores", type=int, nargs="+", default=[2, 8, 32, 128, 512])
    parser.add_argument("--efficiency", type=float, default=0.9, help="the share of a core's time that does work")
    parser.add_argument("--storage-mb-s", type=float, default=500.0)
    parser.add_argument("--gpus", type=int, nargs="+", default=[])
    parser.add_argument("--gpu-images-s", type=float, help="slices a second that one GPU encodes, as measured")
    parser.add_argument("--hand-out-ms", type=float, help="Ray's time per series; else measured here")
    args = parser.parse_args()
    hand_out = measure_hand_out() if args.hand_out_ms is None else args.hand_out_ms / 1000
    costs = read_costs(args.run_json, args.archive, hand_out=hand_out)
    print(f"a series: {costs.slices:.0f} slices, {costs.size_bytes / 1e6:.1f} MB; {costs.node:.3f} CPU s to read and "
          f"prepare, {costs.network:.3f} for the network; the driver {costs.driver * 1000:.1f} ms (of which Ray "
          f"{hand_out * 1000:.1f})\n")
    limits = {"storage": args.storage_mb_s * 1e6 / costs.size_bytes, "driver": 1 / costs.driver}
    busy = (costs.node + costs.network) / args.efficiency
    rows = [(f"{cores} cores", {"cores": cores / busy}) for cores in args.cores]
    if args.gpus and args.gpu_images_s:
        rows += [(f"{cores} cores, {gpus} GPU", {"cores": cores * args.efficiency / costs.node,
                                                 "GPU": gpus * args.gpu_images_s / costs.slices})
                 for cores in args.cores for gpus in args.gpus]
    print("| machines | series a second | series a night (10 h) | bound by |\n|---|---|---|---|")
    for name, own in rows:
        bound, rate = min({**own, **limits}.items(), key=lambda one: one[1])
        print(f"| {name} | {rate:.2f} | {rate * 36000:,.0f} | {bound} |")
    last = min(limits, key=lambda name: limits[name])
    most = limits[last] * busy
    print(f"\nMore than {most:,.0f} cores do not help: then {last} binds, at {limits[last]:.0f} series a second.")


def read_costs(run_json: Path, archive: Path, *, hand_out: float) -> Costs:
    run = json.loads(run_json.read_text())
    spent, counts = run["stages"]["cpu_seconds"], run["counts"]
    scored = run["scored_now"]
    rows = (run_json.parent / "slices.csv").read_text().count("\n") - 1
    size = sum(file.stat().st_size for file in archive.rglob("*") if file.is_file())
    return Costs(
        node=sum(spent[name] for name in NODE) / scored,
        network=spent["network"] / scored,
        driver=spent["discover"] / counts["discovered"] + spent["write"] / scored + hand_out,
        size_bytes=size / counts["discovered"],
        slices=rows / counts["scored"],
    )


def measure_hand_out(count: int = 2000) -> float:
    """Seconds of the driver per task that does nothing, two in hand for each core, as the cluster is driven."""
    import ray

    ray.init(address="local", include_dashboard=False, log_to_driver=False, logging_level="error")
    nothing = ray.remote(lambda: None)
    ray.get([nothing.remote() for _ in range(50)])
    started, in_hand, left = perf_counter(), [], count
    while left or in_hand:
        while left and len(in_hand) < 4:
            in_hand.append(nothing.remote())
            left -= 1
        done, in_hand = ray.wait(in_hand, num_returns=1)
        ray.get(done)
    seconds = (perf_counter() - started) / count
    ray.shutdown()
    return seconds


if __name__ == "__main__":
    main()
