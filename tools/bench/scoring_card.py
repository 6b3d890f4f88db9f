"""What a card makes of scoring: the whole against the rate of what binds it, each stage alone, and the card's steps.

On a GPU, where reading (processor) and network (card) have nothing in common, the whole should go at 0.9 or more of the
slower of the two. On a CPU both share the cores, so there the ratio says nothing; the command works all the same.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from time import perf_counter
from unittest import mock

import torch
from scoring_ways import make_model, print_stages

from seriatim.io import find_series, read_volume
from seriatim.models.chunks import CHUNK
from seriatim.scoring import pipeline
from seriatim.scoring.engine import ReadySeries, leave_unscored
from seriatim.scoring.pipeline import Resources, predict_all
from seriatim.scoring.pipeline_costs import Costs
from seriatim.series import Series, Volume
from seriatim.trained import Ensemble, load_ensemble
from seriatim.trained.backends import Compute
from seriatim.trained.backends.captured import CapturedEncoder
from seriatim.trained.device import compute_exactly
from seriatim.trained.stored import StoredSeries

IN_RAM = 4
"""So many volumes are read once, and stand for all: those of 300 slices take 157 MB each."""


def bench(folders: list[Path], *, device: str, encoder: str, threads: int, rounds: int) -> None:
    """Print all rates in slices a second."""
    settings = {"kind": "torchvision", "name": encoder}
    model = place(make_model(settings), device)
    found = [find_series(folder).series[0] for folder in folders]
    volumes = [read_volume(one) for one in found[:IN_RAM]]
    compare(make_model(settings), model, volumes)
    resources, costs = Resources(workers=threads, threads=threads), []
    slices = sum(len(one.instances) for one in found)
    rates: dict[str, list[float]] = {"reading alone": [], "network alone, from memory": [], "all together": []}
    score(found[:2], model, resources=resources)  # to warm up
    if device != "cpu":
        torch.cuda.reset_peak_memory_stats()
    for _ in range(rounds):
        costs.append(Costs())
        for name, way in zip(rates, (read_only, partial(score_from_memory, volumes), partial(score, costs=costs[-1])),
                             strict=True):
            rates[name].append(slices / way(found, model, resources=resources))
    print(f"{len(found)} series, {slices} slices, {encoder} on {model.compute.device}, {threads} workers")
    print_rates(rates)
    bound = [whole / min(read, network) for read, network, whole in zip(*rates.values(), strict=True)]
    print(f"  all together: {statistics.median(bound):.2f} of the rate of what binds")
    print_stages(costs)
    if device != "cpu":
        print(f"  most memory of the card: {torch.cuda.max_memory_allocated() / 1e6:.0f} MB")
    time_steps(model, volumes[0], rounds=rounds)


def place(model: Ensemble, device: str) -> Ensemble:
    """The same model on a device, as ``load_scorer`` would put it there."""
    compute_exactly(device)
    member = model.members[0]
    member.network.to(device)
    return load_ensemble([replace(member, compute=Compute(device=device))])


def compare(here: Ensemble, there: Ensemble, volumes: Sequence[Volume]) -> None:
    """How far the scores on the device are from those on the CPU."""
    apart = [(one.score(one.prepare(volume)).probabilities for one in (here, there)) for volume in volumes]
    print(f"  probabilities differ from the CPU's by at most {max(float((a - b).abs().max()) for a, b in apart):.1e}")


def score(series: Sequence[Series], model: Ensemble, *, resources: Resources, costs: Costs | None = None) -> float:
    """Seconds of the whole pipeline."""
    started = perf_counter()
    statuses = {one.status for _, one in predict_all(series, model, resources=resources, costs=costs)}
    if len(statuses) > 1:
        raise SystemExit(f"some were not scored: {statuses}")
    return perf_counter() - started


def read_only(series: Sequence[Series], model: Ensemble, *, resources: Resources) -> float:
    """The pipeline, where nothing is left to do once a series is ready."""
    def finish(ready: ReadySeries, _model: object) -> object:
        return leave_unscored(ready.series, "refused", "not asked for")

    with mock.patch.object(pipeline, "finish_one", finish):
        return score(series, model, resources=resources)


def score_from_memory(
    volumes: Sequence[Volume], series: Sequence[Series], model: Ensemble, *, resources: Resources
) -> float:
    """The pipeline, where every series is ready at once."""
    ready = {id(one): ReadySeries(series=one, prepared=model.prepare(volumes[place % len(volumes)]), seconds=0.0)
             for place, one in enumerate(series)}
    with mock.patch.object(pipeline, "prepare_one", lambda one, *_: ready[id(one)]):
        return score(series, model, resources=resources)


def time_steps(model: Ensemble, volume: Volume, *, rounds: int) -> None:
    """The steps of the card, each alone and all slices of a volume after the other, in one thread."""
    member, device = model.members[0], torch.device(model.compute.device)
    settings, starts = member.experiment.preprocessing, range(0, len(volume.array), CHUNK)
    chunk = torch.rand(CHUNK, settings.channels, *settings.size, device=device)
    chunk = chunk.contiguous(memory_format=torch.channels_last)
    embeddings = member.embed(model.prepare(volume)[0])
    with torch.inference_mode():
        encoder = member.network.encoder.for_inference()
    steps: dict[str, Callable[[], object]] = {
        "encode what is there": lambda: [encoder(chunk) for _ in starts],
        "sequence model": lambda: member.read(embeddings),
    }
    if device.type == "cuda":
        def there() -> StoredSeries:
            return StoredSeries(volume, settings, device=str(device))

        captured = CapturedEncoder(encoder)
        steps["encode in a CUDA graph"] = lambda: [captured(chunk) for _ in starts]
        steps["send and prepare"] = lambda: [series[start : start + CHUNK] for series in [there()] for start in starts]
        steps["send, prepare, encode"] = lambda: member.embed(there())
    rates: dict[str, list[float]] = {name: [] for name in steps}
    with torch.inference_mode():
        for turn in range(rounds + 1):
            for name, step in steps.items():
                seconds = time_step(step, device)
                if turn:
                    rates[name].append(len(volume.array) / seconds)
    print_rates(rates)


def time_step(step: Callable[[], object], device: torch.device) -> float:
    """Seconds until the device is done with it."""
    started = perf_counter()
    step()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return perf_counter() - started


def print_rates(rates: dict[str, list[float]]) -> None:
    for name, values in rates.items():
        print(f"  {name:28} {statistics.median(values):9.0f} slices/s")
