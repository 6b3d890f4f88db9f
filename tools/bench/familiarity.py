r"""How many series of other kinds a model of `seriatim crossval` refuses, and how many of its own: docs/results.md.

    python tools/bench/familiarity.py work/runs/ct_ich work/ct_ich --foreign ../shared/data/pocus_lus/frames \
        ../shared/data/adrenalmnist3d_64/adrenalmnist3d_64_trainval.npz ../shared/data/dicom_demo ../shared/zoo/files

The first argument is a folder of `seriatim crossval`, the second holds its series. Its left-out series are judged by
the models that never saw them, as they are and changed; foreign ones (folders, each with series below it, or a MedMNIST
file) and drawn ones (phantoms.py) by all models. Printed are the shares refused by their images alone, as if no tag
told anything, and by headers as the files have them or as DICOM of that kind would have them; and the distances, as
multiples of the limit. At most --most series of a kind are taken, evenly: about two minutes of one core.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import phantoms
import torch
from torch import Tensor

from seriatim.errors import InputError
from seriatim.io import find_series, read_volume
from seriatim.io.volumes.nifti_write import write_nifti
from seriatim.models.encoder import digest_weights
from seriatim.series import Code, Series
from seriatim.tasks.predict import embed_series
from seriatim.trained import Model, load_model, measure_intensity, read_splits
from seriatim.training.dataset import PreparedSeries
from seriatim.training.embeddings import Embedder

KEEP = dict.fromkeys((Code.GAP, Code.MISSING_GEOMETRY, Code.NOT_A_SERIES, Code.DERIVED), "keep")
TAGS = {"knee": ("CT", "knee"), "chest": ("CT", "chest"), "abdomen": ("CT", "abdomen"), "frames": ("US", "lung"),
        "adrenalmnist3d_64_trainval": ("CT", "abdomen")}  # fmt: skip
"""Modality and body part that DICOM files of a kind would name, where those at hand name none."""
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


@dataclass
class Tally:
    """What became of the series of one kind, each judged by one model or more."""

    count: int = 0
    unitless: int = 0
    distances: list[float] = field(default_factory=list)
    by: dict[str, list[bool]] = field(default_factory=dict)

    def add(self, **refused: bool) -> None:
        for name, value in refused.items():
            self.by.setdefault(name, []).append(value)

    def row(self, kind: str) -> str:
        shares = [f"{100 * np.mean(self.by[name]):.0f} %" if self.by.get(name) else "-"
                  for name in ("distance", "intensity", "images", "headers", "tags")]
        low, middle, high = np.quantile(self.distances, (0, 0.5, 1)) if self.distances else (np.nan,) * 3
        return f"| {kind} | {self.count} | {low:.2f} to {high:.2f}, median {middle:.2f} | {' | '.join(shares)} |"


def judge(
    tally: Tally, models: Sequence[Model], prepared: Tensor, series: Series, *, tags: tuple[str, str] | None = None,
    known: Tensor | None = None,
) -> None:
    """Count what each model says of one series; models with the same encoder share its embeddings, ``known`` or made
    here.
    """
    slices, intensity = models[0].experiment.preprocessing.finish(prepared), measure_intensity(prepared)
    embedded = {} if known is None else {digest_weights(models[0].network.encoder): known}
    tally.count += 1
    for model in models:
        key = digest_weights(model.network.encoder)
        if key not in embedded:
            embedded[key] = embed_series(model.network, slices)
        found = model.judge(intensity, embedded[key])
        assert found.distance is not None
        tally.distances.append(found.distance)
        by_values = "INTENSITY" in found.reason
        headers = bool(model.refuse(series))
        tally.add(distance=found.distance > 1, intensity=by_values, images=bool(found.reason), headers=headers)
        if tags is not None:
            named = replace(series, format="dicom", modality=tags[0], body_parts=(tags[1],))
            tally.add(tags=bool(model.refuse(named)) or bool(found.reason))


def spread(items: Sequence[Path], most: int) -> list[Path]:
    """At most so many of them, evenly."""
    return [items[int(place)] for place in np.linspace(0, len(items) - 1, min(most, len(items)))]


def foreign_kinds(given: Sequence[Path], most: int, folder: Path) -> Iterator[tuple[str, list[Path]]]:
    """What is judged by all models: a name, and where its series are."""
    drawn: dict[str, list[Path]] = {}
    for kind, path in phantoms.write(folder, count=most):
        drawn.setdefault(kind, []).append(path)
    yield from drawn.items()
    for path in given:
        if path.suffix == ".npz":
            volumes = np.load(path, allow_pickle=False)["val_images"]
            names = [folder / f"{path.stem}_{index}.nii.gz" for index in range(len(volumes))]
            for index in (chosen := [int(x) for x in np.linspace(0, len(volumes) - 1, min(most, len(volumes)))]):
                write_nifti(names[index], volumes[index].astype(np.int16), affine=np.diag([-1.0, -1.0, 1.0, 1.0]))
            yield path.stem, [names[index] for index in chosen]
        else:
            below = sorted(one for one in path.iterdir() if one.is_dir())
            if len(below) <= most:  # a handful of unlike ones, each by its own name
                yield from ((f"{path.name}/{one.name}", [one]) for one in below)
            else:
                yield path.name, spread(below, most)


def judge_own(models: Sequence[Model], data: Path, most: int) -> None:
    """The left-out series, each by the model that never saw it: all as they are, ``most`` of them changed."""
    home = {uid: model for model in models for uid, split in read_splits(model.path).items() if split == "test"}
    own = [series for series in find_series(data, KEEP).series if series.series_uid in home]
    step = max(1, len(own) // most)
    tallies = {name: Tally() for name in ("own, left out", *(f"own, {change}" for change in CHANGES))}
    for number, series in enumerate(own):
        model = home[series.series_uid]
        experiment = model.experiment
        pictures = PreparedSeries(experiment.preprocessing, cache=True, limits=experiment.data.reading.limits)
        known = Embedder(model.network, pictures, experiment, augment=None).embed(series)  # from the run's own store
        prepared = pictures.prepare(series)
        judge(tallies["own, left out"], [model], prepared, series, known=known)
        if number % step == 0 and number // step < most:
            for name, change in CHANGES.items():
                judge(tallies[f"own, {name}"], [model], change(prepared), series)
    for name, tally in tallies.items():
        print(tally.row(name), flush=True)


def judge_foreign(models: Sequence[Model], given: Sequence[Path], most: int) -> None:
    """Foreign and drawn series by all models; pictures without a unit are refused, and then judged as if in HU."""
    preprocessing = models[0].experiment.preprocessing
    with tempfile.TemporaryDirectory() as folder:
        for kind, paths in foreign_kinds(given, most, Path(folder)):
            tally = Tally()
            for series in (one for path in paths for one in find_series(path, KEEP).series if one.usable):
                volume = read_volume(series)
                try:
                    prepared = preprocessing.prepare(volume)
                except InputError:
                    spread_out = volume.array.astype(np.float32) * (2000 / 255) - 1000
                    prepared = preprocessing.prepare(replace(volume, array=spread_out))
                    tally.unitless += 1
                judge(tally, models, prepared, series, tags=TAGS.get(kind))
            without = f", {tally.unitless} of them refused as not in HU and spread over -1000 to 1000 HU"
            print(tally.row(kind + (without if tally.unitless else "")), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folds", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--foreign", type=Path, nargs="*", default=[])
    parser.add_argument("--most", type=int, default=4, help="series of a kind, and left-out ones that are changed")
    options = parser.parse_args()
    models = [load_model(path) for path in sorted(options.folds.glob("fold*/run"))]
    print("| series | of them | distance (1 is the limit) | distance | intensity | images | headers | tags or images |")
    print("|---|---|---|---|---|---|---|---|", flush=True)
    judge_own(models, options.data, options.most)
    judge_foreign(models, options.foreign, options.most)


if __name__ == "__main__":
    main()
