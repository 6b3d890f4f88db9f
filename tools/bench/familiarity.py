"""What the distance to training says of left-out series, of the same series changed, and of other images.

    python tools/bench/familiarity.py work/runs/ct_ich_folds work/ct_ich ../shared/data/dicom_demo ../shared/zoo/files

The first argument is a folder of `seriatim crossval`, the second holds its series, all others hold images that the
models were not made for. Every series goes to the encoder whatever its modality or length, as if its tags told nothing.
Printed are the distances as multiples of the limit (median over the folds' models): above 1 a series is refused.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from seriatim.errors import InputError
from seriatim.io import find_series, read_volume
from seriatim.series import Code, Series
from seriatim.tasks.predict import embed_series
from seriatim.trained import Model, load_model, measure_intensity, read_splits

KEEP = dict.fromkeys((Code.GAP, Code.MISSING_GEOMETRY, Code.NOT_A_SERIES, Code.DERIVED), "keep")
CHANGES: dict[str, Callable[[Tensor], Tensor]] = {
    "mirrored": lambda x: x.flip(2),
    "slices in reversed order": lambda x: x.flip(0),
    "upside down": lambda x: x.flip(1),
    "turned by 90 degrees": lambda x: x.transpose(1, 2),
    "twice as near (middle half)": lambda x: torch.nn.functional.interpolate(
        x[None, :, x.shape[1] // 4 : -x.shape[1] // 4, x.shape[2] // 4 : -x.shape[2] // 4], size=x.shape[1:])[0],
    "HU + 1024 (intercept forgotten)": lambda x: x + 1024,
    "HU inverted": lambda x: -x,
    "HU / 10": lambda x: x / 10,
    "brain window as 0 to 255": lambda x: (x / 80).clamp(0, 1) * 255,
    "noise of 300 HU": lambda x: 300 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0)),
    "air": lambda x: torch.full_like(x, -1000.0),
}


def read(model: Model, series: Series) -> Tensor:
    return model.experiment.preprocessing.prepare(read_volume(series))


def judge(models: list[Model], prepared: Tensor) -> tuple[float, int]:
    """The median distance over the models, and how many of them refuse by intensities."""
    slices = models[0].experiment.preprocessing.finish(prepared)
    embeddings, intensity = embed_series(models[0].network, slices), measure_intensity(prepared)
    found = [model.judge(intensity, embeddings) for model in models]
    distances = [one.distance for one in found if one.distance is not None]
    return float(np.median(distances)), sum(one.reason.startswith("INTENSITY") for one in found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folds", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("foreign", type=Path, nargs="*")
    parser.add_argument("--changed", type=int, default=8, help="left-out series that are changed")
    options = parser.parse_args()
    models = [load_model(path) for path in sorted(options.folds.glob("fold*/run"))]
    home = {uid: model for model in models for uid, split in read_splits(model.path).items() if split == "test"}
    own = [series for series in find_series(options.data, KEEP).series if series.series_uid in home]
    left_out, pictures = [], []
    for series in own:
        prepared = read(models[0], series)
        left_out.append(judge([home[series.series_uid]], prepared))
        if len(pictures) < options.changed:
            pictures.append((home[series.series_uid], prepared))
    distances = np.array([distance for distance, _ in left_out])
    print(f"left out: {len(distances)} series, {(distances > 1).sum()} refused by distance, "
          f"{sum(refused for _, refused in left_out)} by intensities; distance median {np.median(distances):.2f}, "
          f"90 % {np.quantile(distances, 0.9):.2f}, highest {distances.max():.2f}", flush=True)
    for name, change in CHANGES.items():
        found = [judge([model], change(prepared)) for model, prepared in pictures]
        values = [distance for distance, _ in found]
        print(f"changed, {name:34s} refused by distance {sum(one > 1 for one in values)}, by intensities "
              f"{sum(refused for _, refused in found)} of {len(found)}; {min(values):.2f} to {max(values):.2f}",
              flush=True)
    for folder in options.foreign:
        for series in find_series(folder, KEEP).series:
            try:
                distance, refused = judge(models, read(models[0], series))
            except InputError as error:
                print(f"{folder.name}: {series.modality}, not read: {str(error)[:60]}")
                continue
            name = f"{series.modality}, {len(series.instances)} slices, {series.path.name} {series.volume}"
            print(f"{folder.name}: {name}: {distance:.2f}; {refused} of {len(models)} models refuse by intensities",
                  flush=True)


if __name__ == "__main__":
    main()
