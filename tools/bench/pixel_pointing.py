"""Do maps of pixels point at the finding? On synthetic bleeds, where every pixel of blood is known.

usage: pixel_pointing.py RUN [--seed 0] [--top 3] [--device auto] [--output FILE.json]
for example: seriatim synth head-ct demo/data --count 80 --seed 0; seriatim train configs/demo.yaml --output demo/run;
             pixel_pointing.py demo/run

RUN was trained on `seriatim synth head-ct` of that seed. Of every positive series of its test split, the slices with
the most blood are mapped by every method. Printed per method, over slices, with 95 % intervals that resample patients:
the share whose hottest pixel is within 3 mm of blood, and within 15 mm; its distance to blood in mm; the share of the
heat on blood; and the rank correlation with the map of the same network with its weights shuffled, encoder included
(near 0 where a map shows what was learnt). By chance: those of a pixel drawn from the head. A series is explained for
its bleed whatever the model says of it.
"""

from __future__ import annotations

import argparse
import copy
import json
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from seriatim.evaluation.intervals import Clusters, bootstrap
from seriatim.explanation.attribution.pixels import PIXEL_WAYS
from seriatim.explanation.attribution.reading import Reading
from seriatim.explanation.faithfulness.checks import correlate
from seriatim.explanation.methods import PIXEL_METHODS
from seriatim.io import find_series, read_volume
from seriatim.models.network import SequenceNetwork
from seriatim.series import Volume
from seriatim.synth.head_ct import make_head_ct
from seriatim.tasks.predict import embed_series
from seriatim.trained import Model, load_model
from seriatim.training import held_out_series

BLOOD_HU = 10
"""A pixel is of the bleed where it made the slice brighter by at least so much."""
NEAR_MM, AROUND_MM = 3.0, 15.0
KEYS = ("within_3_mm", "within_3_mm_by_chance", "within_15_mm", "within_15_mm_by_chance", "distance_mm",
        "distance_mm_by_chance", "heat_on_blood", "heat_by_chance", "randomised")
Array = NDArray[np.float64]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--top", type=int, default=3, help="slices of each series")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    model = load_model(args.run, device=args.device)
    rows = []
    for series in held_out_series(model.experiment):
        index = int(series.path.name)
        volume = read_volume(find_series(series.path).series[0])
        blood = blood_of(volume, seed=args.seed, index=index)
        if blood.any():
            rows += measure(model, volume, blood, patient=index, top=args.top)
    report = summarise(rows)
    print(json.dumps(report, indent=2))
    if args.output is not None:
        args.output.write_text(json.dumps(report, indent=2) + "\n")


def blood_of(volume: Volume, *, seed: int, index: int) -> NDArray[np.bool_]:
    """(S,H,W): where the bleed of a synthetic series is, in the array of its volume."""
    size = volume.array.shape[1]
    with_bleed, without = (make_head_ct(seed, index, size=size, healthy=one).values_hu for one in (False, True))
    if not np.array_equal(with_bleed, np.asarray(volume.array).astype(np.int16)):
        raise SystemExit(f"Series {index} is not that of seed {seed}. Give the --seed of the set.")
    return with_bleed.astype(int) - without >= BLOOD_HU


def measure(
    model: Model, volume: Volume, blood: NDArray[np.bool_], *, patient: int, top: int
) -> list[dict[str, float | str]]:
    """A row for each method and slice."""
    slices = model.prepare(volume)
    placement = model.experiment.preprocessing.placement(volume)
    shown = [int(one) for one in np.argsort(-blood.sum(axis=(1, 2)), kind="stable")[:top] if blood[one].any()]
    truth = turned(blood, volume)[shown]
    head = turned(np.asarray(volume.array) > -300, volume)[shown]
    pixel_mm = float(volume.series.spacing_mm[0]) if volume.series.spacing_mm else 1.0
    distances = [pixel_mm * measure_distances(one) for one in truth]
    found = []
    for name in PIXEL_METHODS:
        maps = [
            placement.invert(map_slices(network, model, slices, name=name, shown=shown)).numpy()
            for network in (model.network, shuffle(model.network))
        ]
        for number in range(len(shown)):
            heat, blind = (fit(one[number], truth.shape[1:]) for one in maps)
            at = np.unravel_index(int(heat.argmax()), heat.shape)
            inside = head[number]
            mm = distances[number]
            told = {
                "method": name, "patient": str(patient),
                "within_3_mm": float(heat.any() and mm[at] <= NEAR_MM),
                "within_3_mm_by_chance": float((mm[inside] <= NEAR_MM).mean()),
                "within_15_mm": float(heat.any() and mm[at] <= AROUND_MM),
                "within_15_mm_by_chance": float((mm[inside] <= AROUND_MM).mean()),
                "distance_mm": float(mm[at]) if heat.any() else float("nan"),
                "distance_mm_by_chance": float(mm[inside].mean()),
                "heat_on_blood": float(heat[truth[number]].sum() / heat.sum()) if heat.any() else 0.0,
                "heat_by_chance": float(truth[number][inside].mean()),
                "randomised": abs(correlate(heat[inside], blind[inside])),
            }
            found.append(told)
    return found


def map_slices(
    network: SequenceNetwork, model: Model, slices: torch.Tensor, *, name: str, shown: list[int]
) -> torch.Tensor:
    """(T,h,w) of one method, not scaled."""
    device = next(network.parameters()).device
    reading = Reading(network=network, task=model.task, embeddings=embed_series(network, slices).clone())
    return PIXEL_WAYS[name](reading, slices.to(device), class_index=0, slice_indices=shown).cpu()


def shuffle(network: SequenceNetwork) -> SequenceNetwork:
    """The same network with the numbers of every weight, those of the encoder too, in another order."""
    shuffled, generator = copy.deepcopy(network), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in shuffled.parameters():
            order = torch.randperm(parameter.numel(), generator=generator).to(parameter.device)
            parameter.copy_(parameter.flatten()[order].reshape(parameter.shape))
    return shuffled


def turned(values: NDArray[np.bool_], volume: Volume) -> NDArray[np.bool_]:
    """(S,H,W) in the radiological view, as maps are."""
    from seriatim.transforms.orientation import orient

    return orient(values.astype(np.float32), volume.affine) > 0.5


def measure_distances(mask: NDArray[np.bool_]) -> Array:
    """(H,W): how far each pixel is from the nearest of a mask, in pixels."""
    places = np.argwhere(mask)
    rows, columns = np.indices(mask.shape)
    squares = np.full(mask.shape, np.inf)
    for row, column in places:
        squares = np.minimum(squares, (rows - row) ** 2 + (columns - column) ** 2)
    return np.sqrt(squares)


def fit(heat: NDArray[np.float32], size: tuple[int, ...]) -> Array:
    """A map on the grid of the slice."""
    from seriatim.transforms.placement import resize

    return resize(torch.from_numpy(heat)[None].float(), (size[0], size[1]))[0].numpy().astype(np.float64)


def summarise(rows: list[dict[str, float | str]]) -> dict[str, dict[str, object]]:
    """Means over slices, with intervals that resample whole patients."""
    report: dict[str, dict[str, object]] = {}
    for name in dict.fromkeys(str(row["method"]) for row in rows):
        own = [row for row in rows if row["method"] == name]
        clusters = Clusters(np.unique([str(row["patient"]) for row in own], return_inverse=True)[1])
        report[name] = {"slices": len(own), "series": clusters.count}
        for key in KEYS:
            values = np.array([float(row[key]) for row in own])
            known = values[~np.isnan(values)]
            taken = clusters.take(np.flatnonzero(~np.isnan(values)))
            one = bootstrap(lambda index, known=known: float(known[index].mean()), taken)
            report[name][key] = [one.value, one.low, one.high]
    return report


if __name__ == "__main__":
    main()
