"""What reading in a worker process costs, interleaved with reading in this process (reading.py isolated)."""

import os
import statistics
import subprocess
import sys
from pathlib import Path
from time import perf_counter

import reading

from seriatim.io import Limits, find_series, read_volume
from seriatim.series import Series

MANY = 200


def bench(folder: Path, slices: int, rounds: int) -> None:
    """One large CT, uncompressed and compressed, and many tiny series."""
    print(f"start of a worker: {time_start() * 1000:.0f} ms")
    stack = reading.make_stack(slices)
    reading.write_series(folder / "raw", stack)
    reading.write_series(folder / "jls", stack[: slices // 3], reading.SYNTAXES["JPEG-LS"])
    for name, count in (("raw", slices), ("jls", slices // 3)):
        found = list(find_series(folder / name).series)
        compare(f"one series of {count} x 512 x 512, {name}", found, rounds=rounds)
    reading.SIZE = 32
    reading.write_series(folder / "tiny", reading.make_stack(8))
    compare(f"{MANY} series of 8 x 32 x 32", list(find_series(folder / "tiny").series) * MANY, rounds=rounds)


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
    print(f"{name}: {here:.3f} s here, {apart:.3f} s in a worker, {apart / here:.2f} x, {per_series:.1f} ms more each, "
          f"load {os.getloadavg()[0]:.1f}")


def time_start() -> float:
    """The median time of a process that imports what a worker imports, and ends."""
    times = []
    for _ in range(5):
        start = perf_counter()
        subprocess.run([sys.executable, "-c", "import seriatim.io.isolation.worker"], check=True)
        times.append(perf_counter() - start)
    return statistics.median(times)
