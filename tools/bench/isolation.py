"""What reading in a worker process costs: one large CT, and many tiny series, interleaved with reading in this process.

usage: isolation.py [--rounds 7] [--slices 300] [--series 200]
Machines are noisy: quote the ratios, not the seconds.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter

import reading

from seriatim.io import Limits, find_series, read_volume
from seriatim.series import Series


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--slices", type=int, default=300)
    parser.add_argument("--series", type=int, default=200)
    args = parser.parse_args()
    print(f"start of a worker: {time_start() * 1000:.0f} ms")
    with tempfile.TemporaryDirectory() as folder:
        reading.write_series(Path(folder), reading.make_stack(args.slices))
        compare(f"one series of {args.slices} x 512 x 512", list(find_series(folder).series), rounds=args.rounds)
    with tempfile.TemporaryDirectory() as folder:
        reading.SIZE = 32
        reading.write_series(Path(folder), reading.make_stack(8))
        compare(f"{args.series} series of 8 x 32 x 32", list(find_series(folder).series) * args.series,
                rounds=args.rounds)


def compare(name: str, series: list[Series], *, rounds: int) -> None:
    """Read the series here and in a worker, in turns, after a round of each that does not count."""
    times: dict[bool, list[float]] = {False: [], True: []}
    for _ in range(rounds + 1):
        for isolated, measured in times.items():
            start = perf_counter()
            for one in series:
                read_volume(one, limits=Limits(isolated=isolated))
            measured.append(perf_counter() - start)
    here, apart = (statistics.median(times[isolated][1:]) for isolated in (False, True))
    per_series = (apart - here) / len(series) * 1000
    print(f"{name}: {here:.3f} s here, {apart:.3f} s in a worker, {apart / here:.2f} x, {per_series:.1f} ms more each")


def time_start() -> float:
    """The median time of a process that imports what a worker imports, and ends."""
    times = []
    for _ in range(5):
        start = perf_counter()
        subprocess.run([sys.executable, "-c", "import seriatim.io.isolation.worker"], check=True)
        times.append(perf_counter() - start)
    return statistics.median(times)


if __name__ == "__main__":
    main()
