"""What the stages of scoring cost: seconds of the processors, waiting, and how well the cores were used."""

from __future__ import annotations

import os
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter, thread_time
from typing import Any

STAGES = {
    "discover": "find series by their headers",
    "decode": "read and decode pixels, in worker processes",
    "read": "take over pixels from the workers",
    "prepare": "orient, resize, measure",
    "network": "window, encode, sequence model",
    "score": "put predictions together",
    "write": "what the caller does with a prediction",
}


class Costs:
    """Sums of all threads. ``cores`` are those this process may use; ``wall_s`` is the time by the clock.

    ``passed`` is how many series are through reading and preparing (``read``) and through the network (``score``), at
    any moment; ``over`` are the stages that were worked on alone and are done.
    """

    def __init__(self) -> None:
        self.cores = count_cores()
        self.wall_s = 0.0
        self.cpu_s: defaultdict[str, float] = defaultdict(float)
        self.waits_s: dict[str, float] = {}
        self.peak_bytes = 0
        self.passed: defaultdict[str, int] = defaultdict(int)
        self.over: set[str] = set()
        self._lock = threading.Lock()

    def add(self, stage: str, seconds: float) -> None:
        """Count processor time to a stage."""
        with self._lock:
            self.cpu_s[stage] += seconds

    @contextmanager
    def alone(self, stage: str) -> Iterator[None]:
        """Count what this thread does, and the time by the clock, to a stage beside which nothing else runs."""
        started, worked = perf_counter(), thread_time()
        try:
            yield
        finally:
            self.add(stage, thread_time() - worked)
            self.wall_s += perf_counter() - started
            self.over.add(stage)

    def count(self, stage: str) -> None:
        """Count a series that is through a stage."""
        with self._lock:
            self.passed[stage] += 1

    @property
    def efficiency(self) -> float:
        """The processor time of all stages over that of all cores: 1 where no core waits, or works for others."""
        return sum(self.cpu_s.values()) / (self.cores * self.wall_s) if self.wall_s else 0.0

    def describe(self) -> dict[str, Any]:
        """As ``run.json`` holds it; see docs/outputs.md."""
        return {
            "cpu_seconds": {name: round(self.cpu_s[name], 3) for name in STAGES},
            "waiting_seconds": {name: round(seconds, 3) for name, seconds in sorted(self.waits_s.items())},
            "wall_seconds": round(self.wall_s, 3),
            "cores": self.cores,
            "cpu_efficiency": round(self.efficiency, 3),
            "peak_bytes_in_flight": self.peak_bytes,
        }


class ThreadClock:
    """Counts what a thread does to the stage that it names at the end of each step."""

    def __init__(self, costs: Costs) -> None:
        self._costs, self._last = costs, thread_time()

    def mark(self, stage: str) -> None:
        """Count the thread's work since the last mark to ``stage``."""
        now = thread_time()
        self._costs.add(stage, now - self._last)
        self._last = now


def count_cores() -> int:
    """The cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
