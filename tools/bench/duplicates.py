"""Near-duplicate search on real series: false alarms between patients, and copies that were planted.

    python tools/bench/duplicates.py ../shared/data/pocus_lus/frames --preprocessing configs/pocus.yaml \
        --patients ../shared/data/pocus_lus/index.csv video_id group
    python tools/bench/duplicates.py work/ct_ich --preprocessing configs/ct_ich.yaml

Every series becomes a split of its own, so that all pairs are compared. A copy is made of each prepared series and
searched for among all originals.
"""

from __future__ import annotations

import argparse
import csv
import io
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
import yaml
from PIL import Image
from pydantic import TypeAdapter
from torch import Tensor
from torch.nn import functional

from seriatim.io import find_series, read_volume
from seriatim.series import Code
from seriatim.training.duplicates import Sighting, find_duplicates
from seriatim.training.traits import measure_traits
from seriatim.transforms import PreprocessingSettings


def save_as_jpeg(slices: Tensor, quality: int) -> Tensor:
    low, high = slices.min(), slices.max()
    found = []
    for one in (slices - low) / (high - low) * 255:
        stream = io.BytesIO()
        Image.fromarray(one.round().byte().numpy()).save(stream, "JPEG", quality=quality)
        found.append(torch.from_numpy(np.array(Image.open(stream))).float())
    return torch.stack(found) / 255 * (high - low) + low


def resize(slices: Tensor, rows: int, columns: int) -> Tensor:
    return functional.interpolate(slices[None], size=(rows, columns), mode="bilinear", antialias=True)[0]


def crop(slices: Tensor, *shares: float) -> Tensor:
    """Cut shares from top, bottom, left and right, and scale back."""
    rows, columns = slices.shape[1:]
    top, bottom, left, right = (round(length * share) for length, share in
                                zip((rows, rows, columns, columns), shares, strict=True))
    return resize(slices[:, top : rows - bottom, left : columns - right], rows, columns)


def pad(slices: Tensor, share: float) -> Tensor:
    rows, columns = slices.shape[1:]
    smaller = resize(slices, round(rows * share), round(columns * share))
    found = torch.full_like(slices, float(slices.min()))
    found[:, : smaller.shape[1], : smaller.shape[2]] = smaller
    return found


def coarsen(slices: Tensor, share: float) -> Tensor:
    rows, columns = slices.shape[1:]
    return resize(resize(slices, round(rows * share), round(columns * share)), rows, columns)


def add_noise(slices: Tensor, share: float) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return slices + share * (slices.max() - slices.min()) * torch.randn(slices.shape, generator=generator)


COPIES: dict[str, Callable[[Tensor], Tensor]] = {
    "as it is": lambda x: x,
    "JPEG, quality 75": lambda x: save_as_jpeg(x, 75),
    "JPEG, quality 30": lambda x: save_as_jpeg(x, 30),
    "intensity x 1.3 + 10 % of the range": lambda x: x * 1.3 + 0.1 * (x.max() - x.min()),
    "gamma 0.7": lambda x: ((x - x.min()) / (x.max() - x.min())) ** 0.7,
    "noise, 2 % of the range": lambda x: add_noise(x, 0.02),
    "half resolution": lambda x: coarsen(x, 0.5),
    "quarter resolution": lambda x: coarsen(x, 0.25),
    "2 % cut from each side": lambda x: crop(x, 0.02, 0.02, 0.02, 0.02),
    "5 % cut from each side": lambda x: crop(x, 0.05, 0.05, 0.05, 0.05),
    "10 % cut from each side": lambda x: crop(x, 0.1, 0.1, 0.1, 0.1),
    "5 % cut from top and left": lambda x: crop(x, 0.05, 0, 0.05, 0),
    "8 % cut from left": lambda x: crop(x, 0, 0, 0.08, 0),
    "shrunk to 80 % in a corner": lambda x: pad(x, 0.8),
    "every second slice": lambda x: x[::2],
    "middle half": lambda x: x[len(x) // 4 : len(x) - len(x) // 4],
    "reversed": lambda x: x.flip(0),
    "blank slices at both ends": lambda x: torch.cat([torch.full_like(x[:6], float(x.min())), x]),
    "3 % cut, x 1.2, JPEG 60, first slice missing":
        lambda x: save_as_jpeg(crop(x * 1.2, 0.03, 0.03, 0.03, 0.03)[1:], 60),
    "mirrored (not looked for)": lambda x: x.flip(2),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--preprocessing", type=Path, required=True, help="a config, of which one block is used")
    parser.add_argument("--patients", nargs=3, metavar=("CSV", "NAME", "PATIENT"), help="whose a folder's series is")
    parser.add_argument("--every", type=int, default=1, help="plant copies of every so many-th series")
    options = parser.parse_args()
    settings = yaml.safe_load(options.preprocessing.read_text())["preprocessing"]
    preprocessing = TypeAdapter(PreprocessingSettings).validate_python(settings)
    whose = {}
    if options.patients:
        table, name, patient = options.patients
        with Path(table).open(newline="", encoding="utf-8") as file:
            whose = {row[name]: row[patient] for row in csv.DictReader(file)}
    names, prepared, seconds = [], [], 0.0
    for series in find_series(options.folder, {Code.GAP: "keep"}).series:
        if series.usable:
            names.append(series.path.name)
            prepared.append(preprocessing.prepare(read_volume(series)))
    started = perf_counter()
    traits = [measure_traits(one, slices=len(one)) for one in prepared]
    seconds = perf_counter() - started
    print(f"{len(prepared)} series, {sum(map(len, prepared))} slices; {1000 * seconds / len(prepared):.0f} ms each")
    originals = [Sighting(line=line, split=str(line), traits=one) for line, one in enumerate(traits)]
    started = perf_counter()
    found = find_duplicates(originals)
    pairs = len(prepared) * (len(prepared) - 1) // 2
    print(f"{pairs} pairs compared in {perf_counter() - started:.1f} s; alarms:")
    for one in found:
        first, second = (names[line] for line in one.lines)
        known = "one patient" if whose.get(first, first) == whose.get(second, second) else "DIFFERENT PATIENTS"
        print(f"  {known}: {first}, {second}: share {one.share}{', exact' if one.exact else ''}")
    ambiguous = {line for one in found for line in one.lines}
    for name, change in COPIES.items():
        hits = tries = 0
        for line in range(0, len(prepared), options.every):
            copy = change(prepared[line])
            sighting = Sighting(line=-1, split="copy", traits=measure_traits(copy, slices=len(copy)))
            matches = {one.lines[1] for one in find_duplicates([sighting, originals[line]])}
            hits, tries = hits + (line in matches), tries + 1
        print(f"{name:46s} found {hits} of {tries}", flush=True)
    print(f"{len(ambiguous)} series have an alarm with another series")


if __name__ == "__main__":
    main()
