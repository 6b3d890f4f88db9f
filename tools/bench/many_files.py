"""Memory and time of a search against the number of files: find_many (what score uses) against find_series.

``python tools/bench/many_files.py 20000 100000``: each search in a process of its own, over files with a CT header of
about 90 elements in series of 300, 20,000 files to a folder. The peak is that of the process, less what it had before.
"""

import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from time import process_time

from index import PIXEL_BYTES, ROOT, make_files

from seriatim.io import find_series
from seriatim.io.discover import find_many

FOLDER_FILES = 20_000
WAYS = {"find_series": find_series, "find_many": find_many}


def bench(counts: list[int]) -> None:
    with tempfile.TemporaryDirectory() as made:
        model = make_files(Path(made) / "model", min(FOLDER_FILES, max(counts)), 300)
        for count in counts:
            folder = copy_files(model, Path(made) / str(count), count)
            for name in WAYS:
                subprocess.run([sys.executable, __file__, name, str(folder)], check=True)


def copy_files(model: Path, folder: Path, count: int) -> Path:
    """So many files like those of ``model``: each folder of them has UIDs of its own, of the same length."""
    paths = sorted(model.iterdir())
    for index in range(count):
        part, place = divmod(index, len(paths))
        path = folder / f"{part:03}" / paths[place].name
        path.parent.mkdir(parents=True, exist_ok=True)
        size = paths[place].stat().st_size
        with paths[place].open("rb") as file:
            head = file.read(size - PIXEL_BYTES)
        with path.open("wb") as file:
            file.write(head.replace(f"{ROOT}.".encode(), f"{ROOT[:-3]}{part:03}.".encode()))
            file.truncate(size)
    return folder


def measure(name: str, folder: Path) -> None:
    before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, process_time()
    inventory = WAYS[name](folder)
    seconds, peak = process_time() - started, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    files = sum(len(one.instances) for one in inventory.series)
    print(f"{name:12} {files:8} files {len(inventory.series):6} series   peak {peak / 1024:7.1f} MB "
          f"{peak * 1024 / files:6.0f} bytes/file   {seconds / files * 1e6:6.1f} us/file", flush=True)


if __name__ == "__main__":
    if sys.argv[1] in WAYS:
        measure(sys.argv[1], Path(sys.argv[2]))
    else:
        bench([int(one) for one in sys.argv[1:]])
