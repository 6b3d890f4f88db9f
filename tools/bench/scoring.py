"""Scoring folders of CTs: against what people write, its memory, and how it grows. Ratios of one interleaved run.

usage: scoring.py peers  [--series 4] [--repeat 1] [--slices 300] [--syntax raw|RLE|"JPEG lossless"|JPEG-LS|"JPEG 2000"]
       scoring.py memory [--series 4] [--slices 300]
       scoring.py growth [--counts 10 100 1000]
       scoring.py prepare [--slices 300]
       scoring.py card --device cuda [--series 4] [--repeat 1] [--slices 300] [--threads 2]
       ... [--rounds 3] [--threads 2] [--encoder mobilenet_v2] [--ways pipeline ...]
Series are made in a temporary folder; --repeat scores each so many times, without more disk. Machines are noisy: quote
the ratios, not the seconds; where others work on the cores too, those of processor time.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

import numpy as np
import preparing
import reading
import scoring_card
import scoring_ways
from pydicom.encaps import encapsulate
from pydicom.uid import UID

KIB = 1 << 10
TINY = {"kind": "small_cnn", "widths": [8, 16]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--series", type=int, default=4)
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--slices", type=int, default=300)
    parser.add_argument("--syntax", default="raw", choices=["raw", *reading.SYNTAXES])
    parser.add_argument("--counts", type=int, nargs="+", default=[10, 100, 1000])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--encoder", default="mobilenet_v2")
    parser.add_argument("--ways", nargs="+", choices=list(scoring_ways.WAYS), help="of peers and memory: these only")
    parser.add_argument("--device", default="cpu", help="for card: cpu, cuda or cuda:N")
    parser.add_argument("--way", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.way:
        run_alone(args)
        return
    with tempfile.TemporaryDirectory() as folder:
        PARTS[args.part](Path(folder), args)
    print(f"load at the end: {os.getloadavg()[0]:.1f}")


def bench_peers(folder: Path, args: argparse.Namespace) -> None:
    """All ways in turns, after their answers were compared."""
    folders = write_cts(folder, args) * args.repeat
    model = scoring_ways.make_model({"kind": "torchvision", "name": args.encoder})
    answers, ways = {}, {}
    for name, way in chosen_ways(args).items():
        try:
            answers[name], ways[name] = way(folders[: args.series], model, args.threads), way
        except RuntimeError as error:  # a peer without a decoder for this syntax
            print(f"  {name:20} left out: {str(error).strip().splitlines()[-1][:80]}")
    for name, answer in answers.items():
        apart = max(abs(one - other) for one, other in zip(answer, answers["pipeline"], strict=True))
        print(f"  {name:20} probabilities differ from the pipeline's by at most {apart:.1e}; "
              f"they are {min(answer):.4f} to {max(answer):.4f}")
    if answers.get("in turn", answers["pipeline"]) != answers["pipeline"]:
        raise SystemExit("the pipeline gives other bits than one series after the other")
    scoring_ways.costs.clear()
    wall: dict[str, list[float]] = {name: [] for name in ways}
    cpu: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(args.rounds):
        for name, way in ways.items():
            started, worked = perf_counter(), count_cpu()
            way(folders, model, args.threads)
            wall[name].append(perf_counter() - started)
            cpu[name].append(count_cpu() - worked)
    print(f"{len(folders)} series of {args.slices} x 512 x 512, {args.syntax}, {args.encoder}, {args.threads} threads")
    for name in wall:
        ratios = [statistics.median(theirs / ours for theirs, ours in zip(times[name], times["pipeline"], strict=True))
                  for times in (wall, cpu)]
        per_series = statistics.median(wall[name]) / len(folders)
        print(f"  {name:20} {per_series:7.2f} s a series   {ratios[0]:5.2f} x the pipeline's time   "
              f"{ratios[1]:5.2f} x its processor time")
    scoring_ways.print_stages(scoring_ways.costs)


def chosen_ways(args: argparse.Namespace) -> dict[str, Callable[..., list[float]]]:
    """The ways asked for; the pipeline always, since all others are compared with it."""
    return {name: way for name, way in scoring_ways.WAYS.items()
            if args.ways is None or name in (*args.ways, "pipeline")}


def bench_memory(folder: Path, args: argparse.Namespace) -> None:
    """The most memory of each way with all its processes, above what it holds before the first series."""
    write_cts(folder, args)
    for name in chosen_ways(args):
        before, peak, _ = run_apart(name, folder, args)
        print(f"  {name:20} {(peak - before) / 1e6:7.0f} MB above {before / 1e6:.0f} MB")


def bench_growth(folder: Path, args: argparse.Namespace) -> None:
    """``seriatim.score`` of more and more tiny series: memory and time of each."""
    for count in args.counts:
        place = folder / str(count)
        write_tiny(place / "data", count)
        before, peak, told = run_apart("score", place, args)
        wall, cpu = (1000 * told[name] / count for name in ("seconds", "cpu"))
        print(f"  {count:6} series: {wall:7.1f} ms each ({cpu:.1f} ms of the processors), most memory "
              f"{(peak - before) / 1e6:6.1f} MB above {before / 1e6:.0f} MB")


def run_apart(way: str, folder: Path, args: argparse.Namespace) -> tuple[int, int, dict[str, float]]:
    """A way in a process of its own: bytes before its first series, at most, and what it told."""
    command = [sys.executable, __file__, args.part, "--way", way, "--folder", str(folder), "--threads",
               str(args.threads), "--encoder", args.encoder, "--repeat", str(args.repeat)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    process.stdout.readline()  # it is ready
    before = peak = measure_tree(process.pid)
    process.stdin.close()
    told: list[str] = []
    reader = threading.Thread(target=lambda: told.append(process.stdout.read()))
    reader.start()
    while reader.is_alive():
        peak = max(peak, measure_tree(process.pid))
        time.sleep(0.05)
    if process.wait():
        raise SystemExit(f"{way} failed")
    return before, peak, json.loads(told[0].splitlines()[-1])


def run_alone(args: argparse.Namespace) -> None:
    """What ``run_apart`` starts."""
    growing = args.way == "score"
    encoder = TINY if growing else {"kind": "torchvision", "name": args.encoder}
    model = scoring_ways.make_model(encoder, size=32 if growing else scoring_ways.SIZE)
    print("ready", flush=True)
    sys.stdin.read()
    started, worked = perf_counter(), count_cpu()
    if growing:
        from seriatim.scoring import score
        from seriatim.scoring.options import Options
        from seriatim.scoring.pipeline import Resources

        resources = Resources(workers=args.threads, threads=args.threads)
        score(args.folder / "data", model=model, output=args.folder / "out", options=Options(resources=resources))
    else:
        scoring_ways.WAYS[args.way](sorted(args.folder.iterdir()) * args.repeat, model, args.threads)
    print(json.dumps({"seconds": perf_counter() - started, "cpu": count_cpu() - worked}))


def measure_tree(process: int) -> int:
    """Bytes of a process and all its children; what they share counts once (PSS of Linux)."""
    found, waiting = 0, [process]
    while waiting:
        one = waiting.pop()
        try:
            lines = Path(f"/proc/{one}/smaps_rollup").read_text().splitlines()
            found += next(int(line.split()[1]) * KIB for line in lines if line.startswith("Pss:"))
            for task in Path(f"/proc/{one}/task").iterdir():
                waiting += map(int, (task / "children").read_text().split())
        except (OSError, StopIteration):
            continue  # it ended
    return found


def count_cpu() -> float:
    """Processor seconds of this process and of its children that ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def write_cts(folder: Path, args: argparse.Namespace) -> list[Path]:
    """As many CTs as asked for, each a folder."""
    folders = [folder / f"{number:05}" for number in range(args.series)]
    for number, place in enumerate(folders):
        write_ct(place, number, slices=args.slices, syntax=args.syntax)
    return folders


def write_ct(folder: Path, number: int, *, slices: int, size: int = reading.SIZE, syntax: str = "raw") -> None:
    """One CT, a file per slice, unlike all others."""
    folder.mkdir(parents=True)
    reading.SIZE = size
    stack = reading.make_stack(min(slices, 40))
    for index in range(slices):
        dataset = reading.make_header(index)
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = f"1.2.3.{number}", f"1.2.3.4.{number}"
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.4.{number}.{index + 1}"
        pixels = np.roll(stack[index % len(stack)], (index + 3 * number) % 97, axis=1)
        dataset.PixelData = pixels.tobytes()
        if syntax == "RLE":
            dataset.compress(UID(reading.SYNTAXES[syntax]), generate_instance_uid=False)
        elif syntax != "raw":
            dataset.PixelData = encapsulate([reading.encode(pixels.astype(np.uint16), reading.SYNTAXES[syntax])])
            dataset["PixelData"].VR = "OB"
            dataset.file_meta.TransferSyntaxUID = UID(reading.SYNTAXES[syntax])
        dataset.save_as(folder / f"{index:05}.dcm", enforce_file_format=True)


def write_tiny(folder: Path, count: int) -> None:
    """Many CTs of 3 x 32 x 32, up to 90,000, whose UIDs differ: the bytes of one with others in their place."""
    write_ct(folder / "10000", 10000, slices=3, size=32)
    files = {path.name: path.read_bytes() for path in (folder / "10000").iterdir()}
    for number in range(10001, 10000 + count):
        place = folder / str(number)
        place.mkdir()
        for name, content in files.items():
            for uid in (b"1.2.3.4.%d", b"1.2.3.%d"):
                content = content.replace(uid % 10000, uid % number)
            (place / name).write_bytes(content)


def bench_prepare(folder: Path, args: argparse.Namespace) -> None:
    """Windowing and resizing alone."""
    preparing.bench(folder, args.slices, args.rounds)


def bench_card(folder: Path, args: argparse.Namespace) -> None:
    """The whole and its stages on a GPU."""
    folders = write_cts(folder, args) * args.repeat
    scoring_card.bench(folders, device=args.device, encoder=args.encoder, threads=args.threads, rounds=args.rounds)


PARTS = {"peers": bench_peers, "memory": bench_memory, "growth": bench_growth, "prepare": bench_prepare,
         "card": bench_card}

if __name__ == "__main__":
    main()
