"""Many series to predictions: reading, the network and the caller's work overlap, in bounded memory.

Readers (threads, each with a worker process for decoders) read and prepare series; scorers (threads) have the network
score them in lanes, chunk by chunk; the caller takes predictions as they come. Nothing that is scored together meets in
one computation, so neither the number of workers nor the order changes a bit of a score.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass
from time import perf_counter, process_time, thread_time
from typing import TypeAlias

import torch

from seriatim.io.dicom_pixels.decode_pool import default_threads
from seriatim.io.isolation.isolated import WorkerGroup
from seriatim.io.isolation.limits import StoppedError, count_pixels, count_unpacked
from seriatim.io.isolation.machine import machine_bytes
from seriatim.models.lanes import Lanes
from seriatim.scoring.engine import ReadySeries, finish_one, prepare_one, refuse_one
from seriatim.scoring.pipeline_costs import Costs, ThreadClock, count_cores
from seriatim.scoring.pipeline_queue import BoundedQueue, ClosedError, Room
from seriatim.series import Prediction, Series
from seriatim.trained import AnomalyModel, Scorer

SHARE_OF_MEMORY = 0.25
BYTES_PER_PIXEL = 4
"""Of a volume as it is read: most are int16, colour is three bytes, few are float32."""
BYTES_FOR_A_WORKER = 1 << 27
"""To start one takes half a second, in which another reads about so much."""
MOST_DONE = 64
"""Predictions that wait for the caller."""
Found: TypeAlias = tuple[int, Prediction]


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """What scoring may use; None is as much as there is.

    ``workers``: processes that decode, None: one for each core, fewer for a small batch or little memory. ``threads``:
    how many the network computes in, None: as ``torch.get_num_threads`` (OMP_NUM_THREADS). ``memory_bytes``: about how
    much the series take that are worked on, None: a quarter of the machine's, or of the container's; a larger series is
    worked on alone.
    """

    workers: int | None = None
    threads: int | None = None
    memory_bytes: int | None = None


def predict_all(
    series: Sequence[Series], model: Scorer, *, resources: Resources | None = None, costs: Costs | None = None
) -> Generator[Found, None, None]:
    """The prediction of each series with its index, in any order; what is wrong with a series becomes its prediction.

    The caller may stop early: closing the iterator stops all that works for it, at once.

    Args:
        series: what ``find_series`` found.
        model: what ``load_scorer`` made.
        resources: how many processes and threads, and how much memory.
        costs: where to count what the stages cost.
    """
    if not series:
        return
    pipeline = _Pipeline(series, model, resources=resources or Resources(), costs=costs or Costs())
    try:
        yield from pipeline.run()
    finally:
        pipeline.close()


class _Pipeline:
    def __init__(self, series: Sequence[Series], model: Scorer, *, resources: Resources, costs: Costs) -> None:
        self._series, self._model, self._costs = series, model, costs
        threads = resources.threads or torch.get_num_threads()
        room = resources.memory_bytes or int(machine_bytes() * SHARE_OF_MEMORY)
        readers = min(resources.workers or _worthwhile(series, room=room), len(series))
        self._jobs = iter(range(len(series)))
        self._jobs_lock = threading.Lock()
        self._room = Room(room)
        self._ready: BoundedQueue[tuple[int, ReadySeries, int]] = BoundedQueue(threads)
        self._done: BoundedQueue[Found | BaseException] = BoundedQueue(MOST_DONE)
        self._workers = WorkerGroup(threads=max(1, default_threads() // readers))
        self._lanes = Lanes(threads)
        self._readers = Lanes(readers, name="seriatim-read")
        scorers = threads + 1 if model.compute.device == "cpu" else 2  # of which one waits for the other device
        self._scorers = Lanes(scorers, name="seriatim-score")

    def run(self) -> Iterator[Found]:
        """Start all stages, and give the predictions as they come."""
        started, worked, counted = perf_counter(), process_time(), sum(self._costs.cpu_s.values())
        for lanes, work in ((self._readers, self._read), (self._scorers, self._score)):
            for _ in range(lanes.count):
                lanes.submit(self._guard, work)
        try:
            for _ in range(len(self._series)):
                found = self._done.take()
                if isinstance(found, BaseException):
                    raise found
                before = thread_time()
                yield found
                self._costs.add("write", thread_time() - before)
        finally:
            self._costs.wall_s += perf_counter() - started
            others = sum(self._costs.cpu_s.values()) - counted
            self._settle(process_time() - worked - others)

    def close(self) -> None:
        """End all that works: processes at once, threads as soon as the chunk is done that they are at."""
        for waiting in (self._room, self._ready, self._done, self._workers):
            waiting.close()
        for lanes in (self._lanes, self._readers, self._scorers):
            lanes.shutdown(wait=False, cancel_futures=True)
        for lanes in (self._readers, self._scorers, self._lanes):
            lanes.shutdown(wait=True)

    def _guard(self, work: Callable[[], None]) -> None:
        """Run a stage until its end; what breaks it is raised where the caller takes predictions."""
        try:
            work()
        except (ClosedError, StoppedError, CancelledError):
            pass
        except BaseException as error:  # noqa: BLE001
            self._done.put(error)

    def _read(self) -> None:
        """A reader: series after series, from its place in the sequence to its pixels on the network's grid."""
        self._workers.join()
        clock = ThreadClock(self._costs)
        while (index := self._next()) is not None:
            series = self._series[index]
            refused = refuse_one(series, self._model)
            if refused is not None:
                self._costs.count("read")
                self._done.put((index, refused))
                continue
            passing, kept = _expect_bytes(series, self._model)
            self._room.take(passing + kept)
            found = prepare_one(series, self._model, clock.mark)
            self._costs.count("read")
            if isinstance(found, Prediction):
                self._room.give_back(passing + kept)
                self._done.put((index, found))
            else:
                self._room.give_back(passing)
                self._ready.put((index, found, kept))

    def _next(self) -> int | None:
        with self._jobs_lock:
            return next(self._jobs, None)

    def _score(self) -> None:
        """A scorer: what is ready, to predictions."""
        self._lanes.use()
        clock = ThreadClock(self._costs)
        while True:
            index, ready, held = self._ready.take()
            found = finish_one(ready, self._model)
            del ready
            self._room.give_back(held)
            clock.mark("score")
            self._costs.count("score")
            self._done.put((index, found))

    def _settle(self, network_s: float) -> None:
        """Count what is known when all is done. A backend may compute in threads of its own, so the network's part is
        all that this process did and is in no other stage.
        """
        costs = self._costs
        costs.add("decode", self._workers.cpu_seconds)
        costs.add("network", network_s)
        costs.waits_s |= {"scorers for series": self._ready.waited_s, "readers for memory": self._room.waited_s,
                          "caller for predictions": self._done.waited_s}
        costs.peak_bytes = max(costs.peak_bytes, self._room.peak_bytes)


def _worthwhile(series: Sequence[Series], *, room: int) -> int:
    """How many worker processes to start: at most one for each core, no more than have a second's work or so, and no
    more than there is room for: each takes about as much memory as the volumes for which it is worth starting.
    """
    most, volumes = min(count_cores(), max(1, room // BYTES_FOR_A_WORKER)), 0
    for one in series:
        if 1 + volumes // BYTES_FOR_A_WORKER >= most:
            break
        volumes += BYTES_PER_PIXEL * count_pixels(one) if one.usable else 0
    return min(most, 1 + volumes // BYTES_FOR_A_WORKER)


def _expect_bytes(series: Series, model: Scorer) -> tuple[int, int]:
    """About how many bytes of a series are held until it is prepared, and how many until it is scored."""
    volume, slices = BYTES_PER_PIXEL * count_pixels(series), len(series.instances)
    unpacked = count_unpacked(series)
    if isinstance(model, AnomalyModel):
        preprocessing = model.experiment.preprocessing
        return volume + unpacked, 4 * slices * preprocessing.channels * preprocessing.size[0] * preprocessing.size[1]
    if model.card:
        return unpacked, volume  # it is sent from here, and prepared there
    grids = [group[0][0].experiment.preprocessing for group in model.groups]
    return volume + unpacked, 4 * slices * sum(one.planes * one.size[0] * one.size[1] for one in grids)
