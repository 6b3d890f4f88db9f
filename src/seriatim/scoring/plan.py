"""What would become of every series, and what it would cost: nothing is written, few series are scored to measure."""

from __future__ import annotations

import collections
import resource
import shutil
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from seriatim.experiment.envelope import Outside
from seriatim.io.isolation.limits import count_pixels
from seriatim.scoring.pipeline import Resources, predict_all
from seriatim.scoring.pipeline_costs import STAGES, Costs, count_cores
from seriatim.scoring.search import prepare_search
from seriatim.scoring.state_rows import pack_prediction
from seriatim.series import Code, Prediction, Series
from seriatim.series.findings import Action
from seriatim.trained import Models, Scorer

MEGABYTE = 1 << 20
BY_PIXEL = ("decode", "read", "prepare")
ONE_WORKER = Resources(workers=1)
QUANTILES = (0.25, 0.5, 1.0)
"""Of the series by size: those that are scored to measure, the largest among them for its memory."""
ROW_BYTES, SLICE_BYTES = 400, 260
"""Of scores.csv and slices.csv, where UIDs have their usual length."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """One series: ``reason`` says why it would be refused, "" where it would be scored."""

    path: str
    series_uid: str
    volume: str
    modality: str
    slices: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What scoring all would take on this machine.

    ``measured_on`` series were scored to tell. ``look_seconds``: finding the series took so long, and will again.
    ``cpu_seconds`` are those of the processors by stage, see ``STAGES``; ``seconds_busy`` is the time by the clock
    where all cores share them without a wait, ``seconds_waiting`` with one process that reads, as for these few.
    ``memory_mb``: this process at its highest, with the largest series. ``free_mb``: what is free where the output is
    to lie.
    """

    measured_on: int
    look_seconds: float
    cpu_seconds: Mapping[str, float]
    cores: int
    seconds_busy: float
    seconds_waiting: float
    memory_mb: float
    disk_mb: float
    free_mb: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Every series that is asked for, in the order of discovery, how many files are in none, and the cost."""

    series: tuple[Planned, ...]
    files_skipped: int
    cost: Cost

    def as_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Size:
    """What scoring a series depends on, and its place in the inventory."""

    place: int
    pixels: int
    slices: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sample:
    """What is asked for: so many rows; what of it would be scored; and what of that is scored to measure."""

    rows: int
    accepted: Sequence[_Size]
    chosen: Mapping[_Size, Series]


def make_plan(
    path: Path | str, *, model: Models, output: Path | str, device: str = "auto",
    only: Collection[str] | None = None, actions: Mapping[Code, Action] | None = None, outside: Outside | None = None,
) -> Plan:
    """What ``score`` would do with these arguments in a fresh folder.

    Refusals that need the pixels (``INTENSITY``, ``OUT_OF_DISTRIBUTION``, damaged images) are not foreseen.

    Raises:
        InputError: ``path`` does not exist.
        ModelError: a model is incomplete, changed or does not fit.
    """
    search = prepare_search(path, model, device=device, actions=actions, outside=outside)
    started = perf_counter()
    inventory, _ = search.find()
    look_seconds = perf_counter() - started
    planned, accepted = [], []
    for place, one in enumerate(inventory.series):
        if only is None or one.series_uid in only:
            planned.append(_plan_series(one, search.model))
            if not planned[-1].reason:
                accepted.append(_Size(place=place, pixels=count_pixels(one), slices=len(one.instances)))
    chosen = {size: inventory.series[size.place] for size in _choose(accepted)}
    sample = _Sample(rows=len(planned), accepted=accepted, chosen=chosen)
    cost = _measure(sample, search.model, look_seconds=look_seconds, output=Path(output))
    return Plan(series=tuple(planned), files_skipped=len(inventory.skipped), cost=cost)


def describe_plan(plan: Plan) -> Iterator[str]:
    """The plan in lines: one for each series, then the sum and the cost."""
    for one in plan.series:
        name = f"{one.path} {one.volume}".rstrip()
        yield f"refuse  {name}: {one.reason}" if one.reason else f"score   {name}: {one.modality}, {one.slices} slices"
    accepted = sum(not one.reason for one in plan.series)
    yield (f"{accepted} of {len(plan.series)} series would be scored, {len(plan.series) - accepted} refused; "
           f"{plan.files_skipped} files are in no series.")
    cost = plan.cost
    if not cost.measured_on:
        return
    least, most = (timedelta(seconds=round(cost.look_seconds + one)) for one in (cost.seconds_busy,
                                                                                cost.seconds_waiting))
    yield (f"time: {least} where {cost.cores} cores are busy all the time, {most} with one process that reads, as for "
           f"the {cost.measured_on} series scored to measure; {cost.look_seconds:.0f} s of it to find the series")
    stages = ", ".join(f"{name} {seconds:.0f}" for name, seconds in cost.cpu_seconds.items() if seconds >= 0.5)
    yield f"seconds of the processors by stage: {stages}"
    yield f"memory: about {cost.memory_mb:.0f} MB, with the largest series"
    yield f"disk: about {cost.disk_mb:.1f} MB for the state and the tables, of {cost.free_mb:.0f} MB free"


def _plan_series(series: Series, model: Scorer) -> Planned:
    return Planned(
        path=str(series.path), series_uid=series.series_uid, volume=series.volume, modality=series.modality,
        slices=len(series.instances), reason=model.refuse(series),
    )


def _measure(sample: _Sample, model: Scorer, *, look_seconds: float, output: Path) -> Cost:
    """The cost of all, from that of a few: the stages before the network cost by the pixel, the others by the slice."""
    accepted, chosen = sample.accepted, list(sample.chosen)
    spent, wall_s, start_s, found = _spend(list(sample.chosen.values()), model)
    told = chosen[1:] or chosen
    by_pixel = _share(accepted, told, lambda size: size.pixels)
    by_slice = _share(accepted, told, lambda size: size.slices)
    cpu_seconds = {name: round(spent[name] * (by_pixel if name in BY_PIXEL else by_slice), 3) for name in STAGES}
    cores = count_cores()
    busy = max(sum(cpu_seconds.values()) / cores, cpu_seconds["network"] / min(torch.get_num_threads(), cores))
    busy, waiting = start_s + busy, start_s + max(busy, wall_s * max(by_pixel, by_slice))
    slices = sum(size.slices for size in accepted)
    packed = sum(len(pack_prediction(one)) for one in found) * _share(accepted, chosen, lambda size: size.slices)
    disk = packed + 2 * ROW_BYTES * sample.rows + SLICE_BYTES * slices
    return Cost(
        measured_on=len(chosen), look_seconds=round(look_seconds, 3), cpu_seconds=cpu_seconds, cores=cores,
        seconds_busy=round(busy if model.compute.home == "cpu" else waiting, 3), seconds_waiting=round(waiting, 3),
        memory_mb=round(_peak_bytes() / MEGABYTE, 1), disk_mb=round(disk / MEGABYTE, 3),
        free_mb=round(_free_bytes(output) / MEGABYTE, 1),
    )


def _spend(chosen: Sequence[Series], model: Scorer) -> tuple[Mapping[str, float], float, float, list[Prediction]]:
    """What all but the first of these cost: seconds of the processors by stage, by the clock; and all predictions.

    The first is scored before and with the others: what starting costs is in both, and drops out of the difference. The
    time of the first alone, which is mostly that of starting, is the third.
    """
    alone, together = Costs(), Costs()
    for costs in (Costs(), alone):  # what libraries do once is not counted
        collections.deque(predict_all(chosen[:1], model, resources=ONE_WORKER, costs=costs), maxlen=0)
    found = [one for _, one in predict_all(chosen, model, resources=ONE_WORKER, costs=together)]
    if len(chosen) < 2:
        return alone.cpu_s, alone.wall_s, 0.0, found
    spent = {name: max(together.cpu_s[name] - alone.cpu_s[name], 0.0) for name in STAGES}
    return spent, max(together.wall_s - alone.wall_s, 0.0), alone.wall_s, found


def _choose(accepted: Sequence[_Size]) -> list[_Size]:
    by_size = sorted(accepted, key=lambda size: size.pixels)
    places = dict.fromkeys(min(int(share * len(by_size)), len(by_size) - 1) for share in QUANTILES)
    return [by_size[place] for place in places] if by_size else []


def _share(accepted: Sequence[_Size], chosen: Sequence[_Size], count: Callable[[_Size], int]) -> float:
    """How many times as much all are as the chosen."""
    return sum(map(count, accepted)) / sum(map(count, chosen)) if chosen else 0.0


def _peak_bytes() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _free_bytes(output: Path) -> int:
    """What is free in the nearest folder above that is there."""
    folder = next(one for one in (output.absolute(), *output.absolute().parents) if one.is_dir())
    return shutil.disk_usage(folder).free
